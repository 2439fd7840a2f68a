"""A run's data and model on this machine: what nodes and audits need alike."""

from __future__ import annotations

import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from boltzmann.app.nodeconfig import NodeConfig
from boltzmann.config import RunConfig
from boltzmann.data.open import open_pages
from boltzmann.data.prefetch import Prefetch
from boltzmann.data.tokenizer import open_tokenizer
from boltzmann.errors import BoltzmannError, ConfigError
from boltzmann.ports import LoadPages, Tokenizer
from boltzmann.protocol.pages import PageSchedule

if TYPE_CHECKING:  # torch and transformers take seconds to import
    import torch

    from boltzmann.node.worker import Worker
    from boltzmann.train.how import How
    from boltzmann.train.team import Team

_PAGES_AHEAD = 4  # a remote page waits for its host most of the time: so many wait together


def open_data(run: RunConfig, source: str = "") -> tuple[PageSchedule, LoadPages]:
    """The page schedule, and how pages are read. Raises: ConfigError, DataError.

    `source`: a copy of the run's data on this machine or nearer to it; empty: where the run says.
    """
    data = run.data
    pages = open_pages(
        source or data.source,
        revision=data.revision,
        rows_per_page=data.rows_per_page,
        column=data.column,
    )
    tokenizer = open_tokenizer(data.tokenizer)
    _check_vocabulary(run, tokenizer)
    load = partial(Prefetch, pages, tokenizer, data.sequence_length, ahead=_PAGES_AHEAD)
    return run.schedule(pages.count), load


def open_worker(
    run: RunConfig,
    load: LoadPages,
    device: str,
    folder: Path,
    settings: NodeConfig | None = None,
    team: Team | None = None,
) -> Worker:
    """The worker's thread, its model and an empty state; computing as `settings` say, if given,
    and with the `team` that this process leads.

    Raises: ConfigError for the device.
    """
    from boltzmann.node.worker import Worker, pick_device
    from boltzmann.train.model import parameter_shapes
    from boltzmann.train.state import ModelState

    shapes = parameter_shapes(run.model)
    found = pick_device(device) if team is None else team.device
    how = _how(run, found, settings)
    if team is not None:
        team.share((run.encode(), how))  # and none of the settings' secrets
    state = ModelState(
        run.layout(shapes),
        shapes,
        run.outer,
        folder / "undo",
        run.exchange.history,
        pinned=found.type == "cuda",
    )
    return Worker(run, state, load, found, how, team)


def assist_node(team: Team, source: str) -> None:
    """Compute for the team's leader until it lets this process go; `source` as in `open_data`.

    Raises: ConfigError, DataError as the leader does for the same run.
    """
    from boltzmann.train.engine import assist
    from boltzmann.train.sharded import ShardedModel

    # What stops the node stops this process as well, once the node has saved its state.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        begun = team.share(None)
        if begun is None:
            return
        run, how = RunConfig.parse(begun[0]), begun[1]
        _, load = open_data(run, source)
        assist(ShardedModel(run.model, how, team), load, team)
    except RuntimeError as error:  # the connection's
        raise BoltzmannError(f"the node that this process computes for is gone: {error}") from error


def _how(run: RunConfig, device: torch.device, settings: NodeConfig | None) -> How:
    from boltzmann.train.how import usual

    how = usual(device, run.model.precision)
    if settings is None:
        return how
    return replace(
        how,
        sequences=settings.actual_batch_size,
        checkpointing=settings.activation_checkpointing,
        compiled=how.compiled if settings.compile == "auto" else settings.compile == "on",
    )


def _check_vocabulary(run: RunConfig, tokenizer: Tokenizer) -> None:
    if tokenizer.vocab_size > run.model.vocab_size:
        raise ConfigError(
            f"the tokenizer {run.data.tokenizer} has {tokenizer.vocab_size} ids, the run's model "
            f"only {run.model.vocab_size}: the run's owner must mend run.toml"
        )

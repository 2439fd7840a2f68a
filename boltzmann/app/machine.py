"""A run's data and model on this machine: what nodes and audits need alike."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from boltzmann.app.nodeconfig import NodeConfig
from boltzmann.config import RunConfig
from boltzmann.data.open import open_pages
from boltzmann.data.prefetch import Prefetch
from boltzmann.data.tokenizer import open_tokenizer
from boltzmann.errors import ConfigError
from boltzmann.ports import LoadPages, Tokenizer
from boltzmann.protocol.pages import PageSchedule

if TYPE_CHECKING:  # torch and transformers take seconds to import
    from boltzmann.node.worker import Worker


def open_data(run: RunConfig) -> tuple[PageSchedule, LoadPages]:
    """The page schedule, and how pages are read. Raises: ConfigError, DataError."""
    data = run.data
    pages = open_pages(
        data.source, revision=data.revision, rows_per_page=data.rows_per_page, column=data.column
    )
    tokenizer = open_tokenizer(data.tokenizer)
    _check_vocabulary(run, tokenizer)
    return run.schedule(pages.count), partial(Prefetch, pages, tokenizer, data.sequence_length)


def open_worker(
    run: RunConfig, load: LoadPages, device: str, folder: Path, settings: NodeConfig | None = None
) -> Worker:
    """The worker's thread, its model and an empty state; computing as `settings` say, if given.

    Raises: ConfigError for the device.
    """
    from boltzmann.node.worker import Worker, pick_device
    from boltzmann.train.how import usual
    from boltzmann.train.model import parameter_shapes
    from boltzmann.train.state import ModelState

    shapes = parameter_shapes(run.model)
    found = pick_device(device)
    state = ModelState(
        run.layout(shapes),
        shapes,
        run.outer,
        folder / "undo",
        run.exchange.history,
        pinned=found.type == "cuda",
    )
    how = usual(found)
    if settings is not None:
        how = replace(
            how,
            sequences=settings.actual_batch_size,
            checkpointing=settings.activation_checkpointing,
            compiled=how.compiled if settings.compile == "auto" else settings.compile == "on",
        )
    return Worker(run, state, load, found, how)


def _check_vocabulary(run: RunConfig, tokenizer: Tokenizer) -> None:
    if tokenizer.vocab_size > run.model.vocab_size:
        raise ConfigError(
            f"the tokenizer {run.data.tokenizer} has {tokenizer.vocab_size} ids, the run's model "
            f"only {run.model.vocab_size}: the run's owner must mend run.toml"
        )

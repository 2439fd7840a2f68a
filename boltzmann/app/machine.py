"""A run's data and model on this machine: what nodes and audits need alike."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from boltzmann.config import RunConfig
from boltzmann.data.open import open_pages
from boltzmann.data.prefetch import Prefetch
from boltzmann.data.tokenizer import open_tokenizer
from boltzmann.errors import ConfigError
from boltzmann.ports import LoadPages, Tokenizer
from boltzmann.protocol.pages import PageSchedule

if TYPE_CHECKING:  # torch and transformers take seconds to import
    from boltzmann.node.worker import Worker

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


def open_worker(run: RunConfig, load: LoadPages, device: str, folder: Path) -> Worker:
    """The worker's thread, its model and an empty state. Raises: ConfigError for the device."""
    from boltzmann.node.worker import Worker, pick_device
    from boltzmann.train.model import parameter_shapes
    from boltzmann.train.state import ModelState

    shapes = parameter_shapes(run.model)
    state = ModelState(run.layout(shapes), shapes, run.outer, folder / "undo", run.exchange.history)
    return Worker(run, state, load, pick_device(device))


def _check_vocabulary(run: RunConfig, tokenizer: Tokenizer) -> None:
    if tokenizer.vocab_size > run.model.vocab_size:
        raise ConfigError(
            f"the tokenizer {run.data.tokenizer} has {tokenizer.vocab_size} ids, the run's model "
            f"only {run.model.vocab_size}: the run's owner must mend run.toml"
        )

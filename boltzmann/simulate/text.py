"""Small pages of the text that ships with Python, so that a gradient takes milliseconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

from boltzmann.data.batches import Batch, page_batch
from boltzmann.data.bundled import BundledPages
from boltzmann.data.source import page_rows
from boltzmann.ports import Pages, TokenBatch, Tokenizer

PAGE_CHARACTERS = 128


class SmallPages:
    """Implements `boltzmann.ports.Pages`: pieces of PAGE_CHARACTERS characters, one row a page.

    The text's last `held_out` pieces belong to no page: nobody trains on them.
    """

    def __init__(self, held_out: int) -> None:
        whole = BundledPages(1)
        text = "\n".join(row for page in range(whole.count) for row in whole.rows(page))
        last = len(text) // PAGE_CHARACTERS * PAGE_CHARACTERS
        pieces = [text[i : i + PAGE_CHARACTERS] for i in range(0, last, PAGE_CHARACTERS)]
        self._pieces = pieces
        self._count = len(pieces) - held_out

    @property
    def count(self) -> int:
        """How many pages there are to train on."""
        return self._count

    @property
    def held_out(self) -> tuple[int, ...]:
        """The numbers of the pieces that are no pages; `rows` reads them too."""
        return tuple(range(self._count, len(self._pieces)))

    def rows(self, page: int) -> Sequence[str]:
        """The text of one page. Raises: DataError."""
        numbers = page_rows(page, len(self._pieces), 1, "the simulation's text")
        return self._pieces[numbers.start : numbers.stop]


class Loaded:
    """Implements `boltzmann.ports.LoadPages` without a thread: each page is tokenized once."""

    def __init__(self, pages: Pages, tokenizer: Tokenizer, sequence_length: int) -> None:
        self._pages = pages
        self._tokenizer = tokenizer
        self._sequence_length = sequence_length
        self._batches: dict[int, Batch] = {}

    def __call__(self, pages: Sequence[int]) -> AbstractContextManager[Iterator[TokenBatch]]:
        return nullcontext(iter([self._batch(page) for page in pages]))

    def _batch(self, page: int) -> Batch:
        if page not in self._batches:
            self._batches[page] = page_batch(
                self._pages, (page,), self._tokenizer, self._sequence_length
            )
        return self._batches[page]

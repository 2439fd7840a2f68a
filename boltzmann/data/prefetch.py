"""Loads the next page while the present one trains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from boltzmann.data.batches import Batch, page_batch
from boltzmann.ports import Pages, Tokenizer


class Prefetch(Iterator[Batch]):
    """One batch per page, in the order of `page_ids`; `with` ends its thread.

    Exactly one page is loaded ahead, from the moment this is made. What goes wrong with a page is
    raised where that page's batch is asked for.
    """

    def __init__(
        self,
        pages: Pages,
        tokenizer: Tokenizer,
        sequence_length: int,
        page_ids: Iterable[int],
    ) -> None:
        self._pages = pages
        self._tokenizer = tokenizer
        self._sequence_length = sequence_length
        self._page_ids = iter(page_ids)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._next = self._load_next()

    def __next__(self) -> Batch:
        if self._next is None:
            raise StopIteration
        batch = self._next.result()
        self._next = self._load_next()
        return batch

    def close(self) -> None:
        """Wait for the page being loaded, if any, and end the thread."""
        self._next = None
        self._thread.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _load_next(self) -> Future[Batch] | None:
        page = next(self._page_ids, None)
        if page is None:
            return None
        return self._thread.submit(
            page_batch, self._pages, (page,), self._tokenizer, self._sequence_length
        )

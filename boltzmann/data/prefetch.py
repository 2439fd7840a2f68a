"""Loads the next pages while the present one trains."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from boltzmann.data.batches import Batch, page_batch
from boltzmann.ports import Pages, Tokenizer


class Prefetch(Iterator[Batch]):
    """One batch per page, in the order of `page_ids`; `with` ends its threads.

    Up to `ahead` pages are loaded at a time, or lie there loaded, from the moment this is made; no
    more, so that memory stays bounded. What goes wrong with a page is raised where that page's
    batch is asked for.
    """

    def __init__(
        self,
        pages: Pages,
        tokenizer: Tokenizer,
        sequence_length: int,
        page_ids: Iterable[int],
        *,
        ahead: int = 1,
    ) -> None:
        self._pages = pages
        self._tokenizer = tokenizer
        self._sequence_length = sequence_length
        self._page_ids = iter(page_ids)
        self._threads = ThreadPoolExecutor(ahead, thread_name_prefix="prefetch")
        self._loading: deque[Future[Batch]] = deque()
        for _ in range(ahead):
            self._load_next()

    def __next__(self) -> Batch:
        if not self._loading:
            raise StopIteration
        batch = self._loading[0].result()
        self._loading.popleft()
        self._load_next()
        return batch

    def close(self) -> None:
        """Wait for the pages being loaded, if any, and end the threads."""
        self._loading.clear()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _load_next(self) -> None:
        page = next(self._page_ids, None)
        if page is not None:
            self._loading.append(
                self._threads.submit(
                    page_batch, self._pages, (page,), self._tokenizer, self._sequence_length
                )
            )

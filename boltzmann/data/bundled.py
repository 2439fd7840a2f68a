"""English text that every CPython ships: the language reference in `pydoc_data.topics`, 465 kB."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from boltzmann.data.source import digest, page_rows, whole_pages

ROW_BYTES = 512


class BundledPages:
    """Pages of the text bundled with this Python, which differs between Python versions.

    Topics come in sorted order of their keys. A row is the longest run of whole lines of one topic
    that takes at most `ROW_BYTES` bytes of UTF-8, newlines included; a longer line is a row of its
    own. Newlines at a row's ends are cut off, and rows of nothing but whitespace are left out.

    Raises: DataError if there is less than one page.
    """

    def __init__(self, rows_per_page: int) -> None:
        from pydoc_data.topics import topics

        self._rows = tuple(_cut(topics))
        self._rows_per_page = rows_per_page
        self._count = whole_pages(len(self._rows), rows_per_page, "the bundled text")

    @property
    def count(self) -> int:
        """How many whole pages there are."""
        return self._count

    def rows(self, page: int) -> Sequence[str]:
        """The texts of one page's rows, in order. Raises: DataError."""
        numbers = page_rows(page, self._count, self._rows_per_page, "the bundled text")
        return self._rows[numbers.start : numbers.stop]

    def fingerprint(self) -> str:
        """The digest of all rows, in order."""
        return digest(row.encode() for row in self._rows)


def _cut(topics: Mapping[str, str]) -> Iterator[str]:
    for _, text in sorted(topics.items()):
        for row in _runs_of_lines(text):
            if row.strip():
                yield row.strip("\n")


def _runs_of_lines(text: str) -> Iterator[str]:
    lines: list[str] = []
    size = 0
    for line in text.split("\n"):
        line_bytes = len(line.encode()) + 1
        if lines and size + line_bytes > ROW_BYTES:
            yield "\n".join(lines)
            lines, size = [], 0
        lines.append(line)
        size += line_bytes
    yield "\n".join(lines)

"""Which pages a window trains on, and which member gets which of them.

The pages of window w are a fixed block of a run-keyed permutation of all pages, so no page repeats
within a data epoch. Who gets which page of the block is permuted by the window's opening hash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from boltzmann.protocol.seeds import derive

_ROUNDS = 6


@dataclass(frozen=True)
class Permutation:
    """A keyed bijection on range(size): a balanced Feistel network with cycle walking.

    The network permutes the smallest even-bit domain that holds `size`, at most four times as
    large, so the walk takes four steps at most on average and no table is ever built
    (Black and Rogaway 2002, "Ciphers with arbitrary finite domains", method 3).
    """

    key: bytes
    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"a permutation needs at least one element, not {self.size}")

    def __call__(self, index: int) -> int:
        """The image of `index`. Raises: ValueError outside range(size)."""
        if not 0 <= index < self.size:
            raise ValueError(f"index {index} is outside range({self.size})")
        half = max(1, ((self.size - 1).bit_length() + 1) // 2)
        value = self._network(index, half)
        while value >= self.size:
            value = self._network(value, half)
        return value

    def _network(self, value: int, half: int) -> int:
        mask = (1 << half) - 1
        left, right = value >> half, value & mask
        for round_number in range(_ROUNDS):
            noise = derive(self.key, "feistel", round_number, right)
            left, right = right, left ^ (int.from_bytes(noise[:8], "big") & mask)
        return left << half | right


@dataclass(frozen=True)
class PageSchedule:
    """The pages of every window.

    A window's block holds `members_max * pages_per_member` pages for the members and then
    `control_pages` nobody is assigned: validators take their control gradient from those.

    Raises: ValueError if the dataset has fewer pages than one window needs.
    """

    run_key: bytes
    total_pages: int
    members_max: int
    pages_per_member: int
    control_pages: int

    def __post_init__(self) -> None:
        if self.total_pages < self.block_pages:
            raise ValueError(
                f"the dataset has {self.total_pages} pages but one window needs "
                f"{self.block_pages} (members_max * pages_per_member + control_pages)"
            )

    @property
    def block_pages(self) -> int:
        return self.members_max * self.pages_per_member + self.control_pages

    @property
    def windows_per_data_epoch(self) -> int:
        return self.total_pages // self.block_pages

    def window_pages(self, window: int) -> tuple[int, ...]:
        """All page numbers of a window, the control pages last."""
        data_epoch, index = divmod(window, self.windows_per_data_epoch)
        permute = Permutation(derive(self.run_key, "pages", data_epoch), self.total_pages)
        first = index * self.block_pages
        return tuple(permute(first + i) for i in range(self.block_pages))

    def control(self, window: int) -> tuple[int, ...]:
        """The window's pages that no member is assigned."""
        return self.window_pages(window)[self.members_max * self.pages_per_member :]

    def assign(
        self, window: int, open_hash: bytes, members: Sequence[str]
    ) -> Mapping[str, tuple[int, ...]]:
        """Each member's pages, in training order. No two members share a page.

        Members are ranked by a key derived from the opening hash and their hotkey; those ranked
        beyond `members_max` get no page this window.
        """
        pages = self.window_pages(window)
        ranked = sorted(
            set(members), key=lambda hotkey: (derive(open_hash, "rank", hotkey), hotkey)
        )
        places = Permutation(derive(open_hash, "places"), self.members_max * self.pages_per_member)
        assignment: dict[str, tuple[int, ...]] = {}
        for rank, hotkey in enumerate(ranked):
            first = rank * self.pages_per_member
            own = range(first, first + self.pages_per_member) if rank < self.members_max else ()
            assignment[hotkey] = tuple(pages[places(i)] for i in own)
        return assignment

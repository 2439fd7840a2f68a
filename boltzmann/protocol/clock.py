"""Windows of blocks: when a window opens, closes, and by which block each step must be done.

open(w)                close(w)        upload_by(w)        decide(w)   open(w+1)
  |---- train_blocks ----|-- upload_blocks --|---- propose ----|--order--|
                         |------------- exchange_blocks -----------------|
"""

from __future__ import annotations

from dataclasses import dataclass

COMMIT_BLOCKS = 2  # from seeing a block to having a commitment in a later one


@dataclass(frozen=True)
class WindowClock:
    """Block arithmetic of a run. All fields are numbers of blocks.

    `upload_blocks` after close(w) deltas must be readable; `order_blocks` before open(w+1) the
    window's manifest digest must be on chain.

    Raises: ValueError when a field is out of range or no block is left for the proposal.
    """

    train_blocks: int
    exchange_blocks: int
    upload_blocks: int
    order_blocks: int

    def __post_init__(self) -> None:
        for name in ("train_blocks", "upload_blocks", "order_blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1 block, not {getattr(self, name)}")
        if self.exchange_blocks < self.upload_blocks + self.order_blocks + 1:
            raise ValueError(
                f"exchange_blocks = {self.exchange_blocks} leaves no block for the proposal: it "
                f"must be at least upload_blocks ({self.upload_blocks}) + order_blocks "
                f"({self.order_blocks}) + 1"
            )

    @property
    def length(self) -> int:
        """Blocks per window."""
        return self.train_blocks + self.exchange_blocks

    def window(self, block: int) -> int:
        """The window that `block` lies in."""
        return block // self.length

    def open(self, window: int) -> int:
        """The first block of a window."""
        return window * self.length

    def close(self, window: int) -> int:
        """The block whose hash names the window's slice: training ends here."""
        return self.open(window) + self.train_blocks

    def upload_by(self, window: int) -> int:
        """The block at which validators read the window's deltas."""
        return self.close(window) + self.upload_blocks

    def decide(self, window: int) -> int:
        """The block whose state says which manifest, if any, closes the window."""
        return self.open(window + 1) - self.order_blocks

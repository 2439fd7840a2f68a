"""Windows of blocks: when a window opens, closes, and by which block each step must be done.

open(w)           close(w)    commit_by   upload_by   receipts_by            decide(w)  open(w+1)
  |-- train_blocks --|-- commit --|-- upload --|-- receipt --|-- propose, vote --|-- order --|
                     |---------------------- exchange_blocks ----------------------------|
"""

from __future__ import annotations

from dataclasses import dataclass, field

from boltzmann.protocol.setting import meaning

INCLUSION_BLOCKS = 2  # from seeing a block to having a commitment in a later one


@dataclass(frozen=True)
class WindowClock:
    """How long a window's steps take. All are numbers of blocks.

    Raises: ValueError when a field is out of range or no block is left for the proposal.
    """

    train_blocks: int = field(
        metadata=meaning("from a window's opening to its close: training", "blocks")
    )
    exchange_blocks: int = field(
        metadata=meaning("from its close to the next opening: uploading and agreeing", "blocks")
    )
    commit_blocks: int = field(
        default=1,
        metadata=meaning("how long after the close the deltas' digests must be public", "blocks"),
    )
    upload_blocks: int = field(
        default=1, metadata=meaning("how long after that the deltas themselves must be", "blocks")
    )
    receipt_blocks: int = field(
        default=1,
        metadata=meaning(
            "how long after that a leader stops waiting for every witness's receipt; newcomers are "
            "audited meanwhile",
            "blocks",
        ),
    )
    turn_blocks: int = field(
        default=2,
        metadata=meaning(
            "how long after that the next in order may propose in its place", "blocks"
        ),
    )
    order_blocks: int = field(
        default=1,
        metadata=meaning(
            "how long before the next opening the manifest's digest must be on chain", "blocks"
        ),
    )

    def __post_init__(self) -> None:
        for name in ("train_blocks", "commit_blocks", "upload_blocks", "turn_blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1 block, not {getattr(self, name)}")
        for name in ("receipt_blocks", "order_blocks"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative: {getattr(self, name)}")
        steps = self.commit_blocks + self.upload_blocks + self.receipt_blocks + self.order_blocks
        if self.exchange_blocks < steps + 1:
            raise ValueError(
                f"exchange_blocks = {self.exchange_blocks} leaves no block for the proposal: it "
                f"must be at least commit_blocks ({self.commit_blocks}) + upload_blocks "
                f"({self.upload_blocks}) + receipt_blocks ({self.receipt_blocks}) + order_blocks "
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

    def commit_by(self, window: int) -> int:
        """The block at which validators read the digests of the window's deltas."""
        return self.close(window) + self.commit_blocks

    def reveal_at(self, window: int) -> int:
        """The block before which no honest miner lets its delta be read.

        With two upload blocks or more a block later than the digests are read, so that a copier
        cannot win a race within one block.
        """
        return self.commit_by(window) + self.upload_blocks // 2

    def upload_by(self, window: int) -> int:
        """The block at which validators read the window's deltas."""
        return self.commit_by(window) + self.upload_blocks

    def audit_by(self, window: int) -> int:
        """The block at which a validator stops auditing for its receipt of the window.

        With two receipt blocks or more a block before receipts are counted, so that the page that
        it is at, and publishing, cost no receipt.
        """
        return self.receipts_by(window) - (self.receipt_blocks > 1)

    def receipts_by(self, window: int) -> int:
        """The block from which receipts of more than half the witnesses' stake are enough."""
        return self.upload_by(window) + self.receipt_blocks

    def turn(self, window: int, place: int) -> int:
        """The block from which the validator at `place` in the leaders' order may propose."""
        return self.receipts_by(window) + place * self.turn_blocks

    def decide(self, window: int) -> int:
        """The block whose state says which manifest, if any, closes the window."""
        return self.open(window + 1) - self.order_blocks

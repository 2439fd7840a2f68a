"""How a call is refused: by the pallet's own error name, with nothing of it kept."""

from __future__ import annotations

from typing import Any

Event = tuple[str, str, dict[str, Any]]  # what a call did: pallet, event name, attributes


class CallFailed(Exception):
    """A dispatched call breaks a rule; its changes are rolled back and the signer is told `name`.

    `pallet` and `name` are those of the runtime's metadata (bittensor's generated error catalog).
    """

    def __init__(self, pallet: str, name: str) -> None:
        super().__init__(f"{pallet}.{name}")
        self.pallet = pallet
        self.name = name


def require(holds: bool, name: str, pallet: str = "SubtensorModule") -> None:
    """Raises: CallFailed with the pallet's error `name` unless the rule `holds`."""
    if not holds:
        raise CallFailed(pallet, name)

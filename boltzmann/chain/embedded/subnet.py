"""One subnet's part of the state, under the names of subtensor's storage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from boltzmann.chain.embedded.storage import View
from boltzmann.protocol.chainview import epoch_index

PALLET = "SubtensorModule"
U16_MAX = 65535

# What each uid has in the subnet's vectors when it is given to a hotkey.
_FRESH: dict[str, Any] = {
    "Active": True,
    "Emission": 0,
    "Consensus": 0,
    "Incentive": 0,
    "Dividends": 0,
    "ValidatorTrust": 0,
    "ValidatorPermit": False,
    "StakeWeight": 0,
}


def next_epoch_end(block: int, netuid: int, tempo: int) -> int:
    """The first block after `block` with (block + netuid + 1) mod (tempo + 1) = 0."""
    return (epoch_index(block, netuid, tempo) + 1) * (tempo + 1) - netuid - 1


@dataclass(frozen=True)
class Subnet:
    """Typed access to one netuid in `state`."""

    state: View
    netuid: int

    def exists(self) -> bool:
        return bool(self.state.get(PALLET, "NetworksAdded", self.netuid))

    def number(self, item: str) -> int:
        """A hyperparameter or counter; 0 where it was never set."""
        return int(self.state.get(PALLET, item, self.netuid) or 0)

    def text(self, item: str) -> str:
        return str(self.state.get(PALLET, item, self.netuid))

    def vector(self, item: str) -> list[Any]:
        """One value for each uid."""
        return list(self.state.get(PALLET, item, self.netuid) or [])

    def put(self, item: str, value: Any) -> None:
        self.state.put(PALLET, item, self.netuid, value=value)

    def put_element(self, item: str, uid: int, value: Any) -> None:
        self.put(item, [value if i == uid else old for i, old in enumerate(self.vector(item))])

    def size(self) -> int:
        return self.number("SubnetworkN")

    def uid_of(self, hotkey: str) -> int | None:
        uid = self.state.get(PALLET, "Uids", self.netuid, hotkey)
        return None if uid is None else int(uid)

    def hotkeys(self) -> list[str]:
        """The registered hotkeys by uid."""
        return [str(hotkey) for _, hotkey in self.state.entries(PALLET, "Keys", self.netuid)]

    def registered_at(self) -> list[int]:
        """The block of each uid's registration."""
        entries = self.state.entries(PALLET, "BlockAtRegistration", self.netuid)
        return [int(block) for _, block in entries]

    def rows(self, item: str) -> dict[int, list[tuple[int, int]]]:
        """Weights or Bonds: uid -> [(uid, u16)]."""
        entries = self.state.entries(PALLET, item, self.netuid)
        return {int(key[1]): [(int(to), int(value)) for to, value in row] for key, row in entries}

    def put_row(self, item: str, uid: int, row: list[tuple[int, int]] | None) -> None:
        value = None if row is None else [list(pair) for pair in row]
        self.state.put(PALLET, item, self.netuid, uid, value=value)

    def owner_of(self, hotkey: str) -> str | None:
        """The coldkey of a hotkey, None when the hotkey was never paired."""
        owner = self.state.get(PALLET, "Owner", hotkey)
        return None if owner is None else str(owner)

    def stake_rao(self, hotkey: str) -> int:
        """The subnet's alpha staked to the hotkey."""
        return int(self.state.get(PALLET, "TotalHotkeyAlpha", hotkey, self.netuid) or 0)

    def add_stake(self, hotkey: str, rao: int) -> None:
        total = self.stake_rao(hotkey) + rao
        self.state.put(PALLET, "TotalHotkeyAlpha", hotkey, self.netuid, value=total)

    def stake_threshold_rao(self) -> int:
        """The stake below which a hotkey neither validates nor sets weights."""
        return int(self.state.get(PALLET, "StakeThreshold") or 0)

    def pair(self, hotkey: str, coldkey: str) -> None:
        """Make `coldkey` the owner of `hotkey`."""
        self.state.put(PALLET, "Owner", hotkey, value=coldkey)
        owned = self.state.get(PALLET, "OwnedHotkeys", coldkey) or []
        self.state.put(PALLET, "OwnedHotkeys", coldkey, value=[*owned, hotkey])

    def seat(self, uid: int, hotkey: str) -> None:
        """Give `uid`, the next one or one in use, to `hotkey` with nothing of a predecessor."""
        new = uid == self.size()
        fresh = {**_FRESH, "LastUpdate": self.state.block}
        for item, value in fresh.items():
            if new:
                self.put(item, [*self.vector(item), value])
            else:
                self.put_element(item, uid, value)
        if new:
            self.put("SubnetworkN", uid + 1)
        self.state.put(PALLET, "Keys", self.netuid, uid, value=hotkey)
        self.state.put(PALLET, "Uids", self.netuid, hotkey, value=uid)
        self.state.put(PALLET, "IsNetworkMember", hotkey, self.netuid, value=True)
        self.state.put(PALLET, "BlockAtRegistration", self.netuid, uid, value=self.state.block)


def permits(stakes_rao: list[int], threshold_rao: int, seats: int) -> list[bool]:
    """Who may validate: the `seats` largest stakes that are positive and not below the threshold.

    Of equal stakes the higher uid goes first, as subtensor's is_topk_nonzero sorts.
    """
    eligible = [uid for uid, stake in enumerate(stakes_rao) if stake > 0 and stake >= threshold_rao]
    chosen = sorted(eligible, key=lambda uid: (stakes_rao[uid], uid), reverse=True)[:seats]
    return [uid in chosen for uid in range(len(stakes_rao))]

"""Work on the state before a manifest that came late: judged and paid, but in no update.

A leader can show its manifest to some validators so late that the miners, who wait for most of
these to show it, begin without it. Their work is refused as of another base; if it went unpaid as
well, the leader's friends, who were shown the manifest, would share the window's pay.
"""

from __future__ import annotations

from dataclasses import replace

from boltzmann.node.follow import Joined
from boltzmann.node.ingest import Collected, ingest
from boltzmann.node.node import Node
from boltzmann.node.round import Round
from boltzmann.protocol.rejection import Reason


class Lateness:
    """Whether the window a validator is in began at a base that came late; a window that breaks off
    and is joined again stays late, though nothing is new to its validator then."""

    def __init__(self) -> None:
        self._late: tuple[int, str] | None = None

    def of(self, joined: Joined, head: str) -> bool:
        """Of the window joined last, at this head."""
        place = joined.window, head
        if joined.is_late:
            self._late = place
        return self._late == place


async def open_behind(node: Node, this: Round, collected: Collected) -> Round | None:
    """The round of those members whose work is on the state before this one's base.

    None if there is no such work, the base did not come late, or what was before it is not at hand.
    """
    elsewhere = {
        hotkey: this.members[hotkey]
        for hotkey, why in this.refused.items()
        if why.reason is Reason.WRONG_BASE
    }
    parent = this.base.manifest.proposal.parent
    if not this.duty.is_late or not elsewhere or parent is None:
        return None
    if parent.digest not in node.manifests:
        return None
    duty = replace(this.duty, base=node.manifests[parent.digest], members=elsewhere, is_late=False)
    behind = Round(duty, this.council, this.chosen, this.points)
    if not node.worker.state.reaches(duty.base_root):
        return None
    await ingest(node, behind, collected)
    behind.unpaid |= behind.refused.keys()
    return behind if behind.received else None

"""The accepted deltas, and the update that follows from them."""

from __future__ import annotations

import os
from functools import partial

from boltzmann.audit.case import Case
from boltzmann.audit.report import is_gone
from boltzmann.node.candidate import aggregated
from boltzmann.node.ingest import delta_path, fetch_delta, read_pledge
from boltzmann.node.laps import Laps
from boltzmann.node.membership import Peer
from boltzmann.node.objects import commit_key, delta_key
from boltzmann.node.round import Received, Round
from boltzmann.protocol.admission import Accepted, Admission
from boltzmann.protocol.documents import digest
from boltzmann.protocol.rejection import Rejection
from boltzmann.protocol.wire import SIGNATURE_BYTES
from boltzmann.train.checkpoint import file_sha256


async def recompute_update(case: Case, this: Round) -> bytearray | None:
    """The update's body as it follows from the accepted deltas; None if they are not all there.

    What is wrong with a delta, its commit or the aggregate is noted in the report.
    """
    entries: dict[str, Received] = {}
    for accepted in case.proposal.accepted:
        peer = this.members.get(accepted.hotkey)
        if peer is None:
            case.blame_leader("admission", f"it accepts {accepted.hotkey}, who was given no pages")
            continue
        await _check_commit(case, this, peer, accepted)
        received = await _check_delta(case, this, peer, accepted)
        if received is not None:
            entries[accepted.hotkey] = received
    if len(entries) < len(case.proposal.accepted):
        return None
    admission = Admission(case.proposal.accepted, case.proposal.norm_limit)
    work = partial(aggregated, case.node, this, admission, entries, Laps())
    body = await case.node.worker.run(work)
    if (digest(body), len(body)) != (case.proposal.update, case.proposal.update_bytes):
        case.blame_leader(
            "update",
            f"the accepted deltas come to {digest(body)[:12]} ({len(body)} bytes), the manifest "
            f"names {case.proposal.update[:12]} ({case.proposal.update_bytes} bytes)",
        )
    return body


async def _check_commit(case: Case, this: Round, peer: Peer, accepted: Accepted) -> None:
    key = commit_key(case.node.run.run.id, case.window)
    pledge = await read_pledge(case.node, this.duty, peer)
    if isinstance(pledge, Rejection):
        if is_gone(pledge):
            case.report.gaps.append(f"the commit of {peer.hotkey}: {pledge}")
        else:
            case.report.wrong("commit", peer.hotkey, str(pledge), key)
    elif pledge.sha256 != accepted.sha256:
        detail = f"it names {pledge.sha256[:12]}, {accepted.sha256[:12]} was accepted"
        case.report.wrong("commit", peer.hotkey, detail, key, pledge.signature)


async def _check_delta(case: Case, this: Round, peer: Peer, accepted: Accepted) -> Received | None:
    received = await fetch_delta(case.node, this, peer)
    if isinstance(received, Rejection) and is_gone(received):
        case.report.gaps.append(f"the delta of {peer.hotkey}: {received}")
        return None
    sha256, signature = sealed_bytes(case, peer)
    if isinstance(received, Received) and received.sha256 == accepted.sha256:
        return received
    if sha256 == accepted.sha256:  # its bytes are what they were: they should not have got in
        case.blame_leader("admission", f"it accepts a delta of {peer.hotkey} that is {received}")
        return None
    detail = f"it is {received}" if isinstance(received, Rejection) else "it is another object"
    case.report.wrong(
        "delta",
        peer.hotkey,
        f"{detail}: {accepted.sha256[:12]} was accepted, its bucket shows {sha256[:12] or 'none'}",
        delta_key(case.node.run.run.id, case.window),
        signature,
    )
    return None


def sealed_bytes(case: Case, peer: Peer) -> tuple[str, str]:
    """(sha256, signature) of a delta that was read, well formed or not; "" if there is none."""
    path = delta_path(case.node, case.window, peer)
    if not path.exists():
        return "", ""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8)[6:], "big")
        file.seek(length, os.SEEK_CUR)  # the header; see `protocol.wire`
        return file_sha256(path), file.read(SIGNATURE_BYTES).hex()

"""The documents of a window: order on chain, ballots, receipts, and who follows from them."""

from __future__ import annotations

import asyncio

from boltzmann.audit.case import Case, Past
from boltzmann.audit.report import is_gone, signature_of
from boltzmann.node.node import Node
from boltzmann.node.objects import receipt_copy_key, receipt_key
from boltzmann.node.tip import Claim, look_up, ordered
from boltzmann.node.vote import names_enough
from boltzmann.protocol.admission import Admission, admit
from boltzmann.protocol.council import Outcome
from boltzmann.protocol.documents import MAX_DOCUMENT_BYTES, digest
from boltzmann.protocol.receipts import Receipt, open_receipt
from boltzmann.protocol.rejection import Reason, Rejection


async def check_order(case: Case) -> None:
    """The manifest was first, of those that count, in the records of the deciding block."""
    past, report = case.past, case.report
    if past is None:
        return
    wanted = case.held.name if case.held else None
    report.place = _place(past, report.leader)
    names = ordered(past.peers, past.council)
    if wanted is not None and wanted not in names:
        block = case.node.clock.decide(case.window)
        case.blame_leader("order", f"its digest was not in the leader's record at block {block}")
    for name in names:
        claim = await look_up(case.node, past.peers, past.council, name)
        if name == wanted:
            if claim.tip is None:
                case.blame_leader("ballots", f"it does not count: {_why_not(case, past, claim)}")
            return
        if claim.tip is None:
            report.notes.append(_why_not(case, past, claim))
        elif wanted is not None and wanted in names:
            case.blame_leader(
                "order",
                f"{name.leader} comes before in the leaders' order, with a manifest of "
                f"its own that counts ({name.digest[:12]})",
            )
            return
        else:
            report.notes.append(
                f"passed over: the manifest of {name.leader} can be read now, but what follows "
                f"does not stand on it"
            )


def _place(past: Past, leader: str) -> int | None:
    order = past.council.order
    return order.index(leader) if leader in order else None


def _why_not(case: Case, past: Past, claim: Claim) -> str:
    """Why a record's manifest does not count."""
    leader = claim.name.leader
    if isinstance(claim.held, Rejection):
        return f"withheld: the manifest of {leader} cannot be read: {claim.held}"
    manifest, rules = claim.held.manifest, case.node.run.agreement
    if manifest.is_genesis:
        return f"refused: {leader} would begin the run anew"
    if leader not in past.council.stakes:
        return f"refused: {leader} was no validator of this window"
    against = [
        f"{ballot.objection.value} says {voter}"
        for voter, ballot in sorted(manifest.ballots.items())
        if not ballot.approves
    ]
    reached = manifest.outcome(past.council.stakes, rules.vote_threshold, rules.proposer_counts)
    word = "vetoed" if reached is Outcome.REJECTED else "not approved by enough stake"
    return f"{word}: the proposal of {leader}" + (f", {', '.join(against)}" if against else "")


class Receipts:
    """The receipts that manifests name, each fetched once."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._known: dict[tuple[str, str], Receipt] = {}

    async def read(self, window: int, witness: str, named: str) -> Receipt | Rejection:
        """The receipt of this digest; BAD_DIGEST if the bucket shows another object.

        Raises: ChainUnavailable if the chain has forgotten where the bucket was.
        """
        if (witness, named) not in self._known:
            data = await self.shown(window, witness)
            opened = self._opened(data, window, witness, named)
            if isinstance(opened, Rejection):
                return opened
            self._known[witness, named] = opened
        return self._known[witness, named]

    async def copied(self, window: int, leader: str, witness: str, named: str) -> Receipt | None:
        """The receipt of this digest as the leader that named it has kept it, if it has."""
        key = receipt_copy_key(self._node.run.run.id, window, named)
        opened = self._opened(await self._get(window, leader, key), window, witness, named)
        return None if isinstance(opened, Rejection) else opened

    async def shown(self, window: int, witness: str) -> bytes | Rejection:
        """What the witness's bucket shows now."""
        return await self._get(window, witness, receipt_key(self._node.run.run.id, window))

    async def _get(self, window: int, validator: str, key: str) -> bytes | Rejection:
        peer = (await self._node.councils.at(window)).validators.get(validator)
        if peer is None:
            return Rejection(Reason.WRONG_HOTKEY, "no validator of this window")
        return await asyncio.to_thread(
            self._node.store.get,
            peer.bucket,
            key,
            max_bytes=MAX_DOCUMENT_BYTES,
            seconds=self._node.fetch_seconds,
        )

    def _opened(
        self, data: bytes | Rejection, window: int, witness: str, named: str
    ) -> Receipt | Rejection:
        if isinstance(data, Rejection):
            return data
        if digest(data) != named:
            detail = f"its bucket shows sha256 {digest(data)[:12]}, the manifest names {named[:12]}"
            return Rejection(Reason.BAD_DIGEST, detail)
        return open_receipt(data, self._node.run.run.id, window, witness, self._node.verify)


async def check_admission(case: Case, receipts: Receipts) -> None:
    """The accepted deltas and the norm limit follow from the receipts that the manifest names."""
    if case.past is None or case.held is None or case.held.manifest.is_genesis:
        return
    if not names_enough(case.proposal, case.past.council):
        case.blame_leader(
            "receipts", "they are not those of witnesses with more than half the stake"
        )
    found: dict[str, Receipt] = {}
    for witness, named in case.proposal.receipts:
        receipt: Receipt | Rejection | None = await receipts.read(case.window, witness, named)
        if isinstance(receipt, Rejection):
            copy = await receipts.copied(case.window, case.proposal.leader, witness, named)
            if copy is None or not is_gone(receipt):
                await _report(case, receipts, witness, receipt)
            receipt = copy
        if receipt is not None:
            found[witness] = receipt
            _check_commits(case, witness, receipt)
    if len(found) < len(case.proposal.receipts):
        case.report.gaps.append("admission: not all its receipts can be read")
        return
    council, leader, node = case.past.council, case.proposal.leader, case.node
    place = council.place(leader)
    admission = admit(found, council.witnesses, leader, place, node.run.terms, node.verify)
    proposed = Admission(case.proposal.accepted, case.proposal.norm_limit)
    if admission != proposed:
        case.blame_leader("admission", _difference(proposed, admission))


async def _report(case: Case, receipts: Receipts, witness: str, refusal: Rejection) -> None:
    run, window = case.node.run.run.id, case.window
    if is_gone(refusal):
        case.report.gaps.append(f"the receipt of {witness}: {refusal}")
    elif refusal.reason in (Reason.BAD_DIGEST, Reason.WRONG_SIZE):
        data = await receipts.shown(window, witness)
        signature = "" if isinstance(data, Rejection) else signature_of(data)
        case.report.wrong("receipt", witness, refusal.detail, receipt_key(run, window), signature)
    else:
        case.blame_leader("receipts", f"it names a receipt of {witness} that is {refusal}")


def _check_commits(case: Case, witness: str, receipt: Receipt) -> None:
    """A witness can only have received what its sender committed to."""
    run = case.node.run.run.id
    for entry in receipt.entries:
        if entry.sha256 and not entry.pledge.holds(
            run, case.window, entry.hotkey, case.node.verify
        ):
            case.report.wrong(
                "receipt",
                witness,
                f"it says that {entry.hotkey} committed to {entry.sha256[:12]}, with a signature "
                f"that is not that hotkey's",
                receipt_key(run, case.window),
            )


def _difference(proposed: Admission, due: Admission) -> str:
    """What a proposal makes of its receipts, against what follows from them."""
    extra, short = (
        set(proposed.accepted) - set(due.accepted),
        set(due.accepted) - set(proposed.accepted),
    )
    said = [f"accepts {e.hotkey} ({e.sha256[:12]})" for e in sorted(extra, key=lambda e: e.hotkey)]
    said += [f"leaves out {e.hotkey}" for e in sorted(short, key=lambda e: e.hotkey)]
    if proposed.norm_limit != due.norm_limit:
        said.append(f"limits norms to {proposed.norm_limit:.6g}, not {due.norm_limit:.6g}")
    return f"it {', '.join(said)}, against its own receipts"

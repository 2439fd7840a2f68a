"""The witnesses' verdicts, against the gradients recomputed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from boltzmann.audit.case import Case
from boltzmann.audit.deltas import sealed_bytes
from boltzmann.audit.documents import Receipts
from boltzmann.audit.line import past
from boltzmann.node.behind import open_behind
from boltzmann.node.examine import Finding, examine
from boltzmann.node.ingest import Collected, collect, ingest
from boltzmann.node.node import Node
from boltzmann.node.objects import receipt_key
from boltzmann.node.round import Round, Task, with_behind
from boltzmann.protocol.admission import equivocators
from boltzmann.protocol.receipts import Receipt, Verdict, open_receipt
from boltzmann.protocol.rejection import Reason, Rejection

# Another machine's gradients differ by less: honest uploads keep every cosine above .999.
_SCORE_SLACK = 0.02
# What only a recomputation can tell; the others are about the object as the witness met it.
_BY_RECOMPUTING = frozenset({Reason.GATE, Reason.TENSOR, Reason.NORM, Reason.BAD_TOKENS})


async def check_verdicts(case: Case, this: Round, receipts: Receipts) -> None:
    """Recompute every delta of this window that some receipt within reach judges.

    To be called while the state holds the parameters that the window trained on.
    """
    said, node = await _said(case, receipts), case.node
    if not said:
        return
    gradient = await node.worker.delta(node.schedule.control(case.window))
    await node.worker.run(partial(this.set_control, node, gradient))
    collected = await collect(node, this.duty)
    await ingest(node, this, collected)
    this.behind = await _behind(case, this, collected)
    shown = await _shown(case, receipts, {witness for witness, _ in said})
    two_faced = equivocators(shown, node.verify)
    found: dict[Task, Finding | Rejection] = {}
    tasks = {(verdict.hotkey, verdict.page) for _, verdict in said}
    for (witness, verdict), window in sorted(said.items(), key=lambda item: str(item[0])):
        hotkey, key = verdict.hotkey, receipt_key(node.run.run.id, window)
        if hotkey not in this.members:
            case.report.wrong("verdict", witness, f"on {hotkey}, who was given no pages", key)
            continue
        if verdict.page not in (-1, *this.pages[hotkey]):
            detail = f"on {hotkey}, on page {verdict.page}, which it was not given"
            case.report.wrong("verdict", witness, detail, key)
            continue
        task = Task(hotkey, None if verdict.page < 0 else this.pages[hotkey].index(verdict.page))
        if task not in found:
            what = f"window {case.window}, deltas recomputed"
            node.telemetry.event("progress", what=what, done=len(found), of=len(tasks))
            found[task] = await _outcome(node, this, task)
        outcome = found[task]
        if isinstance(outcome, Rejection) and outcome.reason.value == verdict.refusal:
            continue
        if verdict.refusal == Reason.EQUIVOCATED.value and hotkey in two_faced:
            continue
        if _is_out_of_reach(case, this, outcome):
            case.report.gaps.append(
                f"the verdict of {witness} on {hotkey}, whose delta is on another state than the "
                f"window's, and the one before is not at hand: audit from an earlier window on"
            )
            continue
        seen = _seen(shown[witness])
        if verdict.refusal == Reason.EQUIVOCATED.value or not _is_same(case, this, hotkey, seen):
            case.report.gaps.append(
                f"the verdict of {witness} on {hotkey}: what it judged is no longer to be had"
            )
        elif (wrong := _contradiction(case, verdict, outcome)) is not None:
            case.report.wrong("verdict", witness, f"on {hotkey}: {wrong}", key)


async def _behind(case: Case, this: Round, collected: Collected) -> Round | None:
    """The work on the state before the window's base. For whom that came late only the validators
    know; what they say of such work can be recomputed all the same."""
    earlier = case.line.before(this.base.name.window)
    if earlier is not None:
        case.node.manifests.keep(earlier)  # it may have been crowded out
    late = replace(this, duty=replace(this.duty, is_late=True))
    return await open_behind(case.node, late, collected)


def _is_out_of_reach(case: Case, this: Round, outcome: Finding | Rejection) -> bool:
    """Whether a delta may be on the state before the window's base, and that is not at hand."""
    if not isinstance(outcome, Rejection) or outcome.reason is not Reason.WRONG_BASE:
        return False
    parent, earlier = this.base.manifest.proposal.parent, case.line.before(this.base.name.window)
    if parent is None or earlier is None:
        return parent is not None
    root = bytes.fromhex(earlier.manifest.proposal.root)
    return not case.node.worker.state.reaches(root)


def _seen(receipt: Receipt) -> dict[str, str]:
    """hotkey -> sha256 of what a witness says it has received, for the update or not."""
    read = ("", Reason.WRONG_BASE.value)
    return {entry.hotkey: entry.sha256 for entry in receipt.entries if entry.refusal in read}


def _is_same(case: Case, this: Round, hotkey: str, seen: Mapping[str, str]) -> bool:
    """Whether the bucket shows what the witness says it received."""
    sha256, _ = sealed_bytes(case, this.members[hotkey])
    return sha256 != "" and seen.get(hotkey) == sha256


async def _said(case: Case, receipts: Receipts) -> dict[tuple[str, Verdict], int]:
    """(witness, verdict) -> the window of the receipt that says so, of those the line names."""
    said: dict[tuple[str, Verdict], int] = {}
    reach = case.window + case.node.run.rewards.trust_windows
    for window, held in sorted(case.line.held.items()):
        if not case.window <= window <= reach:
            continue
        for witness, named in held.manifest.proposal.receipts:
            receipt = await past(case.node, partial(receipts.read, window, witness, named))
            if isinstance(receipt, Receipt):
                for verdict in receipt.verdicts:
                    if verdict.window == case.window:
                        said.setdefault((witness, verdict), window)
    return said


async def _shown(case: Case, receipts: Receipts, judges: set[str]) -> dict[str, Receipt]:
    """What the window's witnesses, and these judges, say now that they received in it."""
    node, window = case.node, case.window
    found: dict[str, Receipt] = {}
    witnesses = case.past.council.witnesses if case.past else {}
    for witness in sorted(judges | set(witnesses)):
        found[witness] = Receipt(node.run.run.id, window, (), ())
        data = await receipts.shown(window, witness)
        if not isinstance(data, Rejection):
            opened = open_receipt(data, node.run.run.id, window, witness, node.verify)
            if isinstance(opened, Receipt):
                found[witness] = opened
    return found


async def _outcome(node: Node, this: Round, task: Task) -> Finding | Rejection:
    """What the node's own rules make of a member's delta as its bucket shows it now."""
    part = next((part for part in with_behind([this]) if task.hotkey in part.received), None)
    if part is None:
        return this.refused[task.hotkey]
    found = await node.worker.run(partial(examine, node, part, task))
    if isinstance(found, Finding) and found.is_open:
        # The verdict's figures are that page's, whatever all pages decide.
        task = replace(task, page=None)
        whole = await node.worker.run(partial(examine, node, part, task))
        refusal = whole if isinstance(whole, Rejection) else whole.refusal
        return replace(found, refusal=refusal, is_open=False)
    return found


def _contradiction(case: Case, verdict: Verdict, outcome: Finding | Rejection) -> str | None:
    """What the recomputation says against a verdict on the very same bytes; None if nothing."""
    said = verdict.refusal or "a pass"
    if isinstance(outcome, Rejection):
        return f"it says {said}, the object is {outcome}"
    gate = case.node.run.gate
    figures = f"rho {outcome.gate:.4f}, score {outcome.score:.4f}, norm {outcome.norm:.4g}"
    refused = outcome.refusal is not None
    if verdict.passed == refused:
        why = str(outcome.refusal) if outcome.refusal else "a pass"
        return f"it says {said}, recomputed: {why} ({figures})"
    if verdict.refusal and Reason(verdict.refusal) not in _BY_RECOMPUTING:
        return f"it says {said} of an object that is well formed ({figures})"
    if abs(verdict.score - outcome.score) > _SCORE_SLACK:
        return f"it says score {verdict.score:.4f}, recomputed: {figures}"
    if not gate.norm_min * outcome.norm <= verdict.norm <= gate.norm_max * outcome.norm:
        return f"it says norm {verdict.norm:.4g}, recomputed: {figures}"
    return None

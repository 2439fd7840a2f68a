"""`boltzmann audit` on what a majority agreed on although it was wrong, and on false verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from node_kit import RUN, made, sealed_delta
from reaudit_scene import (
    LAST,
    STAKES,
    Remains,
    audited,
    auditor,
    hotkey,
    manifest_in,
    only,
    trained,
)
from scripted_chain import Keys

from boltzmann.audit.case import open_case
from boltzmann.audit.deltas import recompute_update
from boltzmann.audit.line import find_line
from boltzmann.audit.replay import audit
from boltzmann.audit.report import Status
from boltzmann.chain.keys import verify
from boltzmann.node.objects import commit_key, delta_key, expected, receipt_key
from boltzmann.node.round import assigned, chosen_in
from boltzmann.protocol.admission import Accepted
from boltzmann.protocol.ballots import Objection
from boltzmann.protocol.documents import digest
from boltzmann.protocol.manifest import Parent, Proposal
from boltzmann.protocol.receipts import Entry, Verdict
from boltzmann.protocol.reveal import Pledge, open_commit, seal_commit
from boltzmann.protocol.wire import Kind
from boltzmann.train.state import ModelState


@pytest.fixture(scope="module")
def remains(s3: str, tmp_path_factory: pytest.TempPathFactory) -> Remains:
    return trained(s3, tmp_path_factory)


# What a majority of the validators has agreed on, though it is wrong


async def as_colluders(remains: Remains, folder: Path, window: int) -> Proposal:
    """A proposal that lets the cheat in, consistent in everything else."""
    proposal = remains.manifest(window).proposal
    async with auditor(remains, folder) as node:
        _ = [report async for report in audit(node, 1, window - 1, recompute=False)]
        seen = remains.receipt(window, "ada").entries
        sha256 = next(entry.sha256 for entry in seen if entry.hotkey == hotkey("cheat"))
        everybody = (*proposal.accepted, Accepted(hotkey("cheat"), sha256))
        accepted = tuple(sorted(everybody, key=lambda entry: entry.hotkey))
        line = await find_line(node, window, window, window)
        case = await open_case(node, line, window)
        held = line.held[window]
        wrong = replace(held.manifest, proposal=replace(proposal, accepted=accepted))
        case = replace(case, held=replace(held, manifest=wrong))
        this = await case.round()
        assert this is not None
        body = await recompute_update(case, this)
        assert body is not None
        values = node.run.exchange.codec.decode(body)
        work = partial(node.worker.state.apply, this.chosen, values, digest(body), window)
        root = (await node.worker.run(work)).hex()
    return replace(proposal, accepted=accepted, update=digest(body), root=root)


async def test_an_approved_proposal_that_lets_a_cheat_in_is_named(
    remains: Remains, tmp_path: Path
) -> None:
    proposal = await as_colluders(remains, tmp_path / "forge", LAST)
    reports = await audited(remains.ordering(proposal), tmp_path / "audit", LAST, LAST)
    wrong = only(reports[LAST])
    assert (wrong.what, wrong.hotkey) == ("admission", proposal.leader)
    others = sorted(hotkey(name) for name in STAKES if hotkey(name) != proposal.leader)
    assert f"accepts {hotkey('cheat')}" in wrong.detail
    assert wrong.detail.endswith(f"approved by {', '.join(others)}")
    assert wrong.key.startswith(f"{RUN}/{LAST}/manifest/") and len(wrong.signature) == 128


async def test_an_approved_update_that_is_no_aggregate_is_named(
    remains: Remains, tmp_path: Path
) -> None:
    proposal = replace(remains.manifest(LAST).proposal, update="ef" * 32)
    reports = await audited(remains.ordering(proposal), tmp_path, LAST, LAST)
    wrong = only(reports[LAST])
    assert (wrong.what, wrong.hotkey) == ("update", proposal.leader)
    (gap,) = reports[LAST].gaps  # there are no such bytes either
    assert gap.startswith(f"the state: the update of window {LAST}: absent")


async def test_an_approved_root_that_is_another_is_named(remains: Remains, tmp_path: Path) -> None:
    proposal = replace(remains.manifest(LAST).proposal, root="ab" * 32)
    reports = await audited(remains.ordering(proposal), tmp_path, LAST, LAST)
    wrong = only(reports[LAST])
    assert (wrong.what, wrong.hotkey) == ("root", proposal.leader)


def name_on_chain(remains: Remains, window: int) -> Parent:
    """How the next proposal names what is on chain for this window."""
    leader = remains.manifest(window).proposal.leader
    for _, who, record in reversed(remains.records):
        named = manifest_in(record)
        if who == leader and named is not None and named[0] == window:
            return Parent(named[1], window, leader)
    raise AssertionError(f"nothing of window {window} is on chain")


async def test_a_manifest_that_was_not_on_chain_in_time_is_named(
    remains: Remains, tmp_path: Path
) -> None:
    records = [row for row in remains.records if (manifest_in(row[2]) or (-1,))[0] != LAST - 1]
    reports = await audited(replace(remains, records=records), tmp_path, LAST - 1, LAST)
    wrong = only(reports[LAST - 1])
    assert (wrong.what, wrong.hotkey) == ("order", remains.manifest(LAST - 1).proposal.leader)
    assert reports[LAST].status is Status.MATCH


async def test_a_manifest_that_stands_on_a_rejected_one_shows_that_one(
    remains: Remains, tmp_path: Path
) -> None:
    before, last = remains.manifest(LAST - 1).proposal, remains.manifest(LAST).proposal
    against = {"ben": Objection.LOSS, "cyd": Objection.LOSS}
    rejected = remains.ordering(before, against)
    parent = name_on_chain(rejected, LAST - 1)
    forged = rejected.ordering(replace(last, parent=parent, checkpoint=before.checkpoint))
    reports = await audited(forged, tmp_path, LAST - 1, LAST)
    wrong = only(reports[LAST - 1])
    assert (wrong.what, wrong.hotkey) == ("ballots", before.leader)
    assert "loss says" in wrong.detail
    assert reports[LAST].status is Status.MATCH


async def test_passing_over_whose_turn_came_first_is_named(
    remains: Remains, tmp_path: Path
) -> None:
    """Two manifests of one window were approved, and what follows stands on the later one."""
    before, last = remains.manifest(LAST - 1).proposal, remains.manifest(LAST).proposal
    async with auditor(remains, tmp_path / "order") as node:
        order = (await node.councils.at(LAST - 1)).order
    first = remains.ordering(replace(before, leader=order[0]))
    second = remains.ordering(replace(before, leader=order[1]))
    both = replace(first, records=[*first.records, second.records[-1]])
    parent = name_on_chain(second, LAST - 1)
    forged = both.ordering(replace(last, parent=parent, checkpoint=before.checkpoint))
    reports = await audited(forged, tmp_path / "audit", LAST - 1, LAST)
    wrong = only(reports[LAST - 1])
    assert (wrong.what, wrong.hotkey) == ("order", order[1])
    assert wrong.detail.startswith(f"{order[0]} comes before")
    assert (reports[LAST - 1].place, reports[LAST].status) == (1, Status.MATCH)


async def test_too_few_receipts_are_named(remains: Remains, tmp_path: Path) -> None:
    proposal = remains.manifest(LAST).proposal
    few = replace(proposal, receipts=proposal.receipts[:1])
    reports = await audited(remains.ordering(few), tmp_path, LAST, LAST)
    assert ("receipts", proposal.leader) in [
        (wrong.what, wrong.hotkey) for wrong in reports[LAST].mismatches
    ]


# Verdicts


def with_verdict(remains: Remains, witness: str, of: str, **changes: object) -> bytes:
    """The witness's last receipt, with what it says of one miner changed, signed all the same."""
    receipt, keys = remains.receipt(LAST, witness), Keys(witness)
    verdicts = [
        replace(verdict, **changes) if verdict.hotkey == hotkey(of) else verdict  # type: ignore[arg-type]
        for verdict in receipt.verdicts
    ]
    assert verdicts != list(receipt.verdicts)
    return replace(receipt, verdicts=tuple(verdicts)).seal(keys.hotkey, keys.sign)


def naming(proposal: Proposal, witness: str, receipt: bytes) -> Proposal:
    named = dict(proposal.receipts) | {hotkey(witness): digest(receipt)}
    return replace(proposal, receipts=tuple(sorted(named.items())))


def verdict_of(remains: Remains, witness: str, of: str) -> Verdict:
    verdicts = remains.receipt(LAST, witness).verdicts
    return next(verdict for verdict in verdicts if verdict.hotkey == hotkey(of))


FALSE: Mapping[str, tuple[str, Mapping[str, object], str]] = {
    "a pass for noise": ("cheat", {"refusal": "", "gate": 1.0, "score": 1.0}, "it says a pass"),
    "a failure of honest work": ("anna", {"refusal": "gate", "gate": 0.1}, "it says gate"),
    "another score": ("bert", {"score": 0.5}, "it says score"),
    "another norm": ("bert", {"norm": 1e-6}, "it says norm"),
}


@pytest.mark.parametrize("lie", FALSE)
async def test_a_false_verdict_is_its_witness_s(remains: Remains, tmp_path: Path, lie: str) -> None:
    of, changes, said = FALSE[lie]
    window = verdict_of(remains, "cyd", of).window
    receipt = with_verdict(remains, "cyd", of, **changes)
    forged = remains.ordering(naming(remains.manifest(LAST).proposal, "cyd", receipt))
    with remains.instead("cyd", receipt_key(RUN, LAST), receipt):
        reports = await audited(forged, tmp_path, window, LAST, recompute=True)
    found = [wrong for wrong in reports[window].mismatches if wrong.what == "verdict"]
    assert [(wrong.hotkey, wrong.key) for wrong in found] == [
        (hotkey("cyd"), receipt_key(RUN, LAST))
    ]
    assert found[0].detail.startswith(f"on {hotkey(of)}: {said}")


async def behind(
    remains: Remains, folder: Path, root: bytes | None
) -> tuple[bytes, bytes, Verdict]:
    """The cheat's last window, had it worked honestly on the state before the last but one's
    update, and said so (or named another `root`): its commit, its delta, the verdict that is due.
    """
    keys = Keys("cheat")
    async with auditor(remains, folder, recompute=True) as node:
        _ = [report async for report in audit(node, 1, LAST - 2, recompute=False)]
        pages = (await assigned(node, LAST))[1][keys.hotkey]
        work, chosen = await made(node, LAST, pages), await chosen_in(node, LAST)
        root = root or node.worker.state.position.root
        known = expected(node.run, Kind.DELTA, keys.hotkey, LAST, root, chosen)
    sealed = sealed_delta(known, work, keys.sign)
    commit = seal_commit(RUN, LAST, digest(sealed), keys.hotkey, keys.sign)
    due = Verdict(keys.hotkey, LAST, "", 1.0, 1.0, float(np.linalg.norm(work.values)))
    return commit, sealed, due


@dataclass(frozen=True)
class Behind:
    """A verdict on such work. `lie`: what it says that is not so; `wrong`: what is said of it."""

    lie: Mapping[str, object] = field(default_factory=dict)
    root: bytes | None = None
    is_at_hand: bool = True
    wrong: str = ""


BEHIND = {
    "a pass": Behind(),
    "another score": Behind({"score": 0.5}, wrong="it says score 0.5000"),
    "a failure": Behind({"refusal": "gate"}, wrong="it says gate, recomputed: a pass"),
    "a pass on no state": Behind(root=bytes(32), wrong="it says a pass, the object is wrong_base"),
    "forgotten": Behind(is_at_hand=False, wrong="audit from an earlier window on"),
}


@pytest.mark.parametrize("of", BEHIND)
async def test_verdicts_on_work_behind_are_recomputed_at_the_state_before(
    remains: Remains, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    """Or, if that is not at hand, left open."""
    case = BEHIND[of]
    commit, sealed, due = await behind(remains, tmp_path / "work", case.root)
    pledge = open_commit(commit, RUN, LAST, due.hotkey, verify)
    assert isinstance(pledge, Pledge)
    entry = Entry(due.hotkey, pledge.sha256, pledge.signature, "wrong_base")
    receipt, ada = remains.receipt(LAST, "ada"), Keys("ada")
    said = replace(
        receipt,
        entries=tuple(entry if e.hotkey == due.hotkey else e for e in receipt.entries),
        verdicts=tuple(
            replace(due, **case.lie) if v.hotkey == due.hotkey else v  # type: ignore[arg-type]
            for v in receipt.verdicts
        ),
    ).seal(ada.hotkey, ada.sign)
    changed = remains.ordering(naming(remains.manifest(LAST).proposal, "ada", said))
    if not case.is_at_hand:
        monkeypatch.setattr(ModelState, "reaches", lambda state, root: False)
    with (
        remains.instead("ada", receipt_key(RUN, LAST), said),
        remains.instead("cheat", commit_key(RUN, LAST), commit),
        remains.instead("cheat", delta_key(RUN, LAST), sealed),
    ):
        reports = await audited(changed, tmp_path / "audit", LAST - 1, LAST, recompute=True)
    told = [f"{m.hotkey} {m.detail}" for m in reports[LAST].mismatches if m.what == "verdict"]
    told += [gap for gap in reports[LAST].gaps if "verdict" in gap]
    of_ada = [what for what in told if ada.hotkey in what and due.hotkey in what]
    assert len(of_ada) == (case.wrong != "")
    assert all(case.wrong in what for what in of_ada)

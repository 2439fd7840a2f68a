"""`boltzmann audit` on what a majority agreed on although it was wrong, and on false verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from node_kit import RUN
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
from boltzmann.node.objects import receipt_key
from boltzmann.protocol.admission import Accepted
from boltzmann.protocol.ballots import Objection
from boltzmann.protocol.documents import digest
from boltzmann.protocol.manifest import Parent, Proposal
from boltzmann.protocol.receipts import Verdict


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

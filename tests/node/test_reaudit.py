"""`boltzmann audit`: a run that is over, recomputed from what it left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from node_kit import CLOCK, RUN
from reaudit_scene import LAST, STAKES, Remains, audited, hotkey, only, trained
from scripted_chain import Keys, ScriptedChain

from boltzmann.audit.report import Status, exit_code
from boltzmann.errors import BoltzmannError, ChainUnavailable, ConfigError
from boltzmann.node.objects import commit_key, delta_key, receipt_copy_key, receipt_key, update_key
from boltzmann.protocol.ballots import Objection
from boltzmann.protocol.chainview import Neuron
from boltzmann.protocol.reveal import seal_commit


@pytest.fixture(scope="module")
def remains(s3: str, tmp_path_factory: pytest.TempPathFactory) -> Remains:
    return trained(s3, tmp_path_factory)


async def test_an_honest_run_matches(remains: Remains, tmp_path: Path) -> None:
    reports = await audited(remains, tmp_path, 0, LAST, recompute=True)
    assert [report.line() for report in reports.values() if report.status is not Status.MATCH] == []
    assert exit_code(reports.values()) == 0
    honest = {hotkey("anna"), hotkey("bert")}
    for window in range(1, LAST + 1):
        proposal = remains.manifest(window).proposal
        assert {entry.hotkey for entry in proposal.accepted} == honest
        assert reports[window].line() == (
            f"window {window}  match  accepted 2  leader {proposal.leader}  "
            f"root {proposal.root[:12]}…"
        )
        told = json.loads(reports[window].document())
        assert (told["status"], told["root"]) == ("match", proposal.root)


async def test_a_window_in_the_middle_needs_no_earlier_report(
    remains: Remains, tmp_path: Path
) -> None:
    reports = await audited(remains, tmp_path, 3, 3)
    assert [report.status for report in reports.values()] == [Status.MATCH]


@pytest.mark.parametrize("holder", STAKES)
async def test_a_changed_copy_of_a_manifest_is_its_holders(
    remains: Remains, tmp_path: Path, holder: str
) -> None:
    (key,) = remains.keys(holder, f"{RUN}/2/manifest/")
    with remains.flipped(holder, key, at=100):
        reports = await audited(remains, tmp_path, 2, 2)
    found = only(reports[2])
    assert (found.what, found.hotkey, found.key) == ("manifest copy", hotkey(holder), key)
    assert len(found.signature) == 128


@pytest.mark.parametrize("at", [-1, 200, 30])
async def test_a_changed_copy_of_an_update_is_its_holders(
    remains: Remains, tmp_path: Path, at: int
) -> None:
    key = update_key(RUN, 3, remains.manifest(3).proposal.update)
    assert remains.holders(key) == list(STAKES)
    with remains.flipped("cyd", key, at=at):
        reports = await audited(remains, tmp_path, 3, 3)
    found = only(reports[3])
    assert (found.what, found.hotkey, found.key) == ("update copy", hotkey("cyd"), key)


async def test_an_update_that_lacks_bytes_is_its_holders(remains: Remains, tmp_path: Path) -> None:
    key = update_key(RUN, 3, remains.manifest(3).proposal.update)
    with remains.instead("ben", key, remains.read("ben", key)[:-2]):
        reports = await audited(remains, tmp_path, 3, 3)
    assert only(reports[3]).hotkey == hotkey("ben")


async def test_missing_copies_are_nobodys_fault(remains: Remains, tmp_path: Path) -> None:
    """The update follows from the deltas, even where no copy of it is left."""
    key = update_key(RUN, 3, remains.manifest(3).proposal.update)
    with (
        remains.instead("ada", key, None),
        remains.instead("ben", key, None),
        remains.instead("cyd", key, None),
    ):
        reports = await audited(remains, tmp_path, 3, 4)
    assert [report.status for report in reports.values()] == [Status.MATCH] * 2


async def test_a_changed_receipt_is_its_witness_s(remains: Remains, tmp_path: Path) -> None:
    key = receipt_key(RUN, 2)
    with remains.flipped("ben", key, at=50):
        reports = await audited(remains, tmp_path, 2, 3)
    found = only(reports[2])
    assert (found.what, found.hotkey, found.key) == ("receipt", hotkey("ben"), key)
    assert reports[2].gaps == [], "the leader has kept the one that it went by"
    assert reports[3].status is Status.MATCH
    assert exit_code(reports.values()) == 1


async def test_a_lost_receipt_is_judged_by_the_leaders_copy(
    remains: Remains, tmp_path: Path
) -> None:
    proposal = remains.manifest(2).proposal
    copy = receipt_copy_key(RUN, 2, dict(proposal.receipts)[hotkey("ben")])
    with remains.instead("ben", receipt_key(RUN, 2), None):
        reports = await audited(remains, tmp_path / "one", 2, 2)
        assert (reports[2].status, reports[2].gaps) == (Status.MATCH, [])
        with remains.instead(remains.name_of(proposal.leader), copy, None):
            reports = await audited(remains, tmp_path / "none", 2, 2)
    assert "admission: not all its receipts can be read" in reports[2].gaps


@pytest.mark.parametrize("at", [-1, 20, 200])
async def test_a_changed_delta_is_its_miner_s(remains: Remains, tmp_path: Path, at: int) -> None:
    key = delta_key(RUN, 2)
    with remains.flipped("bert", key, at=at):
        reports = await audited(remains, tmp_path, 2, 3)
    found = only(reports[2])
    assert (found.what, found.hotkey, found.key) == ("delta", hotkey("bert"), key)
    assert reports[3].status is Status.MATCH  # the published update led on


async def test_a_changed_commit_is_its_miner_s(remains: Remains, tmp_path: Path) -> None:
    key = commit_key(RUN, 2)
    with remains.flipped("anna", key, at=60):
        reports = await audited(remains, tmp_path, 2, 2)
    found = only(reports[2])
    assert (found.what, found.hotkey, found.key) == ("commit", hotkey("anna"), key)


async def test_a_commit_to_another_delta_is_its_miner_s(remains: Remains, tmp_path: Path) -> None:
    key, keys = commit_key(RUN, 2), Keys("anna")
    other = seal_commit(RUN, 2, "ab" * 32, keys.hotkey, keys.sign)
    with remains.instead("anna", key, other):
        reports = await audited(remains, tmp_path, 2, 2)
    assert (only(reports[2]).what, only(reports[2]).hotkey) == ("commit", keys.hotkey)


async def test_what_is_gone_leaves_a_window_unproven(remains: Remains, tmp_path: Path) -> None:
    """A miner that left took its bucket along: that proves nothing, and is not called a match."""
    with remains.instead("bert", delta_key(RUN, 2), None):
        reports = await audited(remains, tmp_path, 2, 3)
    assert reports[2].status is Status.PARTIAL
    assert reports[2].gaps == [f"the delta of {hotkey('bert')}: absent"]
    assert reports[3].status is Status.MATCH
    assert exit_code(reports.values()) == 3


@pytest.mark.parametrize("kind", [".json", ".safetensors"])
async def test_a_changed_checkpoint_is_its_holder_s(
    remains: Remains, tmp_path: Path, kind: str
) -> None:
    assert remains.manifest(2).proposal.checkpoint.window == 1
    found = [
        (name, key)
        for name in STAKES
        for key in remains.keys(name, f"{RUN}/1/checkpoint/")
        if key.endswith(kind)
    ]
    holder, key = found[0]
    with remains.flipped(holder, key):
        reports = await audited(remains, tmp_path, 2, 2)
    what = "checkpoint descriptor" if kind == ".json" else "checkpoint shard"
    wrong = only(reports[2])
    assert (wrong.what, wrong.hotkey, wrong.key) == (what, hotkey(holder), key)


async def test_a_checkpoint_of_another_state_is_its_leader_s(
    remains: Remains, tmp_path: Path
) -> None:
    proposal = remains.manifest(LAST).proposal
    named = replace(proposal.checkpoint, digest="cd" * 32)
    forged = remains.ordering(replace(proposal, checkpoint=named))
    reports = await audited(forged, tmp_path, LAST, LAST)
    wrong = only(reports[LAST])
    assert (wrong.what, wrong.hotkey) == ("checkpoint", proposal.leader)


# Windows without an update


async def test_a_window_that_nobody_ordered_is_empty(remains: Remains, tmp_path: Path) -> None:
    later = replace(remains, height=CLOCK.decide(LAST + 1))
    reports = await audited(later, tmp_path, LAST, LAST + 1)
    assert reports[LAST].status is Status.MATCH
    assert reports[LAST + 1].line() == f"window {LAST + 1}  empty"
    assert exit_code(reports.values()) == 0


async def test_a_vetoed_proposal_is_shown_as_such(remains: Remains, tmp_path: Path) -> None:
    vetoed = remains.ordering(
        replace(remains.manifest(LAST).proposal, root="ab" * 32),
        {"ben": Objection.ROOT, "cyd": Objection.ADMISSION},
    )
    reports = await audited(vetoed, tmp_path, LAST, LAST)
    leader = remains.manifest(LAST).proposal.leader
    objections = sorted([(hotkey("ben"), "root"), (hotkey("cyd"), "admission")])
    said = ", ".join(f"{why} says {who}" for who, why in objections)
    assert reports[LAST].line() == (
        f"window {LAST}  empty  vetoed: the proposal of {leader}, {said}"
    )


@contextmanager
def hidden(remains: Remains, window: int) -> Iterator[None]:
    """Every copy of a window's manifest taken away for a while."""
    with ExitStack() as stack:
        for holder in STAKES:
            for key in remains.keys(holder, f"{RUN}/{window}/manifest/"):
                stack.enter_context(remains.instead(holder, key, None))
        yield


async def test_a_manifest_that_nobody_shows_is_withheld(remains: Remains, tmp_path: Path) -> None:
    leader = remains.manifest(LAST).proposal.leader
    with hidden(remains, LAST):
        reports = await audited(remains, tmp_path, LAST, LAST)
    assert reports[LAST].status is Status.EMPTY
    (note,) = reports[LAST].notes
    assert note.startswith(f"withheld: the manifest of {leader} cannot be read: absent")


# What cannot be audited


@dataclass
class Forgetful(ScriptedChain):
    """A chain endpoint that keeps the state of the newest blocks only, as most do."""

    since: int = 0

    def _require(self, block: int) -> None:
        if block < self.since:
            raise ChainUnavailable("the chain gives no answer: State already discarded")

    async def neurons(self, block: int) -> tuple[Neuron, ...]:
        self._require(block)
        return await super().neurons(block)

    async def commitments(self, block: int) -> Mapping[str, tuple[bytes, ...]]:
        self._require(block)
        return await super().commitments(block)


async def test_where_the_chain_has_forgotten_the_rest_is_still_checked(
    remains: Remains, tmp_path: Path
) -> None:
    chain = Forgetful(remains.script(), "", since=CLOCK.open(LAST))
    key = update_key(RUN, 2, remains.manifest(2).proposal.update)
    with remains.flipped("cyd", key):
        reports = await audited(remains, tmp_path, 1, 3, chain=chain)
    assert [reports[window].status for window in (1, 3)] == [Status.PARTIAL] * 2
    assert all("archive node" in report.gaps[0] for report in reports.values())
    found = only(reports[2])
    assert (found.what, found.hotkey) == ("update copy", hotkey("cyd"))


async def test_a_window_to_come_is_refused(remains: Remains, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"window {LAST + 1} is not decided yet"):
        await audited(remains, tmp_path, LAST, LAST + 1)


async def test_a_manifest_without_a_whole_copy_ends_the_audit_with_its_window(
    remains: Remains, tmp_path: Path
) -> None:
    with (
        hidden(remains, 2),
        pytest.raises(BoltzmannError, match="the manifest of window 2: absent"),
    ):
        await audited(remains, tmp_path, 1, 3)

"""Honest work on the state before a manifest that came late is paid, though in no update."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from audit_scene import Scene, scene, trusting
from node_kit import CLOCK, RUN
from scripted_chain import Keys

from boltzmann.node.alarms import heed, news
from boltzmann.node.audit import audit_until, plan
from boltzmann.node.behind import Lateness, open_behind
from boltzmann.node.follow import Joined, follow
from boltzmann.node.reckoning import judge_absences, refuse_two_faced, settle
from boltzmann.node.round import Round, Task, open_round, with_behind
from boltzmann.protocol.alarms import Judged
from boltzmann.protocol.receipts import Entry, Receipt, Verdict
from boltzmann.protocol.reveal import Pledge, open_commit, seal_commit
from boltzmann.protocol.rewards import Standing


@asynccontextmanager
async def split(s3: str, folder: Path) -> AsyncIterator[Scene]:
    """Window 2 at its closing: anna, and dora who copies her, worked without window 1's update."""
    async with scene(s3, folder) as at:
        node = at.validator.node
        at.leader.publish(at.leader.close(1))
        await at.open(2)
        before, anna = at.validator.state.position.root, await at.work("anna")
        at.upload("anna", anna, root=before)
        at.upload("dora", anna, root=before)
        at.upload("carl", await at.work("carl"), root=bytes(32))
        assert await follow(node, 1) is None
        assert at.validator.state.position.root != before
        at.upload("bert", await at.work("bert"))
        for name in at.buckets:
            at.book[Keys(name).hotkey] = Standing(0, moving=0.5)
        yield at


def root_before(at: Scene) -> bytes:
    """Of the state before window 1's update."""
    parent = at.validator.node.manifests[at.validator.state.heads[1]]
    return bytes.fromhex(parent.manifest.proposal.root)


async def read(at: Scene, *, is_late: bool) -> Round | None:
    """The window's work read, as by a validator that found its base late or not; what is behind."""
    node = at.validator.node
    base = node.manifests[node.worker.state.position.head]
    duty = replace(at.this.duty, base=base, is_late=is_late)
    at.this = await open_round(node, duty)
    at.this.behind = await open_behind(node, at.this, await at.ingest())
    judge_absences(node, at.book, at.this)
    return at.this.behind


async def judged(at: Scene, *, is_late: bool) -> None:
    """The window's work judged and settled, too."""
    node, window = at.validator.node, at.this.window
    await read(at, is_late=is_late)
    for part in with_behind([at.this]):
        await plan(node, at.book, part)
        await audit_until(node, at.book, part, CLOCK.decide(window), newcomers=False)
    settle(node, at.book, at.this)


async def test_work_on_the_state_before_a_late_manifest_is_judged_and_paid(
    s3: str, tmp_path: Path
) -> None:
    async with split(s3, tmp_path) as at:
        await judged(at, is_late=True)
        for name in ("anna", "bert"):
            assert (at.refusal(name), at.standing(name).gate > 0.999) == ("", True)
            assert at.standing(name).moving == pytest.approx(0.25 + 0.5 * at.standing(name).score)
        assert at.refusal("dora") == "gate"
        told = {event["hotkey"]: event["reason"] for event in at.validator.told.of("rejected")}
        assert told == {Keys("dora").hotkey: "gate", Keys("carl").hotkey: "wrong_base"}
        assert at.standing("carl").moving == pytest.approx(0.25)


async def test_it_enters_no_update(s3: str, tmp_path: Path) -> None:
    async with split(s3, tmp_path) as at:
        await judged(at, is_late=True)
        assert set(at.this.received) == {Keys("bert").hotkey}
        assert at.this.refused[Keys("anna").hotkey].reason.value == "wrong_base"


async def test_where_the_manifest_was_there_in_time_it_counts_for_nothing(
    s3: str, tmp_path: Path
) -> None:
    async with split(s3, tmp_path) as at:
        await judged(at, is_late=False)
        assert at.this.behind is None
        for name in ("anna", "dora", "carl"):
            assert at.refusal(name) is None
            assert at.standing(name) == Standing(0, moving=0.25)


async def test_cheats_behind_are_convicted_where_others_pass(s3: str, tmp_path: Path) -> None:
    """Three failures and no pass would be this machine's fault, if there were nobody else."""
    async with split(s3, tmp_path) as at:
        cheat = (await at.work("bert")).times(-1.0)
        for name in ("anna", "carl"):
            at.upload(name, cheat, root=root_before(at))
        await judged(at, is_late=True)
        assert [at.refusal(name) for name in ("anna", "carl", "dora")] == ["gate"] * 3
        assert all(at.book.on_probation(Keys(name).hotkey) for name in ("anna", "carl", "dora"))
        assert at.refusal("bert") == ""


async def test_alarms_about_what_is_behind_are_looked_at_where_it_stands(
    s3: str, tmp_path: Path
) -> None:
    """And those that are true are told on, with the bytes they are about."""
    async with split(s3, tmp_path) as at:
        behind = await read(at, is_late=True)
        assert behind is not None
        node, told = trusting(at), {}
        for witness, name in (("5Val", "dora"), ("5Liar", "anna")):
            hotkey = Keys(name).hotkey
            failed = Verdict(hotkey, 2, "gate", 0.0, 0.0, 1.0)
            told[witness] = [Judged(failed, behind.received[hotkey].sha256)]
        parts = with_behind([at.this])
        await heed(node, at.book, parts, told, CLOCK.decide(2))
        assert (at.refusal("dora"), at.refusal("anna")) == ("gate", "")
        assert [at.book.is_muted(witness, 2) for witness in ("5Val", "5Liar")] == [False, True]
        (failure,) = news(parts)
        dora = Keys("dora").hotkey
        assert (failure.verdict.hotkey, failure.sha256) == (dora, behind.received[dora].sha256)


async def test_who_is_behind_and_signed_two_commits_is_out(s3: str, tmp_path: Path) -> None:
    async with split(s3, tmp_path) as at:
        behind = await read(at, is_late=True)
        assert behind is not None
        node, keys = trusting(at, audit_rate=0.25), Keys("anna")
        for witness, sha256 in (("5A", behind.received[keys.hotkey].sha256), ("5B", "ab" * 32)):
            commit = seal_commit(RUN, 2, sha256, keys.hotkey, keys.sign)
            pledge = open_commit(commit, RUN, 2, keys.hotkey, node.verify)
            assert isinstance(pledge, Pledge)
            entry = Entry(keys.hotkey, pledge.sha256, pledge.signature, "wrong_base")
            at.this.receipts = {**at.this.receipts, witness: Receipt(RUN, 2, (entry,), ())}
        refuse_two_faced(node, at.book, at.this)
        assert at.refusal("anna") == "equivocated"
        behind.queue = [Task(keys.hotkey, None)]  # honest work, which is no excuse
        await audit_until(node, at.book, behind, CLOCK.decide(2), newcomers=False)
        settle(node, at.book, at.this)
        assert at.standing("anna").moving == pytest.approx(0.25)
        assert at.standing("anna").debt == 3.0
        (told,) = (e for e in at.validator.told.of("rejected") if e["hotkey"] == keys.hotkey)
        assert told["reason"] == "equivocated"


def test_a_window_that_is_joined_again_stays_late() -> None:
    lateness = Lateness()
    assert not lateness.of(Joined(2), "head")
    assert lateness.of(Joined(2, is_late=True), "head")
    assert lateness.of(Joined(2), "head")
    assert not lateness.of(Joined(2), "another head")
    assert not lateness.of(Joined(3), "head")

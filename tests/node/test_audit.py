"""Audits of a tiny real round: honest work passes, each cheat fails with its reason."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from audit_scene import MINERS, scene
from node_kit import (
    CLOCK,
    Made,
    made,
)
from scripted_chain import Keys

from boltzmann.node.audit import audit_until, plan
from boltzmann.node.conduct import spread
from boltzmann.node.examine import Finding, examine
from boltzmann.node.follow import follow
from boltzmann.node.reckoning import refuse, report, settle
from boltzmann.node.round import Task
from boltzmann.protocol.receipts import Verdict
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.protocol.rewards import Standing


async def test_honest_work_passes_and_a_copy_of_it_does_not(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        honest = await at.work("anna")
        at.upload("anna", honest)
        at.upload("bert", honest)  # what anna did, under bert's own signature
        at.upload("carl", await at.work("carl"))
        node = at.validator.node
        assert await at.judge() == {"anna": "", "bert": "gate", "carl": "", "dora": "absent"}
        for name in ("anna", "carl"):
            standing = at.standing(name)
            assert standing.gate >= 0.999  # after the codec's rounding
            assert standing.moving == 0.0  # until the round is settled
            verdict = at.verdict(name)
            assert verdict is not None
            assert (verdict.window, verdict.passed) == (1, True)
            assert (verdict.score, verdict.gate) == (standing.score, standing.gate)
            assert verdict.norm == pytest.approx(
                np.linalg.norm((await at.work(name)).values), rel=0.01
            )
        settle(node, at.book, at.this)
        settle(node, at.book, at.this)  # a restart may do it twice
        for name in ("anna", "carl"):
            assert at.standing(name).moving == pytest.approx(0.5 * at.standing(name).score)
        assert [at.standing(name).moving for name in ("bert", "dora")] == [0.0, 0.0]
        assert at.standing("bert").gate < 0.9
        assert [at.refusal(name) for name in ("bert", "dora")] == ["gate", None]
        assert len(at.this.losses) == 3


async def test_each_cheat_fails_with_its_own_reason(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        at.upload("anna", (await at.work("anna")).times(-1.0))
        at.upload("bert", (await at.work("bert")).times(1.5))
        carl = await at.work("carl")
        at.upload("carl", replace(carl, tokens=carl.tokens + 1))
        dora = await at.work("dora")
        lengths = [np.linalg.norm(dora.values[i:j]) for i, j in pairwise(at.this.chosen.bounds)]
        smallest = int(np.argmin(lengths))  # the whole's cosine hardly sees it
        for values, bounds in (
            (dora.values, at.this.chosen.bounds),
            (dora.shares.T, at.this.points.bounds),
        ):
            values[bounds[smallest] : bounds[smallest + 1]] *= -1
        at.upload("dora", dora)
        assert await at.judge() == {
            "anna": "gate",
            "bert": "norm",
            "carl": "bad_tokens",
            "dora": "tensor",
        }
        assert at.standing("anna").score == pytest.approx(-1.0, abs=1e-3)
        for name in MINERS:
            assert at.refusal(name) not in ("", None)
            assert at.standing(name).moving <= 0.0


async def test_a_tensor_that_is_all_rounding_is_not_held_against_anybody(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        anna = await at.work("anna")
        lengths = [np.linalg.norm(anna.values[i:j]) for i, j in pairwise(at.this.chosen.bounds)]
        smallest = int(np.argmin(lengths))
        for values, bounds in (
            (anna.values, at.this.chosen.bounds),
            (anna.shares.T, at.this.points.bounds),
        ):
            values[bounds[smallest] : bounds[smallest + 1]] *= -1
        at.upload("anna", anna)
        part = float(min(lengths) / np.linalg.norm(anna.values))
        node = at.validator.node
        await at.ingest()
        for floor, refusal in ((part / 1.01, "tensor"), (part * 1.01, "")):
            rules = replace(node.run.audit, tensor_floor_full=floor)
            strict = replace(node, run=replace(node.run, audit=rules))
            hotkey = Keys("anna").hotkey
            found = examine(strict, at.this, Task(hotkey))
            assert isinstance(found, Finding)
            assert (found.refusal.reason.value if found.refusal else "") == refusal


async def test_half_the_pages_are_not_the_work(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        pages = at.this.pages[Keys("anna").hotkey]
        half = await made(at.validator.node, 1, pages[:1])
        shares = spread(half.shares[0], len(pages))
        at.upload("anna", Made(half.values, shares, 2 * half.tokens))
        assert (await at.judge())["anna"] == "gate"


async def test_forgeries_fail_before_any_work_and_silence_only_decays(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        honest = await at.work("anna")
        at.upload("anna", honest, signer="bert")
        at.upload("bert", honest.times(np.nan))
        at.upload("carl", replace(honest, values=np.full_like(honest.values, 101)))
        for name in MINERS:
            at.book[Keys(name).hotkey] = replace(at.standing(name), moving=0.8)
        assert await at.judge() == {
            "anna": "bad_signature",
            "bert": "not_finite",
            "carl": "too_large",
            "dora": "absent",
        }
        assert at.this.losses == []
        assert [at.refusal(name) for name in MINERS] == [
            "bad_signature",
            "not_finite",
            "too_large",
            None,
        ]
        assert at.standing("dora").moving == pytest.approx(0.4)


async def test_an_audit_sees_the_parameters_the_window_was_trained_on(
    s3: str, tmp_path: Path
) -> None:
    """Audits of a window run while the next one trains, on a state that has gone on."""
    async with scene(s3, tmp_path) as at:
        at.upload("anna", await at.work("anna"))
        at.leader.publish(at.leader.close(1))
        await at.ingest()
        await at.script.advance(CLOCK.decide(1))
        await at.validator.node.blocks.until(CLOCK.decide(1))
        assert await follow(at.validator.node, 1) is None
        after = at.validator.state.theta.copy()
        await plan(at.validator.node, at.book, at.this)
        await audit_until(at.validator.node, at.book, at.this, CLOCK.close(2), newcomers=False)
        assert at.standing("anna").gate >= 0.999
        assert (at.validator.state.theta == after).all()


async def test_an_audit_goes_by_what_was_trained_on_whatever_the_chain_has_ordered_since(
    s3: str, tmp_path: Path
) -> None:
    """Window 1 looked empty when window 2 began, and was not."""
    async with scene(s3, tmp_path) as at:
        node = at.validator.node
        await at.open(2)
        at.upload("anna", await at.work("anna"))
        await at.ingest()
        await plan(node, at.book, at.this)
        for window in (1, 2):
            at.leader.publish(at.leader.close(window))
        await at.script.advance(CLOCK.decide(2))
        await node.blocks.until(CLOCK.decide(2))
        assert await follow(node, 2) is None
        assert len(node.worker.state.heads) == 3
        await audit_until(node, at.book, at.this, CLOCK.close(3), newcomers=False)
        assert (at.refusal("anna"), at.standing("anna").gate > 0.999) == ("", True)


async def test_audits_that_the_state_has_left_behind_are_dropped_and_told(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        at.upload("anna", await at.work("anna"))
        await at.ingest()
        await plan(at.validator.node, at.book, at.this)
        for window in range(1, 5):  # one more than the undo log holds
            at.leader.publish(at.leader.close(window))
        await at.script.advance(CLOCK.decide(4))
        await at.validator.node.blocks.until(CLOCK.decide(4))
        assert await follow(at.validator.node, 4) is None
        await audit_until(at.validator.node, at.book, at.this, CLOCK.close(5), newcomers=False)
        report(at.validator.node, at.book, at.this)
        assert [task.hotkey for task in at.this.queue] == [Keys("anna").hotkey]
        (told,) = at.validator.told.of("error")
        assert told["detail"].startswith("1 of window 1")


async def test_newcomers_are_audited_first_and_the_others_later(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        for name in ("anna", "bert"):
            at.upload(name, await at.work(name))
        node, anna = at.validator.node, Keys("anna").hotkey
        at.book.judge(Verdict(anna, 0, "", 1.0, 1.0, 1.0))
        await at.ingest()
        await plan(node, at.book, at.this)
        assert [task.hotkey for task in at.this.queue] == [Keys("bert").hotkey, anna]
        await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=True)
        assert [task.hotkey for task in at.this.queue] == [anna]
        assert (at.refusal("bert"), at.standing("bert").gate > 0.99) == ("", True)
        await audit_until(node, at.book, at.this, CLOCK.upload_by(1), newcomers=False)
        assert [task.hotkey for task in at.this.queue] == [anna]  # no time left
        await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=False)
        verdict = at.verdict("anna")
        assert verdict is not None
        assert (verdict.window, verdict.passed) == (1, True)


async def test_a_report_shows_each_member_as_it_stands(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        at.upload("anna", await at.work("anna"))
        await at.judge()
        settle(at.validator.node, at.book, at.this)
        report(at.validator.node, at.book, at.this)
        peers = {event["hotkey"]: event for event in at.validator.told.of("peer")}
        assert set(peers) == {Keys(name).hotkey for name in MINERS}
        assert peers[Keys("anna").hotkey]["weight"] == 1.0
        assert peers[Keys("anna").hotkey]["uid"] == 1
        assert peers[Keys("bert").hotkey]["weight"] == 0.0
        (round_,) = at.validator.told.of("round")
        assert round_["audited"] == 1
        assert round_["loss"] == pytest.approx(np.log(259), rel=0.1)  # an untrained model's


async def test_only_what_gains_something_can_fail(s3: str, tmp_path: Path) -> None:
    """Not what never came, nor what an honest miner sends that follows or commits too late."""
    async with scene(s3, tmp_path) as at:
        anna = Keys("anna").hotkey
        harmless = {
            Reason.ABSENT,
            Reason.SLOW,
            Reason.UNREACHABLE,
            Reason.UNCOMMITTED,
            Reason.WRONG_BASE,
        }
        for reason in Reason:
            at.book[anna] = Standing(0, moving=0.5)
            at.book.judge(Verdict(anna, 1, "", 1.0, 1.0, 1.0))
            refuse(at.validator.node, at.book, at.this, anna, Rejection(reason, "why"))
            assert at.refusal("anna") == ("" if reason in harmless else reason.value)
            assert at.standing("anna").moving == pytest.approx(0.25)
        told = at.validator.told.of("rejected")
        assert [event["reason"] for event in told] == [reason.value for reason in Reason]
        assert {(event["uid"], event["detail"]) for event in told} == {(1, "why")}

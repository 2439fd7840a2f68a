"""Audits of one page only, on a tiny real round: what each kind of cheat with shares comes to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audit_scene import Scene, scene, trusting
from node_kit import CLOCK, Made, made
from scripted_chain import Keys

from boltzmann.node.alarms import hear
from boltzmann.node.audit import audit_until, decide_open, plan, watch
from boltzmann.node.conduct import spread
from boltzmann.node.node import Node
from boltzmann.node.reckoning import refuse, settle
from boltzmann.node.round import Task
from boltzmann.protocol.alarms import Judged
from boltzmann.protocol.auditing import responsible
from boltzmann.protocol.receipts import Verdict


async def off_the_points(at: Scene, name: str) -> Made:
    """Honest on the audit points, noise elsewhere."""
    honest = await at.work(name)
    _, here = at.this.points.meet(at.this.chosen)
    noise = np.random.default_rng(1).standard_normal(len(honest.values)).astype(np.float32)
    values = noise * honest.values.std()
    values[here] = honest.values[here]
    return replace(honest, values=values)


async def watching(at: Scene, node: Node) -> None:
    """Up to what this node must look at once the window is decided, with nothing drawn by lot."""
    await at.ingest()
    await plan(node, at.book, at.this)
    assert at.this.queue == []
    await at.script.advance(CLOCK.decide(1))
    await watch(node, at.book, at.this)


async def test_a_spot_audit_recomputes_one_page_and_finds_who_made_its_share_up(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        honest = await at.work("anna")
        at.upload("anna", honest)
        bert = await at.work("bert")  # the right delta, but no page's own share
        at.upload("bert", replace(bert, shares=spread(bert.shares.sum(axis=0), 2)))
        at.upload("carl", await off_the_points(at, "carl"))
        dora = await at.work("dora")
        at.upload("dora", dora.times(2.0))
        node = trusting(at)
        await at.ingest()
        assert at.this.refused == {}
        await plan(node, at.book, at.this)
        tasks = list(at.this.queue)
        assert all(task.page in (0, 1) for task in tasks)
        await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=False)
        await decide_open(node, at.book, at.this, CLOCK.decide(1))
        found = {e["hotkey"]: e["reason"] for e in at.validator.told.of("rejected")}
        names = ("anna", "bert", "carl", "dora")
        assert [found.get(Keys(name).hotkey) for name in names] == [None, "gate", "gate", "norm"]
        # What carl sent off the points left a doubt, which all pages together had to decide.
        pages = {e["hotkey"]: e["pages"] for e in at.validator.told.of("audited")}
        assert (pages[Keys("anna").hotkey], pages[Keys("carl").hotkey]) == (1, 2)
        (place,) = [task.page for task in tasks if task.hotkey == Keys("anna").hotkey]
        verdict = at.verdict("anna")
        assert verdict is not None
        assert place is not None
        assert verdict.page == at.this.pages[Keys("anna").hotkey][place]
        # What one page suggests of the whole delta's length.
        assert verdict.norm == pytest.approx(np.linalg.norm(honest.values), rel=0.5)


async def test_what_leaves_no_doubt_shows_in_a_full_audit_only(s3: str, tmp_path: Path) -> None:
    """Twice as long off the points: the direction is the page's."""
    async with scene(s3, tmp_path) as at:
        honest = await at.work("carl")
        _, here = at.this.points.meet(at.this.chosen)
        values = honest.values * np.float32(2.0)
        values[here] = honest.values[here]
        at.upload("carl", replace(honest, values=values))
        node = trusting(at)
        await at.ingest()
        await plan(node, at.book, at.this)
        await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=False)
        assert (at.this.queue, at.this.open) == ([], [])
        assert at.refusal("carl") == ""
        at.this.queue = [Task(Keys("carl").hotkey, accuser="5Val")]
        await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=False)
        assert at.refusal("carl") == "gate"


async def test_shares_that_do_not_add_up_are_refused_before_any_audit(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        honest = await at.work("anna")
        at.upload("anna", replace(honest, shares=honest.shares * np.float32(1.1)))
        other = await made(at.validator.node, 1, at.this.pages[Keys("carl").hotkey])
        at.upload("bert", replace(await at.work("bert"), shares=other.shares))
        node = trusting(at)
        await at.ingest()
        for hotkey, why in at.this.refused.items():
            refuse(node, at.book, at.this, hotkey, why)
        assert [at.refusal(name) for name in ("anna", "bert")] == ["shares", "shares"]
        assert [at.standing(name).debt for name in ("anna", "bert")] == [0.0, 0.0]  # q is 1 here


async def test_who_was_never_audited_or_has_failed_is_audited_in_full(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        for name in ("anna", "bert", "carl", "dora"):
            at.upload(name, await at.work(name))
        node = trusting(at)
        anna, bert, carl, dora = (Keys(name).hotkey for name in ("anna", "bert", "carl", "dora"))
        at.book.judge(Verdict(bert, 0, "gate", 0.1, 0.1, 1.0))
        at.book.doubt(Verdict(carl, 1, "gate", 0.1, 0.1, 1.0))
        at.book.enrol(
            replace(n, registered_at=n.registered_at + 9 * (n.hotkey == dora))
            for n in at.script.neurons
        )
        await at.ingest()
        await plan(node, at.book, at.this)
        places = {task.hotkey: task.page for task in at.this.queue}
        assert places[anna] is not None
        assert [places[hotkey] for hotkey in (bert, carl, dora)] == [None] * 3
        assert at.this.queue[-1].hotkey == anna


async def test_an_audit_is_certain_where_nobody_has_looked_for_too_long(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        for name in ("anna", "bert"):
            at.upload(name, await at.work(name))
        node = trusting(at, audit_rate=1e-9)
        node = replace(node, run=replace(node.run, audit=replace(node.run.audit, age_max=1)))
        alone = at.this.council
        stakes = {node.hotkey: 10**9, "5Val": 10**9, "5Dust": 10**3}
        at.this.council = replace(alone, stakes=stakes)
        passed = {n: Verdict(Keys(n).hotkey, 1, "", 1.0, 1.0, 1.0) for n in ("anna", "bert")}
        words = {name: [Judged(verdict, "")] for name, verdict in passed.items()}
        told = {"5Val": words["anna"], "5Dust": words["bert"], "5Nobody": words["bert"]}
        hashes = (bytes([number]) * 32 for number in range(64))
        at.this.decide_hash = next(
            drawing
            for drawing in hashes
            if responsible(drawing, Keys("anna").hotkey, stakes) == "5Val"
        )
        hear(node, at.book, [at.this], told)
        at.this.council = alone  # so that it is this node's turn to look
        await watching(at, node)
        assert [task.hotkey for task in at.this.queue] == [Keys("bert").hotkey]
        assert at.this.watched == set(), "it owes nothing"


async def test_one_validator_looks_at_each_window_of_who_is_in_debt(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        for name in ("anna", "bert", "carl", "dora"):
            at.upload(name, await at.work(name))
        node = trusting(at, audit_rate=1e-9)
        owing = {Keys(name).hotkey for name in ("anna", "bert", "carl")}
        for hotkey in owing:
            at.book[hotkey] = replace(at.book[hotkey], debt=0.5)
        two = {node.hotkey: 10**9, "5Val": 10**9}
        at.this.council = replace(at.this.council, stakes=two)
        await watching(at, node)
        decide_hash = await node.blocks.hash(node.clock.decide(1))
        own = {hotkey for hotkey in owing if responsible(decide_hash, hotkey, two) == node.hotkey}
        assert {task.hotkey for task in at.this.queue} == at.this.watched == own
        assert 0 < len(own) < len(owing), "the other one looks at the rest"
        at.this.council = replace(at.this.council, stakes={node.hotkey: 10**9})
        lot = Task(Keys("dora").hotkey)
        at.this.queue = [lot, Task(Keys("anna").hotkey)]
        await watch(node, at.book, at.this)
        pages = {task.hotkey: task.page for task in at.this.queue}
        assert at.this.queue[-1] == lot, "debts come first"
        assert pages.keys() == {*owing, lot.hotkey}
        assert pages[Keys("anna").hotkey] is None, "the lot was for all pages"
        assert None not in (pages[Keys("bert").hotkey], pages[Keys("carl").hotkey])
        # What the run says of full audits holds for these as well.
        rules = replace(node.run.audit, full_rate=1.0)
        at.this.queue = []
        await watch(replace(node, run=replace(node.run, audit=rules)), at.book, at.this)
        assert {task.page for task in at.this.queue} == {None}


async def test_a_debt_that_was_this_nodes_to_look_at_is_not_worked_off_unseen(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        for name in ("anna", "bert"):
            at.upload(name, await at.work(name))
        node = trusting(at, audit_rate=1e-9)
        anna, bert = Keys("anna").hotkey, Keys("bert").hotkey
        for hotkey in (anna, bert):
            at.book[hotkey] = replace(at.book[hotkey], debt=5.0, score=0.5)
        await watching(at, node)
        assert at.this.watched == {anna, bert}
        at.this.queue = [task for task in at.this.queue if task.hotkey == anna]
        await audit_until(node, at.book, at.this, CLOCK.decide(1) + 1, newcomers=False)
        assert at.this.passed == {anna}
        settle(node, at.book, at.this)
        score = at.standing("anna").score
        assert score > 0.5
        assert at.standing("anna").debt == pytest.approx(5.0 - score)
        assert (at.standing("bert").debt, at.standing("bert").moving) == (5.0, 0.0)


async def test_a_pass_is_renewed_in_its_last_window_and_the_delta_enters_meanwhile(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        for name in ("anna", "bert"):
            at.upload(name, await at.work(name))
        node, anna, bert = trusting(at, audit_rate=1e-9), Keys("anna").hotkey, Keys("bert").hotkey
        await at.ingest()
        for trust_windows, due in ((4, []), (1, [anna, bert])):
            rewards = replace(node.run.rewards, trust_windows=trust_windows)
            node = replace(node, run=replace(node.run, rewards=rewards))
            await plan(node, at.book, at.this)
            assert sorted(task.hotkey for task in at.this.queue) == sorted(due)
            # Not among those that must be audited before the receipt.
            await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=True)
            assert len(at.this.queue) == len(due)

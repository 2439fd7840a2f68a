"""Audits of one page only, on a tiny real round: what each kind of cheat with shares comes to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audit_scene import Scene, scene
from node_kit import CLOCK, CONFIG, Made, made
from scripted_chain import Keys

from boltzmann.audit.verdicts import _outcome
from boltzmann.node.alarms import MOST_ALARMS, hear, heed, look_again, news
from boltzmann.node.audit import Finding, audit_until, decide_open, plan, refuse, settle
from boltzmann.node.conduct import spread
from boltzmann.node.node import Node
from boltzmann.node.round import Alarm, Task
from boltzmann.node.validator import conclude
from boltzmann.protocol.receipts import Entry, Receipt, Verdict

SPOTS = replace(CONFIG.audit, full_rate=1e-12)


def trusting(at: Scene, audit_rate: float = 1.0) -> Node:
    """The scene's validator, which trusts everybody and audits no more than a page."""
    for name in at.buckets:
        at.book.judge(Verdict(Keys(name).hotkey, 0, "", 1.0, 1.0, 1.0))
    node = at.validator.node
    run = replace(node.run, audit=SPOTS, rewards=replace(node.run.rewards, audit_rate=audit_rate))
    return replace(node, run=run)


async def off_the_points(at: Scene, name: str) -> Made:
    """Honest on the audit points, noise elsewhere."""
    honest = await at.work(name)
    _, here = at.this.points.meet(at.this.chosen)
    noise = np.random.default_rng(1).standard_normal(len(honest.values)).astype(np.float32)
    values = noise * honest.values.std()
    values[here] = honest.values[here]
    return replace(honest, values=values)


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
        assert [found.get(Keys(name).hotkey) for name in names] == [None, "gate", None, "norm"]
        # What carl sent off the points shows in a full audit only.
        carl = Keys("carl").hotkey
        at.this.queue = [Task(carl, accuser="5Val")]
        await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=False)
        assert at.refusal("carl") == "gate"
        (place,) = [task.page for task in tasks if task.hotkey == Keys("anna").hotkey]
        verdict = at.verdict("anna")
        assert verdict is not None
        assert place is not None
        assert verdict.page == at.this.pages[Keys("anna").hotkey][place]
        # What one page suggests of the whole delta's length.
        assert verdict.norm == pytest.approx(np.linalg.norm(honest.values), rel=0.5)


def blurred(at: Scene, work: Made, blur: float, pages: int) -> Made:
    """So much of its length in noise on the first pages' shares, wherever no sum tells."""
    on_points, _ = at.this.points.meet(at.this.chosen)
    shares = work.shares.copy()
    for share in shares[:pages]:
        noise = np.random.default_rng(2).standard_normal(len(share)).astype(np.float32)
        noise[on_points] = 0.0
        share += noise * np.float32(blur * np.linalg.norm(share) / np.linalg.norm(noise))
    return replace(work, shares=shares)


async def test_what_fails_a_spot_audit_narrowly_is_decided_by_a_full_one(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        blurs = {"anna": (0.11, 1), "bert": (0.11, 2), "carl": (2.0, 1), "dora": (0.0, 0)}
        for name, (blur, pages) in blurs.items():
            at.upload(name, blurred(at, await at.work(name), blur, pages))
        node = trusting(at)
        await at.ingest()
        assert at.this.refused == {}
        at.this.queue = [Task(Keys(name).hotkey, 0) for name in blurs]
        await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=False)
        assert [at.refusal(name) for name in blurs] == ["", "", "gate", ""]  # of window 0
        assert [task.hotkey for task in at.this.open] == [Keys(n).hotkey for n in ("anna", "bert")]
        await decide_open(node, at.book, at.this, CLOCK.decide(1))
        assert [at.refusal(name) for name in blurs] == ["", "gate", "gate", ""]
        verdicts = {name: at.verdict(name) for name in blurs}
        first = {name: at.this.pages[Keys(name).hotkey][0] for name in blurs}
        assert {name: verdict and verdict.page for name, verdict in verdicts.items()} == {
            "anna": -1,
            "bert": -1,
            "carl": first["carl"],
            "dora": first["dora"],
        }
        told = [(e["hotkey"], e["pages"]) for e in at.validator.told.of("audited")]
        places = {"carl": 1, "dora": 1, "anna": 2, "bert": 2}
        assert told == [(Keys(name).hotkey, pages) for name, pages in places.items()], (
            "what takes all pages comes last"
        )
        details = {e["hotkey"]: e["detail"] for e in at.validator.told.of("rejected")}
        assert details[Keys("bert").hotkey].startswith("mean of the pages: rho 0.9")
        assert at.standing("anna").debt == 0.0
        # Whoever looks again later finds the page's figures, and what all pages made of it.
        for name, reason in (("anna", ""), ("bert", "gate")):
            found = await _outcome(node, at.this, Task(Keys(name).hotkey, 0))
            assert isinstance(found, Finding)
            assert (found.page, found.is_open) == (first[name], False)
            assert 0.9 < found.gate < 0.999
            assert (found.refusal.reason.value if found.refusal else "") == reason


async def test_where_no_time_is_left_nothing_moves_and_the_next_audit_is_full(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        for name in ("anna", "bert"):
            at.upload(name, blurred(at, await at.work(name), 0.11, 1 if name == "anna" else 0))
        node, anna, bert = trusting(at), Keys("anna").hotkey, Keys("bert").hotkey
        await at.ingest()
        at.this.queue = [Task(anna, 0), Task(bert, 0)]
        await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=False)
        await decide_open(node, at.book, at.this, node.blocks.latest)  # no time at all
        assert at.this.open == [Task(anna)]
        settle(node, at.book, at.this)
        assert at.standing("anna").moving == 0.0 < at.standing("bert").moving
        assert at.standing("anna").debt == 0.0
        assert at.book.trusts(anna, 0)
        await plan(node, at.book, at.this)
        assert Task(anna) in at.this.queue
        assert Task(bert) not in at.this.queue
        await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=False)
        assert at.book.unsettled == set()


async def test_what_an_older_round_left_open_waits_for_the_newer_ones_audits(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        for name in ("anna", "bert"):
            at.upload(name, await at.work(name))
        node, anna, bert = trusting(at), Keys("anna").hotkey, Keys("bert").hotkey
        await at.ingest()
        older = replace(at.this, open=[Task(anna)], queue=[])
        at.this.queue = [Task(bert, 0)]
        await conclude(node, at.book, [older, at.this], CLOCK.decide(1))
        assert [e["hotkey"] for e in at.validator.told.of("audited")] == [bert, anna]


async def test_what_an_update_or_an_alarm_waits_for_is_decided_at_once(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        for name in ("anna", "bert", "carl"):
            at.upload(name, blurred(at, await at.work(name), 0.11, 1))
        node = trusting(at)
        anna, bert, carl = (Keys(name).hotkey for name in ("anna", "bert", "carl"))
        await at.ingest()
        lapsed = replace(
            node, run=replace(node.run, rewards=replace(node.run.rewards, trust_windows=0))
        )
        at.this.queue = [Task(anna, 0)]
        await audit_until(lapsed, at.book, at.this, CLOCK.decide(1), newcomers=True)
        assert anna in at.this.passed
        # An alarm about a page that is blurred honestly: it is false, and its sender is muted.
        at.this.queue = [Task(bert, 0, "5Val"), Task(carl, 0)]
        await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=True)
        assert at.book.is_muted("5Val", 1)
        assert at.this.queue == [Task(carl, 0)], "who is trusted can wait"
        assert at.this.open == []


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


async def half_faked(at: Scene, name: str) -> Made:
    """The first page's honest share; what passes for the second page's is made up."""
    first = await made(at.validator.node, 1, at.this.pages[Keys(name).hotkey][:1])
    values = first.values * np.float32(0.5)
    share = first.shares[0] * np.float32(0.5)
    return Made(values, np.stack((share, np.zeros_like(share))), 2 * first.tokens)


async def one_of_two_half_faked(at: Scene) -> tuple[Node, str, str]:
    """A validator that trusts both, anna, who made one page of two up, and bert, who did not."""
    at.upload("anna", await half_faked(at, "anna"))
    at.upload("bert", await at.work("bert"))
    await at.ingest()
    return trusting(at, audit_rate=0.25), Keys("anna").hotkey, Keys("bert").hotkey


async def test_who_is_found_out_by_another_validator_owes_the_same_to_this_one(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        node, anna, bert = await one_of_two_half_faked(at)
        at.this.queue = [Task(anna, 0), Task(bert, 0)]
        await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=False)
        settle(node, at.book, at.this)
        assert [at.refusal(name) for name in ("anna", "bert")] == ["", ""]
        assert at.standing("anna").moving > 0.0
        at.this.control = bytearray()  # let go after the window's own audits
        for hotkey in (anna, bert):  # one of the alarms is a false one
            page = at.this.pages[hotkey][1]
            at.this.alarms.append(Alarm("5Val", Verdict(hotkey, 1, "gate", 0.0, 0.0, 1.0, page)))
        for odd in (
            Verdict("5Nobody", 1, "gate", 0.0, 0.0, 1.0, 3),
            Verdict(anna, 1, "gate", 0.0, 0.0, 1.0, 10**6),  # not its page
        ):
            at.this.alarms.append(Alarm("5Val", odd))
        look_again([at.this])
        assert sorted(task.hotkey for task in at.this.queue) == sorted((anna, bert))
        await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=False)
        assert [at.refusal(name) for name in ("anna", "bert")] == ["gate", ""]
        assert [at.standing(name).debt for name in ("anna", "bert")] == [3.0, 0.0]
        assert at.book.is_muted("5Val", 1 + CONFIG.rewards.trust_windows)  # bert's was a false one
        look_again([at.this])
        assert at.this.queue == [], "an alarm is looked at once"


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
        told = {"5Val": [passed["anna"]], "5Dust": [passed["bert"]], "5Nobody": [passed["bert"]]}
        hear(node, at.book, [at.this], told)
        at.this.council = alone  # so that it is this node's turn to look
        await at.ingest()
        await plan(node, at.book, at.this)
        assert [task.hotkey for task in at.this.queue] == [Keys("bert").hotkey]


def shown(at: Scene, *hotkeys: str) -> Receipt:
    """A receipt of another validator's that saw what the scene's has received of these."""
    entries = tuple(Entry(h, at.this.received[h].sha256, "ab" * 64) for h in sorted(hotkeys))
    return Receipt("run-1", 1, entries, ())


async def test_a_few_alarms_are_heard_at_a_time_and_the_others_wait(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        at.upload("anna", await at.work("anna"))
        await at.ingest()
        node, some = trusting(at), at.this.received[Keys("anna").hotkey]
        many = [Verdict(f"5{number:02}", 1, "gate", 0.1, 0.1, 1.0) for number in range(20)]
        at.this.received |= {verdict.hotkey: some for verdict in many}
        at.this.receipts = {"5Loud": shown(at, *(verdict.hotkey for verdict in many))}
        hear(node, at.book, [at.this], {"5Loud": many})
        assert len(at.this.alarms) == MOST_ALARMS
        heard = list(at.this.alarms)
        while at.book.waiting:  # window by window
            hear(node, at.book, [at.this], {})
            heard += at.this.alarms
        assert sorted(alarm.verdict.hotkey for alarm in heard) == [v.hotkey for v in many]
        hear(node, at.book, [at.this], {"5Loud": many})
        assert at.book.waiting
        at.book.mute("5Loud", 1)
        hear(node, at.book, [at.this], {"5Loud": many})
        assert (at.this.alarms, at.book.waiting) == ([], ()), "whoever lies has none waiting"


async def test_an_alarm_is_heard_if_it_can_be_checked(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        at.upload("anna", await at.work("anna"))
        await at.ingest()
        node, anna = trusting(at), Keys("anna").hotkey
        failed = Verdict(anna, 1, "gate", 0.1, 0.1, 1.0)
        at.this.council = replace(at.this.council, stakes={node.hotkey: 5, "5Val": 5})

        def heard(verdict: Verdict, witness: str = "5Val") -> list[Alarm]:
            hear(node, at.book, [at.this], {witness: [verdict]})
            return at.this.alarms

        assert heard(failed) == [], "it has shown no receipt"
        assert not at.book.suspects(anna)
        assert at.book.age(anna, 3) == 2  # an audit all the same
        other = replace(shown(at, anna).entries[0], sha256="f" * 64)
        at.this.receipts = {"5Val": Receipt("run-1", 1, (other,), ())}
        assert heard(failed) == [], "whoever saw other bytes would seem to lie"
        at.this.receipts = {"5Val": shown(at, anna), node.hotkey: shown(at, anna)}
        assert heard(replace(failed, refusal="bad_commit")) == []
        assert heard(replace(failed, window=0)) == [], "that window's bytes are not at hand"
        assert heard(failed, node.hotkey) == []
        assert heard(failed) == [Alarm("5Val", failed)]
        assert at.book.suspects(anna)
        at.book.judge(failed)
        assert heard(failed) == [], "there is nothing to learn of who has failed here as well"


async def test_an_alarm_of_a_page_that_is_not_the_members_costs_it_nothing(
    s3: str, tmp_path: Path
) -> None:
    """It could not be looked at, so its validator would never be muted for it."""
    async with scene(s3, tmp_path) as at:
        at.upload("anna", await at.work("anna"))
        await at.ingest()
        node, anna = trusting(at), Keys("anna").hotkey
        at.this.receipts = {"5Val": shown(at, anna)}
        failed = Verdict(anna, 1, "gate", 0.0, 0.0, 1.0, 10**6)
        hear(node, at.book, [at.this], {"5Val": [failed]})
        assert (at.this.alarms, at.book.waiting) == ([], ())
        assert at.book.trusts(anna, 0)
        assert not at.book.suspects(anna)
        hear(node, at.book, [at.this], {"5Val": [replace(failed, page=at.this.pages[anna][0])]})
        assert at.book.suspects(anna), "one of its own pages is another matter"
        told = {"5Val": [replace(failed, page=at.this.pages[anna][0])]}
        await heed(node, at.book, [at.this], told, CLOCK.decide(1))
        assert at.book.is_muted("5Val", 1)
        assert at.book.trusts(anna, 0), "a false alarm leaves nothing behind"


async def test_who_finds_shares_that_cancel_out_is_not_muted_for_it(
    s3: str, tmp_path: Path
) -> None:
    """The page is honest, and all pages together come to nothing: both validators find that."""
    async with scene(s3, tmp_path) as at:
        honest, anna = await at.work("anna"), Keys("anna").hotkey
        values, shares = honest.values.copy(), honest.shares.copy()
        shares[1] = -shares[0]
        values[at.this.points.meet(at.this.chosen)[1]] = 0.0
        at.upload("anna", Made(values, shares, honest.tokens))
        await at.ingest()
        node, page = trusting(at), at.this.pages[anna][0]
        at.this.receipts = {"5Val": shown(at, anna)}
        told = {"5Val": [Verdict(anna, 1, "norm", 1.0, 1.0, 0.0, page)]}
        await heed(node, at.book, [at.this], told, CLOCK.decide(1))
        assert at.refusal("anna") == "norm"
        assert not at.book.is_muted("5Val", 1)


async def test_what_alarms_tell_is_found_out_before_the_next_receipt(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        node, anna, bert = await one_of_two_half_faked(at)
        at.this.queue = [Task(anna, 0)]
        await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=False)
        settle(node, at.book, at.this)
        assert at.book.trusts(anna, 1), "its first page is its own work"
        at.this.queue = [Task(bert, 0)]  # there was no time left for this one
        page = at.this.pages[anna][1]
        at.this.receipts = {"5Val": shown(at, anna, bert)}
        told = {"5Val": [Verdict(anna, 1, "gate", 0.0, 0.0, 1.0, page)]}
        await heed(node, at.book, [at.this], told, CLOCK.decide(1))
        assert at.refusal("anna") == "gate"
        assert not at.book.trusts(anna, 1)
        assert [task.hotkey for task in at.this.queue] == [bert], "who is trusted can wait"
        assert [verdict.hotkey for verdict in news([at.this])] == [anna]
        at.this.count_as_told()
        assert news([at.this]) == (), "everything is told once"


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

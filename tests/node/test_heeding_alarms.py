"""What another validator's failed audits come to at this one, on a tiny real round."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audit_scene import Scene, scene, trusting
from node_kit import CLOCK, CONFIG, Made, made
from scripted_chain import Keys

from boltzmann.node.alarms import MOST_ALARMS, hear, heed, look_again, news, told_by_receipts
from boltzmann.node.audit import audit_until
from boltzmann.node.node import Node
from boltzmann.node.reckoning import settle
from boltzmann.node.round import Alarm, Task
from boltzmann.protocol.alarms import Judged
from boltzmann.protocol.auditing import responsible
from boltzmann.protocol.receipts import Entry, Receipt, Verdict


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


async def with_honest_anna(at: Scene) -> tuple[Node, str]:
    """A validator that trusts anna, whose honest work it has received."""
    at.upload("anna", await at.work("anna"))
    await at.ingest()
    return trusting(at), Keys("anna").hotkey


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
        credited = at.standing("anna").score
        at.this.control = bytearray()  # let go after the window's own audits
        for hotkey, who in ((anna, "5Val"), (bert, "5Liar")):
            page = at.this.pages[hotkey][1]
            at.this.alarms.append(Alarm(who, Verdict(hotkey, 1, "gate", 0.0, 0.0, 1.0, page)))
        for odd in (
            Verdict("5Nobody", 1, "gate", 0.0, 0.0, 1.0, 3),
            Verdict(anna, 1, "gate", 0.0, 0.0, 1.0, 10**6),  # not its page
        ):
            at.this.alarms.append(Alarm("5Val", odd))
        look_again(at.book, [at.this])
        assert sorted(task.hotkey for task in at.this.queue) == sorted((anna, bert))
        await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=False)
        assert [at.refusal(name) for name in ("anna", "bert")] == ["gate", ""]
        assert at.standing("anna").debt == 3.0 + credited, "what was earned before it was known"
        assert at.standing("bert").debt == 0.0
        assert at.book.is_muted("5Liar", 1 + CONFIG.rewards.trust_windows)
        assert not at.book.is_muted("5Val", 1)
        look_again(at.book, [at.this])
        assert at.this.queue == [], "an alarm is looked at once"


def saw(at: Scene, *verdicts: Verdict) -> list[Judged]:
    """The verdicts, on what the scene's validator has received."""
    return [Judged(verdict, at.this.received[verdict.hotkey].sha256) for verdict in verdicts]


async def test_a_few_alarms_are_heard_at_a_time_and_the_others_wait(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        node, anna = await with_honest_anna(at)
        some = at.this.received[anna]
        many = [Verdict(f"5{number:02}", 1, "gate", 0.1, 0.1, 1.0) for number in range(20)]
        at.this.received |= {verdict.hotkey: some for verdict in many}
        at.book.enrol(replace(at.script.neurons[0], hotkey=verdict.hotkey) for verdict in many)
        told = {"5Loud": saw(at, *many)}
        hear(node, at.book, [at.this], told)
        assert len(at.this.alarms) == MOST_ALARMS
        heard = list(at.this.alarms)
        hear(node, at.book, [at.this], told)
        assert at.this.alarms == heard, "none of the others before these are looked at"
        while at.book.waiting:
            at.this.alarms = []
            hear(node, at.book, [at.this], {})
            heard += at.this.alarms
        assert sorted(alarm.verdict.hotkey for alarm in heard) == [v.hotkey for v in many]
        at.this.alarms = []
        hear(node, at.book, [at.this], told)
        assert at.book.waiting
        at.this.alarms = []
        at.book.mute("5Loud", 1)
        hear(node, at.book, [at.this], told)
        assert (at.this.alarms, at.book.waiting) == ([], ()), "whoever lies has none waiting"


async def test_whom_many_name_is_not_looked_at_before_whom_one_does(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("boltzmann.node.alarms.MOST_ALARMS", 1)
    async with scene(s3, tmp_path) as at:
        node, told = await told_of_all(at)
        many, one = told["5Liar"][0], told["5Val"][0]
        named = {"5Val": [one], **{f"5Liar{number}": [many] for number in range(9)}}
        draws, firsts = 200, 0
        for _ in range(draws):
            hear(node, at.book, [at.this], named)
            firsts += at.this.alarms[0].verdict == one.verdict
            at.this.alarms, at.book.waiting = [], ()
        assert firsts > draws / 3, "a tenth of the alarms, half of those who are named"


async def test_alarms_about_windows_that_are_gone_hold_nothing_against_anybody(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("boltzmann.node.alarms.MOST_ALARMS", 1)
    async with scene(s3, tmp_path) as at:
        node, told = await told_of_all(at)
        hear(node, at.book, [at.this], told)
        assert len(at.book.waiting) == 3
        at.this.alarms = []
        later = replace(at.this, duty=replace(at.this.duty, window=2), queue=[], received={})
        await heed(node, at.book, [later], {}, node.blocks.latest)
        assert not at.book.waiting
        assert sum(at.book.suspects(Keys(name).hotkey) for name in at.buckets) == 1


async def told_of_all(at: Scene) -> tuple[Node, dict[str, list[Judged]]]:
    """Two of four made their second page up, and 5Val says so; 5Liar says it of the honest two."""
    for name in ("anna", "bert"):
        at.upload(name, await half_faked(at, name))
    for name in ("carl", "dora"):
        at.upload(name, await at.work(name))
    await at.ingest()
    told: dict[str, list[Judged]] = {"5Liar": [], "5Val": []}
    for name in at.buckets:
        hotkey = Keys(name).hotkey
        page = at.this.pages[hotkey][1]
        witness = "5Val" if name in ("anna", "bert") else "5Liar"
        told[witness] += saw(at, Verdict(hotkey, 1, "gate", 0.0, 0.0, 1.0, page))
    return trusting(at), told


async def test_all_alarms_are_looked_at_while_there_is_time_and_a_liars_end_with_its_first(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("boltzmann.node.alarms.MOST_ALARMS", 1)
    async with scene(s3, tmp_path) as at:
        node, told = await told_of_all(at)
        await heed(node, at.book, [at.this], told, CLOCK.decide(1))
        assert [at.refusal(name) for name in at.buckets] == ["gate", "gate", "", ""]
        assert at.book.is_muted("5Liar", 1)
        assert not at.book.is_muted("5Val", 1)
        assert len(at.this.losses) == 3, "of the liar's two alarms one is looked at"
        assert at.book.waiting == ()
        honest = [Keys(name).hotkey for name in ("carl", "dora")]
        assert [at.book.trusts(hotkey, 0) for hotkey in honest] == [True, True]


async def test_without_time_to_look_no_more_than_a_few_alarms_are_believed(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("boltzmann.node.alarms.MOST_ALARMS", 1)
    async with scene(s3, tmp_path) as at:
        node, told = await told_of_all(at)
        await heed(node, at.book, [at.this], told, node.blocks.latest)
        assert at.this.losses == []
        assert sum(at.book.suspects(Keys(name).hotkey) for name in at.buckets) == 1
        assert len(at.book.waiting) == 3


async def test_a_liars_other_alarms_end_with_the_first_that_was_looked_at(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        node, told = await told_of_all(at)
        hear(node, at.book, [at.this], told)
        look_again(at.book, [at.this])
        hear(node, at.book, [at.this], told)  # its receipt says the same once more
        look_again(at.book, [at.this])
        assert len(at.this.queue) == 4
        at.this.queue.append(Task(Keys("anna").hotkey, 1, "5Too"))  # found out by then
        await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=True)
        assert [at.refusal(name) for name in at.buckets] == ["gate", "gate", "", ""]
        assert len(at.this.losses) == 3
        assert all(at.book.trusts(Keys(name).hotkey, 0) for name in ("carl", "dora"))


async def test_an_alarm_about_who_has_left_meanwhile_ends_no_validator(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        node, anna, _ = await one_of_two_half_faked(at)
        verdict = Verdict(anna, 1, "gate", 0.0, 0.0, 1.0, at.this.pages[anna][1])
        at.this.queue = [Task(anna), Task(anna, 1, "5Val")]
        at.book.enrol(n for n in at.script.neurons if n.hotkey != anna)
        await heed(node, at.book, [at.this], {"5Val": saw(at, verdict)}, CLOCK.decide(1))
        await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=False)
        assert at.this.queue == []
        assert at.this.losses == []
        assert not at.book.is_muted("5Val", 1)


async def test_who_fails_what_hardly_passes_here_is_not_muted_for_it(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        scales = {"anna": 1.08, "bert": 1.02}  # norm_max is 1.1
        for name, scale in scales.items():
            at.upload(name, (await at.work(name)).times(scale))
        await at.ingest()
        node = trusting(at)
        for page in (None, 0):
            who = {name: f"5{name}{page}" for name in scales}
            at.this.queue = [Task(Keys(name).hotkey, page, who[name]) for name in scales]
            await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=True)
            assert [at.book.is_muted(who[name], 1) for name in scales] == [False, True]
            assert [at.book.comes_last(who[name], 1) for name in scales] == [True, False]
            assert all(at.book.trusts(Keys(name).hotkey, 0) for name in scales)


async def test_an_alarm_is_heard_if_it_can_be_checked(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        node, anna = await with_honest_anna(at)
        failed = Verdict(anna, 1, "gate", 0.1, 0.1, 1.0)

        def heard(verdict: Verdict, witness: str = "5Val", sha256: str = "") -> list[Alarm]:
            mine = at.this.received[anna].sha256
            told = {witness: [Judged(verdict, sha256 or mine)]}
            at.this.alarms = []
            hear(node, at.book, [at.this], told)
            return at.this.alarms

        assert heard(failed, sha256="f" * 64) == [], "whoever saw other bytes would seem to lie"
        assert not at.book.suspects(anna)
        assert heard(replace(failed, refusal="bad_commit")) == []
        assert heard(replace(failed, window=0)) == [], "that window's bytes are not at hand"
        assert heard(failed, node.hotkey) == []
        assert heard(failed) == [Alarm("5Val", failed)]
        assert at.book.suspects(anna)
        at.book.judge(failed)
        assert heard(failed) == [], "there is nothing to learn of who has failed here as well"


async def test_only_who_was_drawn_is_believed_to_have_audited(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        node, anna = await with_honest_anna(at)
        stakes = {node.hotkey: 5, "5Val": 5}
        at.this.council = replace(at.this.council, stakes=stakes)
        hashes = [bytes([number]) * 32 for number in range(8)]
        by = {responsible(drawing, anna, stakes): drawing for drawing in hashes}
        told = {"5Val": saw(at, Verdict(anna, 1, "", 1.0, 1.0, 1.0))}
        for drawing, age in ((b"", 3), (by[node.hotkey], 3), (by["5Val"], 2)):
            at.this.decide_hash = drawing
            hear(node, at.book, [at.this], told)
            assert at.book.age(anna, 3) == age


async def test_who_told_of_narrow_work_comes_after_all_others_and_casts_no_doubt(
    s3: str, tmp_path: Path
) -> None:
    """Its alarms must not keep a validator from its own audits, nor from others' alarms."""
    async with scene(s3, tmp_path) as at:
        node, both = await told_of_all(at)
        liar, judged = next(iter(both.items()))
        told = {liar: judged}
        at.book.put_off(liar, 1)
        own = Task(Keys("dora").hotkey, 0)
        at.this.queue = [own]
        hear(node, at.book, [at.this], told)
        look_again(at.book, [at.this])
        assert at.this.queue[0] == own
        assert {task.accuser for task in at.this.queue[1:]} == {liar}
        assert not any(at.book.suspects(Keys(name).hotkey) for name in at.buckets)
        hear(node, at.book, [at.this], {"5Honest": judged[:1], liar: judged})
        assert at.this.alarms[0].witness == "5Honest"
        look_again(at.book, [at.this])
        assert at.this.queue[0].accuser == "5Honest"
        assert at.book.suspects(judged[0].verdict.hotkey)


async def test_which_bytes_a_receipt_is_about_is_in_that_windows_receipt(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        _, anna = await with_honest_anna(at)
        failed, sha256 = Verdict(anna, 1, "gate", 0.1, 0.1, 1.0), at.this.received[anna].sha256
        entry = Entry(anna, sha256, "ab" * 64)
        late = replace(entry, refusal="late")
        older = {"5Val": Receipt("run-1", 1, (entry,), ()), "5Blind": Receipt("r", 1, (late,), ())}
        at.this.receipts = older
        newer = replace(at.this, duty=replace(at.this.duty, window=2))
        newer.receipts = {
            "5Val": Receipt("run-1", 2, (replace(entry, sha256="f" * 64),), (failed,)),
            "5Blind": Receipt("run-1", 2, (), (failed,)),
        }
        assert told_by_receipts([at.this, newer]) == {
            "5Val": [Judged(failed, sha256)],
            "5Blind": [Judged(failed, "")],  # it has not received what it judges
        }


async def test_an_alarm_of_a_page_that_is_not_the_members_costs_it_nothing(
    s3: str, tmp_path: Path
) -> None:
    """It could not be looked at, so its validator would never be muted for it."""
    async with scene(s3, tmp_path) as at:
        node, anna = await with_honest_anna(at)
        failed = Verdict(anna, 1, "gate", 0.0, 0.0, 1.0, 10**6)
        hear(node, at.book, [at.this], {"5Val": saw(at, failed)})
        assert (at.this.alarms, at.book.waiting) == ([], ())
        assert at.book.trusts(anna, 0)
        assert not at.book.suspects(anna)
        told = {"5Val": saw(at, replace(failed, page=at.this.pages[anna][0]))}
        hear(node, at.book, [at.this], told)
        assert at.book.suspects(anna), "one of its own pages is another matter"
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
        told = {"5Val": saw(at, Verdict(anna, 1, "norm", 1.0, 1.0, 0.0, page))}
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
        told = {"5Val": saw(at, Verdict(anna, 1, "gate", 0.0, 0.0, 1.0, page))}
        await heed(node, at.book, [at.this], told, CLOCK.decide(1))
        assert at.refusal("anna") == "gate"
        assert not at.book.trusts(anna, 1)
        assert [task.hotkey for task in at.this.queue] == [bert], "who is trusted can wait"
        (failure,) = news([at.this])
        assert failure.verdict.hotkey == anna
        assert failure.sha256 == at.this.received[anna].sha256
        at.this.count_as_told()
        assert news([at.this]) == (), "everything is told once"

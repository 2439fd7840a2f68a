"""Who failed an audit is on probation: its work counts only where it was recomputed in full."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from audit_scene import Scene, scene
from node_kit import CLOCK
from scripted_chain import Keys

from boltzmann.node.audit import audit_until, plan
from boltzmann.node.node import Node
from boltzmann.node.objects import receipt_key
from boltzmann.node.reckoning import enrol, settle
from boltzmann.node.witness import publish_receipt
from boltzmann.protocol.receipts import Receipt, Verdict, open_receipt

ANNA, BERT, CARL, DORA = (Keys(name).hotkey for name in ("anna", "bert", "carl", "dora"))


def passed(hotkey: str, window: int) -> Verdict:
    return Verdict(hotkey, window, "", 1.0, 1.0, 1.0)


def failed(hotkey: str, window: int) -> Verdict:
    return Verdict(hotkey, window, "gate", 0.1, 0.1, 1.0)


async def everything(at: Scene) -> None:
    """Audit all there is to audit in the scene's window, and credit it."""
    node = at.validator.node
    await plan(node, at.book, at.this)
    await audit_until(node, at.book, at.this, CLOCK.decide(1), newcomers=False)
    settle(node, at.book, at.this)


async def test_one_on_probation_is_recomputed_in_full_and_only_that_one_earns(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        for name in ("anna", "bert", "carl"):
            at.upload(name, await at.work(name))
        for hotkey in (ANNA, BERT):
            at.book.convict(failed(hotkey, 0))
            at.book.judge(passed(hotkey, 0))
            at.book[hotkey] = replace(at.book[hotkey], moving=0.5)
        at.book.judge(passed(CARL, 0))
        await at.ingest()
        node = at.validator.node
        await plan(node, at.book, at.this)
        (task,) = (task for task in at.this.queue if task.hotkey != CARL)
        assert task.page is None
        await everything(at)
        looked_at = task.hotkey
        (other,) = {ANNA, BERT} - {looked_at}
        assert at.book[looked_at].moving > 0.5
        assert at.book[other].moving < 0.5
        assert at.book[CARL].moving > 0.0


async def test_who_fails_a_recomputation_is_on_probation_once_the_window_is_over(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        at.upload("anna", (await at.work("anna")).times(2.0))
        at.upload("bert", await at.work("bert"))
        await at.ingest()
        await everything(at)
        assert [at.book.on_probation(hotkey) for hotkey in (ANNA, BERT)] == [True, False]


async def test_a_validator_that_passes_nobody_doubts_itself(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        for name in ("anna", "bert", "carl"):
            at.upload(name, (await at.work(name)).times(2.0))
        await at.ingest()
        await everything(at)
        assert [at.refusal(name) for name in ("anna", "bert", "carl")] == ["norm"] * 3
        assert not any(at.book.on_probation(hotkey) for hotkey in (ANNA, BERT, CARL))
        (error,) = at.validator.told.of("error")
        assert error["what"] == "every audit failed"


async def test_of_who_is_on_probation_a_receipt_tells_this_windows_pass_or_the_failure(
    s3: str, tmp_path: Path
) -> None:
    async with scene(s3, tmp_path) as at:
        for name in ("anna", "bert"):
            at.upload(name, await at.work(name))
        await at.ingest()
        for hotkey in (ANNA, BERT, DORA):
            at.book.convict(failed(hotkey, 0))
        at.book.judge(passed(ANNA, 1))
        at.book.judge(passed(BERT, 0))
        at.book.judge(passed(CARL, 0))
        at.book.judge(failed(DORA, 0))
        told = await receipt(at, at.validator.node)
        assert told.verdicts == tuple(
            sorted(
                (passed(ANNA, 1), failed(BERT, 0), passed(CARL, 0), failed(DORA, 0)),
                key=lambda v: v.hotkey,
            )
        )


async def receipt(at: Scene, node: Node) -> Receipt:
    assert await publish_receipt(node, at.book, at.this)
    run = node.run.run.id
    sealed = node.outbox.find(1, "receipt")
    assert sealed is not None, receipt_key(run, 1)
    found = open_receipt(sealed, run, 1, node.hotkey, node.verify)
    assert isinstance(found, Receipt)
    return found


async def test_leaving_the_run_for_a_window_ends_neither_probation_nor_debt(
    s3: str, tmp_path: Path
) -> None:
    """Another record on chain is enough to leave, and the slot stays."""
    async with scene(s3, tmp_path) as at:
        node, duty = at.validator.node, at.this.duty
        enrol(node, at.book, at.this, at.script.neurons)
        at.book.convict(failed(ANNA, 0))
        at.book[ANNA] = replace(at.book[ANNA], moving=0.8, debt=3.0)
        pages = {hotkey: pages for hotkey, pages in duty.pages.items() if hotkey != ANNA}
        at.this.duty = replace(duty, pages=pages)
        for _ in range(2):  # as a restart would
            enrol(node, at.book, at.this, at.script.neurons)
            assert at.book.on_probation(ANNA)
            assert at.book[ANNA].debt == 3.0
            assert at.book[ANNA].moving == 0.4, "who is away earns nothing"
        at.this.duty = duty
        enrol(node, at.book, at.this, at.script.neurons)
        assert at.book.on_probation(ANNA)
        enrol(node, at.book, at.this, (n for n in at.script.neurons if n.hotkey != ANNA))
        assert not at.book.on_probation(ANNA), "who lost its slot is gone"


async def test_who_is_new_or_registers_anew_owes_its_dues(s3: str, tmp_path: Path) -> None:
    async with scene(s3, tmp_path) as at:
        rewards = replace(at.validator.node.run.rewards, audit_rate=0.25)
        node = replace(at.validator.node, run=replace(at.validator.node.run, rewards=rewards))
        at.book[ANNA] = replace(at.book[ANNA], moving=0.8)
        enrol(node, at.book, at.this, at.script.neurons)
        assert (at.book[ANNA].moving, at.book[ANNA].debt) == (0.8, 0.0), "it was there before"
        again = [replace(n, registered_at=n.registered_at + 9) for n in at.script.neurons]
        enrol(node, at.book, at.this, again)
        assert (at.book[ANNA].moving, at.book[ANNA].debt) == (0.0, 3.0)

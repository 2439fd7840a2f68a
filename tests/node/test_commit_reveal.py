"""Commit, then reveal: what counts is what was committed to in time, read once, by everybody."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from agree_scene import STAKES, Council, council
from node_kit import CLOCK, RUN
from scripted_chain import DEADLINE_S, Keys

from boltzmann.node.book import Book
from boltzmann.node.ingest import collect
from boltzmann.node.objects import commit_key
from boltzmann.node.round import assign
from boltzmann.node.validator import validate_window
from boltzmann.protocol.rejection import Reason
from boltzmann.protocol.reveal import seal_commit

MANY = ("anna", "bert", "carl", "dora", "emil")


def reasons(of: Council, name: str) -> dict[str, Reason]:
    names = {Keys(miner).hotkey: miner for miner in of.buckets}
    return {names[h]: why.reason for h, why in of.rounds[name].refused.items()}


async def test_what_was_not_committed_to_in_time_is_refused_with_its_reason(
    s3: str, tmp_path: Path
) -> None:
    async with council(s3, tmp_path, miners=(*MANY, "flor", "gwen")) as of:
        deltas = {name: await of.sealed(name) for name in of.buckets}
        of.commit("anna", deltas["anna"])
        of.commit("carl", await of.sealed("carl"))  # another seal of the same values
        forged = seal_commit(RUN, 1, "00" * 32, Keys("emil").hotkey, Keys("anna").sign)
        of.buckets["emil"].put(commit_key(RUN, 1), forged)
        late = seal_commit(RUN, 2, "00" * 32, Keys("flor").hotkey, Keys("flor").sign)
        of.buckets["flor"].put(commit_key(RUN, 1), late)
        await of.open()
        of.commit("bert", deltas["bert"])  # after its deadline
        for name in deltas:
            if name != "gwen":
                of.reveal(name, deltas[name])
        await of.witness()
        for name in STAKES:
            assert set(of.rounds[name].received) == {Keys("anna").hotkey}
            assert reasons(of, name) == {
                "bert": Reason.UNCOMMITTED,
                "carl": Reason.BAD_COMMIT,
                "dora": Reason.UNCOMMITTED,  # a delta without any commit
                "emil": Reason.BAD_SIGNATURE,
                "flor": Reason.WRONG_WINDOW,
                "gwen": Reason.ABSENT,
            }
        # Being late gains nothing and costs a window; another's bytes are a breach.
        failed = {v.hotkey for v in of.books["ada"].verdicts if not v.passed}
        assert failed == {Keys(name).hotkey for name in ("carl", "emil", "flor")}
        await of.concluded(of.agreeing())
        await of.follow()
        assert of.accepted("ada") == ["anna"]


async def test_a_commit_without_its_delta_is_an_absence(s3: str, tmp_path: Path) -> None:
    async with council(s3, tmp_path) as of:
        deltas = {name: await of.sealed(name) for name in of.buckets}
        for name, sealed in deltas.items():
            of.commit(name, sealed)
        of.reveal("bert", deltas["bert"])
        await of.open()
        await of.witness(["ada"])
        assert reasons(of, "ada") == {"anna": Reason.ABSENT}


async def test_what_is_overwritten_after_it_was_read_changes_nothing(
    s3: str, tmp_path: Path
) -> None:
    async with council(s3, tmp_path) as of:
        await of.honest()
        others = {name: await of.sealed(name, -1.0) for name in of.buckets}
        for name, sealed in others.items():
            of.commit(name, sealed)
            of.reveal(name, sealed)
        # Even a validator that reads everything again has what it has on its disk.
        again = await collect(of.nodes["ada"].node, of.duties["ada"])
        assert again.in_time
        assert dict(again.missing) == {}
        assert dict(again.pledges) == of.rounds["ada"].pledges
        await of.concluded(of.agreeing())
        await of.follow()
        assert sorted(of.accepted("ada")) == ["anna", "bert"]
        accepted = {
            entry.sha256
            for entry in of.nodes["ada"]
            .node.manifests[of.nodes["ada"].state.position.head]
            .manifest.proposal.accepted
        }
        assert accepted == {got.sha256 for got in of.rounds["ada"].received.values()}


async def test_a_restart_does_not_take_a_late_commit_for_an_early_one(
    s3: str, tmp_path: Path
) -> None:
    async with council(s3, tmp_path) as of:
        deltas = {name: await of.sealed(name) for name in of.buckets}
        of.commit("anna", deltas["anna"])
        await of.open(["ada"])
        of.commit("bert", deltas["bert"])
        for name, sealed in deltas.items():
            of.reveal(name, sealed)
        await of.witness(["ada"])
        assert of.rounds["ada"].is_witness
        assert reasons(of, "ada") == {"bert": Reason.UNCOMMITTED}


async def test_who_starts_after_the_commits_deadline_is_no_witness_but_votes(
    s3: str, tmp_path: Path
) -> None:
    async with council(s3, tmp_path) as of:
        late, here = of.order[2], of.order[:2]
        await of.honest(here)
        node = of.nodes[late].node
        duty = await assign(node, 1)
        collected = await collect(node, duty)
        assert not collected.in_time
        tasks = of.agreeing(here)
        window = asyncio.create_task(
            validate_window(node, Book(tmp_path / "late.json"), duty, collect(node, duty), [])
        )
        await of.reach(CLOCK.turn(1, 0))
        await asyncio.wait_for(asyncio.gather(*tasks.values()), DEADLINE_S)
        await of.nodes[late].told.seen("window", window=1)
        assert of.keys(late, "receipt") == set()
        assert of.objections(here[0])[late] == ""
        await of.reach(CLOCK.decide(1))
        await asyncio.wait_for(window, DEADLINE_S)
        await of.follow()
        assert not of.unchanged


async def test_a_delta_that_changed_between_two_witnesses_counts_as_the_majority_has_it(
    s3: str, tmp_path: Path
) -> None:
    """One commit, two sets of bytes: the second are not what was committed to."""
    async with council(s3, tmp_path) as of:
        fooled = of.order[2]
        deltas = {name: await of.sealed(name) for name in of.buckets}
        for name, sealed in deltas.items():
            of.commit(name, sealed)
            of.reveal(name, sealed)
        await of.open()
        for name in of.order[:2]:
            await of.read(name)
        of.reveal("anna", await of.sealed("anna", 2.0))
        await of.read(fooled)
        of.reveal("anna", deltas["anna"])  # as if nothing had been
        await of.witness()
        assert reasons(of, fooled) == {"anna": Reason.BAD_COMMIT}
        # It fetches the bytes that the others have agreed on, and votes on those.
        await of.concluded(of.agreeing())
        assert of.objections(of.order[0])[fooled] == ""
        await of.follow()
        assert sorted(of.accepted(fooled)) == ["anna", "bert"]


@pytest.mark.parametrize("delta_for_each", [True, False])
async def test_who_commits_to_different_bytes_for_different_witnesses_is_out(
    s3: str, tmp_path: Path, delta_for_each: bool
) -> None:
    """Even where the delta is the same for all: one of them then holds a commit to another."""
    async with council(s3, tmp_path, miners=("anna", "bert", "carl")) as of:
        deltas = {name: await of.sealed(name) for name in of.buckets}
        for name, sealed in deltas.items():
            of.commit(name, sealed)
            of.reveal(name, sealed)
        await of.open(of.order[:2])
        other = await of.sealed("bert")
        of.commit("bert", other)
        await of.open(of.order[2:])
        for name in of.order[:2]:
            await of.read(name)
        if delta_for_each:
            of.reveal("bert", other)
        await of.read(of.order[2])
        of.reveal("bert", deltas["bert"])
        tasks = [
            asyncio.create_task(
                validate_window(
                    of.nodes[name].node,
                    of.books[name],
                    of.duties[name],
                    collect(of.nodes[name].node, of.duties[name]),
                    [],
                )
            )
            for name in STAKES
        ]
        for name in STAKES:
            await of.nodes[name].told.seen("window", window=1)
        await of.reach(CLOCK.decide(1))
        await asyncio.wait_for(asyncio.gather(*tasks), DEADLINE_S)
        await of.follow()
        assert sorted(of.accepted("ada")) == ["anna", "carl"]
        for name in STAKES:  # it is proven by its own signatures, so everybody holds it against it
            told = {(e["hotkey"], e["reason"]) for e in of.told(name, "rejected")}
            verdicts = {v.hotkey: v.refusal for v in of.books[name].verdicts}
            fooled = name == of.order[2] and not delta_for_each
            reasons = {"bad_commit", "equivocated"} if fooled else {"equivocated"}
            assert told == {(Keys("bert").hotkey, reason) for reason in reasons}
            assert verdicts[Keys("bert").hotkey] == "equivocated"

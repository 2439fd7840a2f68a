"""The council of a window, whatever its validators have put on chain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from node_kit import CONFIG, Running, running, store_of
from scripted_chain import Keys, Script, ScriptedChain

from boltzmann.app.setup import _announce
from boltzmann.errors import ConfigError
from boltzmann.node.budget import budget_trouble, tell_budget
from boltzmann.node.councils import record_charge, seat
from boltzmann.node.membership import Peer
from boltzmann.protocol.chainview import CommitSpace, Neuron
from boltzmann.protocol.commitment import Commitment, Role, decode
from boltzmann.protocol.readkeys import ReadKeys
from boltzmann.store.s3 import S3Store

RUN = replace(CONFIG, run=replace(CONFIG.run, id="r" * 17))  # and a long address: two fields
ADDRESS = "https://" + "h" * 100
KEYS = ReadKeys("r" * 24, "k" * 36, "s" * 60)
FULL = KEYS.within(ADDRESS)  # three fields without a manifest, four with one
SPACE = CommitSpace(3100, {})


class Elsewhere(S3Store):
    """A bucket that everybody reads at FULL."""

    @property
    def address(self) -> str:
        return FULL


def record(role: Role, bucket: str) -> Commitment:
    return Commitment(role, RUN.run.id, bucket)


def peer(name: str, bucket: str, stake: float = 1.0) -> Peer:
    return Peer(Neuron(0, name, stake, True, 0, 0), record(Role.VALIDATOR, bucket))


@asynccontextmanager
async def announcing(s3: str, folder: Path, script: Script) -> AsyncIterator[Running]:
    script.register("full", stake=5.0)
    bucket = store_of(s3, "full").address.rpartition("/")[2]
    store = Elsewhere(s3, bucket, "key", "secret")
    async with running(script, "full", store, folder, RUN) as node:
        yield node


def test_a_record_without_room_for_a_manifest_comes_last_and_stops_nobody() -> None:
    fields = record(Role.VALIDATOR, FULL).encode()
    assert len(fields) == 3
    assert decode(fields) == record(Role.VALIDATOR, FULL)  # so it is one of the run's
    full, usual = peer("full", FULL, stake=1000.0), peer("usual", ADDRESS)
    assert record_charge(full, 5) is None
    assert record_charge(usual, 5) is not None
    for window in range(20):
        council = seat(RUN, window, bytes([window]) * 32, [full, usual], SPACE)
        assert council.order == ("usual", "full")
        # To witness and to vote takes no record.
        assert set(council.validators) == set(council.witnesses) == {"full", "usual"}


def test_a_council_of_such_records_alone_is_seated() -> None:
    council = seat(RUN, 1, bytes(32), [peer("a", FULL), peer("b", FULL)], SPACE)
    assert sorted(council.order) == ["a", "b"]


async def test_a_validator_starts_whatever_record_another_one_has(s3: str, tmp_path: Path) -> None:
    script = Script(height=RUN.windows.close(0))
    script.register("other", stake=5.0)
    script.commit(Keys("other").hotkey, record(Role.VALIDATOR, FULL), 0)
    async with running(script, "first", store_of(s3, "first"), tmp_path, RUN) as node:
        await tell_budget(node.node)
        assert (await node.node.councils.at(0)).order == (Keys("other").hotkey,)


class Narrow(ScriptedChain):
    """A chain whose budget takes no record of this length."""

    async def commit_space(self, block: int) -> CommitSpace:
        return CommitSpace(99, {})


async def test_a_budget_that_takes_no_record_is_told_and_ends_nobody(
    s3: str, tmp_path: Path
) -> None:
    script = Script(height=RUN.windows.close(0))
    script.register("other", stake=5.0)
    script.commit(Keys("other").hotkey, record(Role.VALIDATOR, ADDRESS), 0)
    async with running(script, "first", store_of(s3, "first"), tmp_path, RUN) as node:
        await tell_budget(replace(node.node, chain=Narrow(script, node.node.hotkey)))
        (told,) = node.told.of("error")
        assert told["what"] == "the chain's commitment budget"
        assert "does not fit the chain's budget of 99 bytes: shorten the record" in told["detail"]


@pytest.mark.parametrize(("length", "words"), [(36, "can order a window every 37"), (37, "")])
def test_windows_shorter_than_the_budget_allows_are_told(length: int, words: str) -> None:
    found = budget_trouble([150, 310], limit=1600, tempo=360, length=length)
    assert words in found
    assert bool(found) is bool(words)


async def test_a_validator_whose_own_record_has_no_room_for_a_manifest_is_told(
    s3: str, tmp_path: Path
) -> None:
    script = Script()
    async with announcing(s3, tmp_path, script) as node:
        # Also if an earlier version has put it on chain.
        script.commit(Keys("full").hotkey, record(Role.VALIDATOR, FULL), 0)
        with pytest.raises(ConfigError, match=r"a manifest's digest .*shorter name or public addr"):
            await _announce(node.node, Role.VALIDATOR)
        assert len(script.records) == 1


async def test_a_miners_record_needs_no_room_for_one(s3: str, tmp_path: Path) -> None:
    script = Script()
    async with announcing(s3, tmp_path, script) as node:
        await _announce(node.node, Role.MINER)
        assert [decode(fields) for _, _, fields in script.records] == [record(Role.MINER, FULL)]

"""A patient chain: reads that fail are tried again, streams that break are taken up again."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_kit import Record
from scripted_chain import DEADLINE_S, Script, ScriptedChain

from boltzmann.errors import ChainRefused, ChainUnavailable
from boltzmann.node.blocks import Blocks
from boltzmann.node.patience import FIRST_PAUSE_S, LONGEST_PAUSE_S, TELL_S, Patient
from boltzmann.ports import Chain
from boltzmann.protocol.chainview import CommitSpace, Head

READS = ("head", "block_hash", "neurons", "rules", "commitments", "commit_space", "weights")
DROP = "drop"


@dataclass
class Time:
    """A clock that goes on while somebody pauses, and only then."""

    now: float = 1000.0
    pauses: list[float] = field(default_factory=list)

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@dataclass
class Failing(ScriptedChain):
    """Every call meets the next of `faults`, as long as there are any."""

    faults: list[Exception] = field(default_factory=list)
    calls: int = 0

    def _meet(self) -> None:
        self.calls += 1
        if self.faults:
            raise self.faults.pop(0)

    async def head(self) -> Head:
        self._meet()
        return await super().head()

    async def block_hash(self, number: int) -> bytes:
        self._meet()
        return await super().block_hash(number)

    async def neurons(self, block: int) -> Any:
        self._meet()
        return await super().neurons(block)

    async def rules(self, block: int) -> Any:
        self._meet()
        return await super().rules(block)

    async def commitments(self, block: int) -> Any:
        self._meet()
        return await super().commitments(block)

    async def commit_space(self, block: int) -> CommitSpace:
        self._meet()
        return await super().commit_space(block)

    async def weights(self, block: int) -> Any:
        self._meet()
        return await super().weights(block)

    async def commit(self, fields: Sequence[bytes]) -> int:
        self._meet()
        return await super().commit(fields)

    async def set_weights(self, weights: Any, version_key: int) -> int:
        self._meet()
        return await super().set_weights(weights, version_key)

    async def close(self) -> None:
        self._meet()


def down(times: int) -> list[Exception]:
    return [ChainUnavailable(f"no answer, {n}") for n in range(times)]


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def told() -> Record:
    return Record()


@pytest.fixture
def chain() -> Failing:
    script = Script(height=10)
    script.register("miner")
    return Failing(script, "5Anybody")


@pytest.fixture
def patient(chain: Chain, told: Record, clock: Time) -> Patient:
    return Patient(chain, told, pause=clock.pause, clock=lambda: clock.now)


def ask(chain: Chain, read: str) -> Awaitable[Any]:
    answer: Awaitable[Any] = getattr(chain, read)(*(() if read == "head" else (7,)))
    return answer


# Reads


@pytest.mark.parametrize("read", READS)
async def test_a_read_is_tried_again_until_it_succeeds(
    chain: Failing, patient: Patient, told: Record, read: str
) -> None:
    plain = await ask(chain, read)
    chain.calls, chain.faults = 0, down(40)
    assert await ask(patient, read) == plain
    assert chain.calls == 41
    assert told.of("waiting")[0] == {"what": "the chain: no answer, 0", "seconds": 0.0}


@pytest.mark.parametrize("read", READS)
async def test_a_refusal_is_an_answer(
    chain: Failing, patient: Patient, told: Record, clock: Time, read: str
) -> None:
    chain.faults = [ChainRefused("SubnetNotExists", "there is no netuid 7"), *down(1)]
    with pytest.raises(ChainRefused, match="no netuid 7"):
        await ask(patient, read)
    assert (chain.calls, told.events, clock.pauses) == (1, [], [])


async def test_other_mistakes_pass(chain: Failing, patient: Patient, clock: Time) -> None:
    chain.faults = [ValueError("no such block")]
    with pytest.raises(ValueError, match="no such block"):
        await patient.neurons(7)
    assert clock.pauses == []


async def test_nothing_is_told_of_a_chain_that_answers(
    chain: Failing, patient: Patient, told: Record, clock: Time
) -> None:
    for read in READS:
        await ask(patient, read)
    assert await patient.block_time() == await chain.block_time()
    assert (told.events, clock.pauses) == ([], [])


async def test_pauses_double_up_to_the_longest_with_jitter(
    chain: Failing, patient: Patient, clock: Time
) -> None:
    chain.faults = down(60)
    await patient.head()
    whole = [min(FIRST_PAUSE_S * 2**n, LONGEST_PAUSE_S) for n in range(60)]
    shares = [pause / longest for pause, longest in zip(clock.pauses, whole, strict=True)]
    assert all(0.5 <= share <= 1.0 for share in shares)
    assert len({round(share, 6) for share in shares}) > 30
    clock.pauses.clear()
    chain.faults = down(1)
    await patient.head()
    assert clock.pauses[0] <= FIRST_PAUSE_S  # each wait begins anew


async def test_waiting_is_told_at_once_and_then_now_and_again(
    chain: Failing, patient: Patient, told: Record, clock: Time
) -> None:
    chain.faults = down(60)
    await patient.head()
    seconds = [event["seconds"] for event in told.of("waiting")]
    assert seconds[0] == 0.0
    steps = [later - earlier for earlier, later in itertools.pairwise(seconds)]
    assert len(steps) > 10
    assert all(TELL_S <= step < TELL_S + LONGEST_PAUSE_S for step in steps)
    assert seconds[-1] + TELL_S + LONGEST_PAUSE_S > clock.now - 1000.0
    assert told.of("waiting")[-1]["what"] != "the chain: no answer, 0"  # it says the newest trouble


async def test_the_time_of_the_failed_call_counts(
    chain: Failing, told: Record, clock: Time
) -> None:
    class Slow(Failing):
        async def head(self) -> Head:
            clock.now += 30.0
            return await super().head()

    slow = Slow(chain.script, chain.hotkey, faults=down(2))
    await Patient(slow, told, pause=clock.pause, clock=lambda: clock.now).head()
    first, second = (event["seconds"] for event in told.of("waiting"))
    assert first == 30.0
    assert second == pytest.approx(60.0 + clock.pauses[0])


async def test_waiting_can_be_given_up(chain: Failing, told: Record) -> None:
    patient = Patient(chain, told, pause=lambda seconds: asyncio.Event().wait())  # type: ignore[arg-type,return-value]
    chain.faults = down(1)
    reading = asyncio.create_task(patient.head())
    await told.seen("waiting")
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


# Writes


@pytest.mark.parametrize(
    "write",
    [
        lambda chain: chain.commit([b"x"]),
        lambda chain: chain.set_weights({2: 1.0}, 0),
        lambda chain: chain.close(),
    ],
    ids=["commit", "set_weights", "close"],
)
async def test_writes_are_the_callers_to_repeat(
    chain: Failing, patient: Patient, told: Record, write: Callable[[Chain], Awaitable[Any]]
) -> None:
    for error in (ChainUnavailable("gone"), ChainRefused("SpaceLimitExceeded", "too much")):
        chain.calls, chain.faults = 0, [error]
        with pytest.raises(type(error)):
            await write(patient)
        assert chain.calls == 1
    await write(patient)
    assert told.events == []


async def test_writes_reach_the_chain(chain: Failing, patient: Patient) -> None:
    assert await patient.commit([b"x", b"y"]) == 11
    assert await patient.set_weights({2: 0.5}, 3) == 11
    assert chain.script.records == [(11, "5Anybody", (b"x", b"y"))]
    assert chain.script.weights == [("5Anybody", {2: 0.5})]


# Heads


@dataclass
class Streaming(ScriptedChain):
    """Each stream plays one of `streams`, those after the last are empty.

    A stream's integers are heads, DROP is ChainUnavailable; at its end it just ends. The hash of a
    height is not to be had `lost_hashes` times.
    """

    streams: Sequence[Sequence[int | str]] = ()
    lost_hashes: int = 0
    opened: int = 0
    closed: int = 0

    async def heads(self) -> AsyncIterator[Head]:
        steps = self.streams[self.opened] if self.opened < len(self.streams) else ()
        self.opened += 1
        try:
            for step in steps:
                if step == DROP:
                    raise ChainUnavailable("the connection was lost")
                yield Head(int(step), self.script.hash(int(step)))
        finally:
            self.closed += 1

    async def block_hash(self, number: int) -> bytes:
        if self.lost_hashes:
            self.lost_hashes -= 1
            raise ChainUnavailable("no hash")
        return self.script.hash(number)


async def heads_up_to(chain: Chain, last: int) -> list[Head]:
    async def take() -> list[Head]:
        taken: list[Head] = []
        stream: AsyncGenerator[Head, None] = chain.heads()  # type: ignore[assignment]
        async with aclosing(stream):
            async for head in stream:
                taken.append(head)
                if head.number >= last:
                    break
        return taken

    return await asyncio.wait_for(take(), DEADLINE_S)


def streaming(
    streams: Sequence[Sequence[int | str]], lost_hashes: int = 0
) -> tuple[Streaming, Patient, Record, Time]:
    chain = Streaming(Script(height=99), "5Anybody", streams=streams, lost_hashes=lost_hashes)
    told, clock = Record(), Time()
    return chain, Patient(chain, told, pause=clock.pause, clock=lambda: clock.now), told, clock


numbers = st.integers(0, 40)


@given(
    st.lists(st.lists(st.one_of(numbers, numbers, st.just(DROP)), max_size=6), max_size=6),
    st.integers(0, 3),
)
def test_every_head_once_and_in_order_whatever_the_streams_do(
    streams: list[list[int | str]], lost_hashes: int
) -> None:
    chain, patient, _, clock = streaming([*streams, [50]], lost_hashes)
    heads = asyncio.run(heads_up_to(patient, 50))
    heard = [list(itertools.takewhile(lambda step: step != DROP, steps)) for steps in streams]
    first = next((int(step) for steps in heard for step in steps), 50)
    assert [head.number for head in heads] == list(range(first, 51))
    assert all(head.hash == chain.script.hash(head.number) for head in heads)
    assert chain.opened == chain.closed == len(streams) + 1
    assert len(clock.pauses) >= len(streams)


async def test_a_broken_stream_is_told_and_taken_up_again() -> None:
    chain, patient, told, clock = streaming([[3, DROP], [], [], [], [6, DROP], [7]])
    assert [head.number for head in await heads_up_to(patient, 7)] == [3, 4, 5, 6, 7]
    assert [event["what"] for event in told.of("waiting")] == [
        "the chain: the connection was lost",
        "the chain: the connection was lost",  # a new head has ended the first wait
    ]
    assert [event["seconds"] for event in told.of("waiting")] == [0.0, 0.0]
    assert clock.pauses[3] > clock.pauses[0] and clock.pauses[4] <= FIRST_PAUSE_S
    assert chain.opened == 6


async def test_a_stream_that_only_ends_is_told_too() -> None:
    _, patient, told, clock = streaming([[]] * 60 + [[1]])
    await heads_up_to(patient, 1)
    events = told.of("waiting")
    assert {event["what"] for event in events} == {"the chain: its stream of blocks ended"}
    assert len(events) > 10
    assert max(clock.pauses) <= LONGEST_PAUSE_S


async def test_what_the_reader_takes_is_not_waiting() -> None:
    _, patient, told, clock = streaming([[1, DROP], [2]])
    async for head in patient.heads():
        clock.now += 500.0
        if head.number == 2:
            break
    assert [event["seconds"] for event in told.of("waiting")] == [0.0]


async def test_a_refused_stream_ends_with_the_refusal(chain: Failing, patient: Patient) -> None:
    await chain.script.end(ChainRefused("SubnetNotExists", "gone"))
    with pytest.raises(ChainRefused, match="gone"):
        await heads_up_to(patient, 11)


async def test_blocks_over_a_patient_chain_outlive_its_outages() -> None:
    chain, patient, told, _ = streaming([[10, DROP], [], [12, DROP], [13, 14]], lost_hashes=2)
    chain.script.height = 10
    blocks = Blocks(patient, told)
    await blocks.start()
    try:
        assert blocks.latest == 10
        assert await asyncio.wait_for(blocks.until(14), DEADLINE_S) == 14
        assert await blocks.hash(14) == chain.script.hash(14)
    finally:
        await blocks.close()

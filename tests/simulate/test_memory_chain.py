"""The chain in memory: what blocks have, and what the chain refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from boltzmann.errors import ChainRefused, ChainUnavailable
from boltzmann.ports import Chain
from boltzmann.protocol.chainview import SubnetRules
from boltzmann.simulate.chain import Ledger, LedgerChain
from boltzmann.simulate.clock import run_virtual

RULES = SubnetRules("owner", 9, 5, 0, 1, 1.0, False)


def ledger(limit: int = 3100) -> Ledger:
    """Ada validates and Bert mines from block 1 on; the chain is at block 10."""
    made = Ledger(bytes(32), RULES, 220, 1.0, limit)
    made.at(1, lambda: made.register("ada", 5.0))
    made.at(1, lambda: made.register("bert"))
    made.advance(10)
    return made


async def in_next_block(made: Ledger, call: Callable[[], Awaitable[int]]) -> int:
    task = asyncio.ensure_future(call())
    await asyncio.sleep(1.0)
    assert not task.done()
    made.advance()
    return await task


def test_heads_come_once_each_and_in_order() -> None:
    made = ledger()

    async def main() -> list[int]:
        seen: list[int] = []

        async def watch() -> None:
            async for head in LedgerChain(made, "ada").heads():
                assert head.hash == made.hash(head.number)
                seen.append(head.number)

        task = asyncio.create_task(watch())
        for height in (11, 12, 15):
            await asyncio.sleep(1.0)
            made.advance(height)
        await asyncio.sleep(1.0)
        task.cancel()
        return seen

    assert run_virtual(main()) == [10, 11, 12, 13, 14, 15]


def test_hashes_follow_from_the_seed() -> None:
    other = Ledger(b"\x01" * 32, RULES, 220, 1.0, 1)
    other.advance(10)
    assert ledger().hash(7) == ledger().hash(7) != other.hash(7)
    assert len({ledger().hash(number) for number in range(11)}) == 11
    with pytest.raises(ChainUnavailable, match="block 11"):
        ledger().hash(11)


def test_a_commitment_is_in_the_next_block_and_earlier_blocks_keep_theirs() -> None:
    made = ledger()
    chain: Chain = LedgerChain(made, "bert")

    async def main() -> None:
        assert await in_next_block(made, lambda: chain.commit([b"one"])) == 11
        assert await in_next_block(made, lambda: chain.commit([b"two", b"fields"])) == 12
        assert [await chain.commitments(block) for block in (10, 11, 12)] == [
            {},
            {"bert": (b"one",)},
            {"bert": (b"two", b"fields")},
        ]

    run_virtual(main())


def test_the_budget_of_commitments_is_counted_and_renewed() -> None:
    made = ledger(limit=250)
    chain = LedgerChain(made, "bert")

    async def main() -> None:
        made.advance(18)  # epochs of 10 blocks begin at 9 and 19: (block + 221) % 10 == 0
        for _ in range(2):
            await in_next_block(made, lambda: chain.commit([b"x"]))
        assert (await chain.commit_space(20)).room("bert") == 50
        assert (await chain.commit_space(20)).room("ada") == 250
        with pytest.raises(ChainRefused, match="SpaceLimitExceeded"):
            await in_next_block(made, lambda: chain.commit([b"x"]))
        made.advance(28)
        await in_next_block(made, lambda: chain.commit([b"y"]))
        assert (await chain.commit_space(29)).used == {"bert": 100}

    run_virtual(main())


@pytest.mark.parametrize("fields", [[], [b""], [b"x" * 129], [b"a", b"b", b"c", b"d"]])
def test_malformed_commitments_are_refused(fields: list[bytes]) -> None:
    made = ledger()

    async def main() -> None:
        with pytest.raises(ChainRefused, match="TooManyFields"):
            await in_next_block(made, lambda: LedgerChain(made, "bert").commit(fields))

    run_virtual(main())


def test_weights_are_kept_by_block_and_payments_by_hotkey() -> None:
    made = ledger()
    chain = LedgerChain(made, "ada")

    async def main() -> None:
        assert await in_next_block(made, lambda: chain.set_weights({1: 0.3, 0: 0.1}, 0)) == 11
        assert await chain.weights(10) == {}
        assert await chain.weights(11) == {0: {1: 65535, 0: 21845}}
        (payment,) = made.payments
        assert (payment.block, payment.validator) == (11, "ada")
        assert payment.shares == pytest.approx({"bert": 0.75, "ada": 0.25}, abs=1e-4)
        assert [neuron.last_update for neuron in made.neurons(11)] == [11, 1]
        with pytest.raises(ChainRefused, match="SettingWeightsTooFast"):
            await in_next_block(made, lambda: chain.set_weights({1: 1.0}, 0))
        made.advance(15)
        assert await in_next_block(made, lambda: chain.set_weights({1: 1.0}, 0)) == 16

    run_virtual(main())


@pytest.mark.parametrize(
    ("hotkey", "weights", "name"),
    [
        ("bert", {0: 1.0}, "NeuronNoValidatorPermit"),
        ("nobody", {0: 1.0}, "HotKeyNotRegisteredInSubNet"),
        ("ada", {7: 1.0}, "UidVecContainInvalidOne"),
        ("ada", {}, "UidVecContainInvalidOne"),
    ],
)
def test_weights_that_the_chain_refuses(hotkey: str, weights: dict[int, float], name: str) -> None:
    made = ledger()

    async def main() -> None:
        with pytest.raises(ChainRefused, match=name) as refusal:
            await in_next_block(made, lambda: LedgerChain(made, hotkey).set_weights(weights, 0))
        assert refusal.value.name == name

    run_virtual(main())


def test_a_free_uid_is_given_to_the_next_who_registers() -> None:
    made = ledger()
    made.at(11, lambda: made.commit("ada", [b"still there"]))
    made.at(12, lambda: made.deregister("ada"))
    made.at(14, lambda: made.register("cyd"))
    made.advance(14)
    assert [(n.uid, n.hotkey, n.registered_at) for n in made.neurons(14)] == [
        (0, "cyd", 14),
        (1, "bert", 1),
    ]
    assert [n.hotkey for n in made.neurons(13)] == ["bert"]
    assert [n.hotkey for n in made.neurons(11)] == ["ada", "bert"]
    assert made.records(14) == {"ada": (b"still there",)}
    with pytest.raises(ValueError, match="block 14 is past"):
        made.at(14, lambda: None)

"""What each validator pays whom and why, by its own signed word, beside what the chain pays."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from boltzmann.app.outside import READ_SECONDS, Outside, looking
from boltzmann.chain.keys import verify
from boltzmann.errors import ConfigError
from boltzmann.node.membership import Peer, validators
from boltzmann.node.objects import payroll_key
from boltzmann.protocol.documents import MAX_DOCUMENT_BYTES
from boltzmann.protocol.payroll import Pay, Payroll, open_payroll
from boltzmann.protocol.rejection import Rejection


@dataclass(frozen=True)
class Statement:
    """A validator's payroll of the weights it set last, at `block` in `window`.

    `settled`: the last window that they count, None without a payroll; `lines` in uid order;
    `missing`: why there is no payroll, "" if there is one; `on_chain`: uid -> its share of the
    weights that the chain holds of this validator, which with commit-reveal are older ones.
    """

    uid: int
    hotkey: str
    stake: float
    block: int
    window: int
    settled: int | None
    lines: tuple[Pay, ...]
    missing: str
    on_chain: dict[int, float]


@dataclass(frozen=True)
class PayStatus:
    """`incentives`: hotkey -> the share of the subnet's pay that the chain gave it last."""

    run: str
    netuid: int
    block: int
    incentives: dict[str, float]
    validators: tuple[Statement, ...]


async def pay_status(network: str, netuid: int, run_hash: str, hotkey: str = "") -> PayStatus:
    """The newest payrolls of a run's validators; of `hotkey` alone, if one is named.

    Raises: ConfigError, ChainError naming the fact, place and mend.
    """
    async with looking(network, netuid, run_hash) as seen:
        incentives = {
            peer.hotkey: peer.neuron.incentive for peer in seen.peers if hotkey in ("", peer.hotkey)
        }
        if not incentives:
            raise ConfigError(
                f"hotkey {hotkey} takes no part in run {seen.run.run.id} on netuid {netuid}: "
                f"`boltzmann status --json` lists who does"
            )
        weights = await seen.chain.weights(seen.block)
    judges = sorted(validators(seen.peers), key=lambda peer: peer.neuron.uid)
    reads = (
        asyncio.to_thread(_statement, seen, judge, hotkey, _shares(weights, judge.neuron.uid))
        for judge in judges
    )
    statements = tuple(await asyncio.gather(*reads))
    return PayStatus(seen.run.run.id, netuid, seen.block, incentives, statements)


def _shares(weights: Mapping[int, Mapping[int, int]], uid: int) -> dict[int, float]:
    row = weights.get(uid, {})
    whole = sum(row.values())
    return {to: value / whole for to, value in sorted(row.items()) if value}


def _statement(seen: Outside, judge: Peer, hotkey: str, on_chain: dict[int, float]) -> Statement:
    """What stands in the validator's bucket for the window in which the chain has its weights."""
    run, block = seen.run.run.id, judge.neuron.last_update
    window = seen.run.windows.window(block)
    data = seen.reader.get(
        judge.bucket,
        payroll_key(run, window),
        max_bytes=MAX_DOCUMENT_BYTES,
        seconds=READ_SECONDS,
    )
    roll = (
        data
        if isinstance(data, Rejection)
        else open_payroll(data, run, window, judge.hotkey, verify)
    )
    there = roll if isinstance(roll, Payroll) else None
    lines = [line for line in there.lines if hotkey in ("", line.hotkey)] if there else []
    return Statement(
        uid=judge.neuron.uid,
        hotkey=judge.hotkey,
        stake=judge.neuron.stake,
        block=block,
        window=window,
        settled=there.settled if there else None,
        lines=tuple(sorted(lines, key=lambda line: line.uid)),
        missing="" if there else str(roll),
        on_chain=on_chain,
    )

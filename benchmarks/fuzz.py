"""A million hostile uploads: what becomes of bytes that an attacker wrote.

    python -m benchmarks.fuzz [--uploads 1000000] [--seed 1]

Each upload is an honest, signed delta that was damaged, cut, lengthened, made up, or sealed anew by
its own hotkey with other header fields or other values. It goes the way of every upload, by the
nodes' own function: size, header, digest, signature, values, shares that add up; then the full
audit's gate against the honest work.
Prints how many were refused for which reason; none may pass, and nothing may raise.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine_facts
from benchmarks.scripted import SeedKeys
from boltzmann.chain.keys import verify
from boltzmann.protocol.arrival import arrive
from boltzmann.protocol.codec import Codec
from boltzmann.protocol.points import Points, count, draw
from boltzmann.protocol.rejection import Rejection
from boltzmann.protocol.scoring import GateConfig, compare, judge
from boltzmann.protocol.slices import Layout, Slice, select
from boltzmann.protocol.wire import Expected, Kind, open_object, seal

Floats = NDArray[np.float32]

RESULTS = Path(__file__).parent / "results"
LAYOUT = Layout.of({"a": (40, 30), "b": (30,), "c": (77,)}, chunk_size=16, slice_ratio=2)
GATE = GateConfig(gate_min=0.99, tensor_min=0.95, norm_min=0.9, norm_max=1.1)
PAGES = 4
TOKENS = 1000  # that the honest object claims
SPECIAL = (np.nan, np.inf, -np.inf, 3e38, 1e4, 1e-40, 0.0)


@dataclass(frozen=True)
class Target:
    """What a reader knows, the honest object, and what an audit recomputes."""

    known: Expected
    keys: SeedKeys
    honest: bytes
    points: Points
    chosen: Slice
    values: Floats
    shares: Floats
    control: Floats

    def seal(self, known: Expected, values: Floats, shares: Floats, tokens: int = TOKENS) -> bytes:
        body = known.codec.encode(values) + known.codec.encode(shares.reshape(-1))
        return seal(known, tokens, body, self.keys.sign)

    def outcome(self, blob: bytes) -> str:
        """Why an upload is refused; "" if it is not."""
        arrived = arrive(blob, self.known, self.points.meet(self.chosen), verify)
        if isinstance(arrived, Rejection):
            return arrived.reason.value
        opened = open_object(blob, self.known, verify)
        if isinstance(opened, Rejection):
            raise AssertionError(f"it arrived, and then it was {opened.reason.value}")
        found = compare(opened.values, self.values, self.control, self.chosen.bounds)
        wrong = judge(found, GATE, LAYOUT.names)
        if wrong is None and opened.header.tokens != TOKENS:
            return "bad_tokens"
        return wrong.reason.value if wrong else ""


Attack = Callable[[Target, random.Random], bytes]


def flip(at: Target, rng: random.Random) -> bytes:
    """One to four bits turned."""
    blob = bytearray(at.honest)
    places = rng.sample(range(8 * len(blob)), rng.randint(1, 4))
    for place in places:
        blob[place // 8] ^= 1 << place % 8
    return bytes(blob)


def cut(at: Target, rng: random.Random) -> bytes:
    return at.honest[: rng.randrange(len(at.honest))]


def lengthen(at: Target, rng: random.Random) -> bytes:
    return at.honest + rng.randbytes(rng.randint(1, 64))


def noise(at: Target, rng: random.Random) -> bytes:
    return rng.randbytes(len(at.honest))


def splice(at: Target, rng: random.Random) -> bytes:
    """A stretch of the object replaced by random bytes, by zeros, or by another stretch of it."""
    start = rng.randrange(len(at.honest))
    length = rng.randint(1, min(200, len(at.honest) - start))
    other = rng.randrange(len(at.honest) - length + 1)
    filling = rng.choice((rng.randbytes(length), bytes(length), at.honest[other : other + length]))
    if filling == at.honest[start : start + length]:
        return flip(at, rng)
    return at.honest[:start] + filling + at.honest[start + length :]


def relabel(at: Target, rng: random.Random) -> bytes:
    """The honest values under other header fields, signed by the same hotkey."""
    fields = (
        {"run": "another-run"},
        {"run": ""},
        {"hotkey": SeedKeys("another").hotkey},
        {"window": rng.randrange(2**63)},
        {"base_root": rng.randbytes(32)},
        {"codec": Codec.FP32},
        {"kind": Kind.UPDATE},
    )
    known = replace(at.known, **rng.choice(fields))
    return at.seal(known, at.values, at.shares)


def claim(at: Target, rng: random.Random) -> bytes:
    """The honest values, another number of tokens."""
    return at.seal(at.known, at.values, at.shares, rng.randrange(2**63 - TOKENS - 1) + TOKENS + 1)


def special(at: Target, rng: random.Random) -> bytes:
    """Values no gradient has, some or all, in the slice and the shares that go with it."""
    values, shares = at.values.copy(), at.shares.copy()
    value = np.float32(rng.choice(SPECIAL))
    if rng.random() < 0.5:
        values[:], shares[:] = value, value / np.float32(PAGES)
    else:
        values[rng.randrange(len(values))] = np.float32(rng.choice(SPECIAL[:4]))
        shares[0, rng.randrange(shares.shape[1])] = np.float32(rng.choice(SPECIAL[:4]))
    return at.seal(at.known, values, shares)


def made_up(at: Target, rng: random.Random) -> bytes:
    """Random values of the honest length whose shares add up."""
    draws = np.random.default_rng(rng.randrange(2**63))
    scale = np.float32(at.values.std())
    whole = [draws.standard_normal(size, np.float32) * scale for size in LAYOUT.sizes]
    share = at.points.gather(whole) / np.float32(PAGES)
    return at.seal(at.known, at.chosen.gather(whole), np.tile(share, (PAGES, 1)))


CHEAP: tuple[Attack, ...] = (flip, cut, lengthen, noise, splice)
SIGNED: tuple[Attack, ...] = (relabel, claim, special, made_up)  # a signature costs .1 ms


def target() -> Target:
    draws = np.random.default_rng(7)
    chosen, points = select(LAYOUT, bytes(32)), draw(LAYOUT, bytes(32), 64)
    keys = SeedKeys("miner")
    known = Expected(
        kind=Kind.DELTA,
        run="fuzz",
        hotkey=keys.hotkey,
        window=7,
        base_root=bytes(range(32)),
        values=chosen.size,
        codec=Codec.BF16,
        limit=100.0,
        shares=(PAGES, count(LAYOUT, 64)),
    )
    pages = [[draws.standard_normal(n, np.float32) for n in LAYOUT.sizes] for _ in range(PAGES)]
    part = np.float32(1.0 / PAGES)
    mean: list[Floats] = [np.stack(tensor).mean(axis=0) for tensor in zip(*pages, strict=True)]
    values = known.codec.roundtrip(chosen.gather(mean))
    shares = np.stack([points.gather(page) * part for page in pages])
    control = chosen.gather([draws.standard_normal(n, np.float32) for n in LAYOUT.sizes])
    at = Target(known, keys, b"", points, chosen, values, shares, control)
    at = replace(at, honest=at.seal(known, values, shares))
    if at.outcome(at.honest) != "":
        raise SystemExit(f"the honest upload itself is refused: {at.outcome(at.honest)}")
    return at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uploads", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "fuzz.json")
    options = parser.parse_args()
    at, rng = target(), random.Random(options.seed)
    found: dict[str, Counter[str]] = {attack.__name__: Counter() for attack in (*CHEAP, *SIGNED)}
    began = time.monotonic()
    for number in range(options.uploads):
        attack = rng.choice(SIGNED if number % 10 == 0 else CHEAP)
        blob = attack(at, rng)
        found[attack.__name__][at.outcome(blob)] += 1
    seconds = time.monotonic() - began
    for name, reasons in found.items():
        told = ", ".join(f"{reason or 'ACCEPTED'} {n}" for reason, n in reasons.most_common())
        print(f"{name:10s} {sum(reasons.values()):8d}   {told}")
    accepted = sum(reasons[""] for reasons in found.values())
    print(f"{options.uploads} uploads in {seconds:.0f} s: {accepted} accepted, 0 raised")
    result = {
        "machine": machine_facts(("torch", "numpy")),
        "uploads": options.uploads,
        "seed": options.seed,
        "seconds": round(seconds),
        "accepted": accepted,
        "refused": {name: dict(reasons) for name, reasons in found.items()},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    if accepted:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

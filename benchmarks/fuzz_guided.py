"""A million uploads that a coverage-guided fuzzer wrote, by atheris (Linux, Python 3.11 to 3.13).

    pip install atheris==3.0.0
    python -m benchmarks.fuzz_guided [--uploads 1000000] [--seed 1]

`benchmarks.fuzz` damages an honest delta at random; here libFuzzer watches which branches of the
nodes' own code its bytes reach, and keeps what reaches new ones. It begins from the honest delta
and writes, by turns, whole objects (which must not pass, but for the honest one itself), and bodies
and token counts that the hotkey signs (so that damaged values get as far as the audit). What passes
of those must be as good as honest work by another reckoning, in float64 and from the bytes. Nothing
may raise: an exception ends the run, and libFuzzer writes what caused it to a file.
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NoReturn

import atheris
import numpy as np

from benchmarks.machine import machine_facts

with atheris.instrument_imports(include=["boltzmann.protocol"]):
    from benchmarks.fuzz import GATE, RESULTS, TOKENS, Target, target
    from boltzmann.protocol.wire import seal

WHOLE, SIGNED = b"\x00", b"\x01"  # an input's first byte, modulo 2: what its other bytes are
_TOKENS = struct.Struct(">Q")
KEEPS_LENGTH = 7 / 8  # of mutations: another length is refused before anything is read
ROUNDING = 1e-5  # by which a figure in float64 may miss a threshold met in float32


class Fuzz:
    """One run: the inputs' meaning, how they are changed, and what became of them."""

    def __init__(self, at: Target) -> None:
        self.at = at
        self.found: dict[str, Counter[str]] = {"whole": Counter(), "signed": Counter()}
        body = at.honest[at.known.body_start :]
        self.seeds = (WHOLE + at.honest, SIGNED + _TOKENS.pack(TOKENS) + body)

    def one(self, data: bytes) -> None:
        """Raises: AssertionError if an upload passes that must not."""
        if data[:1] and data[0] % 2:
            self.found["signed"][self._signed(data[1:])] += 1
        else:
            self.found["whole"][self._whole(data[1:])] += 1

    def _whole(self, blob: bytes) -> str:
        outcome = self.at.outcome(blob)
        if outcome == "" and blob != self.at.honest:
            raise AssertionError("an object passed that its hotkey did not sign")
        return outcome or "honest"

    def _signed(self, data: bytes) -> str:
        length = self.at.known.body_bytes
        body = data[_TOKENS.size :].ljust(length, b"\x00")[:length]
        (tokens,) = _TOKENS.unpack(data[: _TOKENS.size].ljust(_TOKENS.size, b"\x00"))
        outcome = self.at.outcome(seal(self.at.known, tokens, body, self.at.keys.sign))
        if outcome == "" and not is_honest_work(self.at, body, tokens):
            raise AssertionError("a delta passed that is not honest work")
        return outcome or "as good as honest work"

    def change(self, data: bytes, most: int, seed: int) -> bytes:
        """libFuzzer's change of an input, mostly brought back to the length that is read."""
        rng = random.Random(seed)
        changed: bytes = atheris.Mutate(data, most)
        if not changed or rng.random() > KEEPS_LENGTH:
            return changed
        length = len(self.seeds[changed[0] % 2])
        return changed[:length] + self.seeds[changed[0] % 2][len(changed) :]


def is_honest_work(at: Target, body: bytes, tokens: int) -> bool:
    """Whether a bf16 body is the honest work within the gate, reckoned from its bytes anew."""
    size = len(at.values)
    upper = np.frombuffer(body[: 2 * size], "<u2").astype(np.uint32) << np.uint32(16)
    values = upper.view(np.float32).astype(np.float64)
    mine, control = at.values.astype(np.float64), at.control.astype(np.float64)
    if tokens != TOKENS or not np.isfinite(values).all():
        return False
    along = control / np.sqrt(control @ control)
    theirs, ours = (v - (v @ along) * along for v in (values, mine))
    cosine = theirs @ ours / np.sqrt((theirs @ theirs) * (ours @ ours))
    ratio = np.sqrt((values @ values) / (mine @ mine))
    near = GATE.norm_min - ROUNDING <= ratio <= GATE.norm_max + ROUNDING
    return bool(cosine >= GATE.gate_min - ROUNDING and near)


def _report(options: argparse.Namespace, fuzz: Fuzz, seconds: float) -> None:
    uploads = sum(sum(reasons.values()) for reasons in fuzz.found.values())
    for name, reasons in fuzz.found.items():
        told = ", ".join(f"{reason} {n}" for reason, n in reasons.most_common())
        print(f"{name:7s} {sum(reasons.values()):8d}   {told}")
    print(f"{uploads} uploads in {seconds:.0f} s: 0 accepted, 0 raised")
    result = {
        "machine": machine_facts(("atheris", "torch", "numpy")),
        "uploads": uploads,
        "seed": options.seed,
        "seconds": round(seconds),
        "found": {name: dict(reasons) for name, reasons in fuzz.found.items()},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


def main() -> NoReturn:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uploads", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "fuzz_guided.json")
    options = parser.parse_args()
    fuzz = Fuzz(target())
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(fuzz.seeds):
            (Path(corpus) / str(number)).write_bytes(seed)
        longest = max(len(seed) for seed in fuzz.seeds) + 64
        flags = [f"-atheris_runs={options.uploads}", f"-seed={options.seed}", f"-max_len={longest}"]
        atheris.Setup(["fuzz_guided", corpus, *flags], fuzz.one, custom_mutator=fuzz.change)
        began = time.monotonic()
        try:
            atheris.Fuzz()
        except SystemExit as end:
            if not end.code:
                _report(options, fuzz, time.monotonic() - began)
            raise
    raise SystemExit("the fuzzer came back without an end")


if __name__ == "__main__":
    main()

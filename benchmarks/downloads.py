"""What a miner downloads per window, with more and more miners' deltas in the update.

    python -m benchmarks.downloads [--models 0.86M 10M] [--miners 4 8 16 32 64] [--windows 5]
                                   [--server moto] [--out benchmarks/results/downloads.json]

Three validators; every miner's delta is sealed, received, admitted by the receipts' rule and
averaged, and the manifest carries three ballots. A real miner's node then follows window by window
through a store that counts the bodies it reads: all that a miner reads in a window. Headers of http
are not counted. Figures are medians over windows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.machine import machine_facts
from benchmarks.nodes import Counted, Events, open_node, reach
from benchmarks.noise import noise_delta
from benchmarks.publisher import Outcome, Publisher
from benchmarks.runs import MODELS, parameters, run_config
from benchmarks.scripted import Member, ScriptedChain, SeedKeys
from benchmarks.servers import SERVERS, Place, open_place
from boltzmann.chain.keys import verify
from boltzmann.node.follow import follow
from boltzmann.node.objects import expected
from boltzmann.protocol.admission import admit
from boltzmann.protocol.aggregate import Floats, aggregate, in_memory, norm
from boltzmann.protocol.documents import digest
from boltzmann.protocol.receipts import Entry, Receipt, Verdict
from boltzmann.protocol.rejection import Rejection
from boltzmann.protocol.reveal import open_commit, seal_commit
from boltzmann.protocol.wire import Kind, seal

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("numpy", "boto3", "moto", "bittensor")
MINERS = (4, 8, 16, 32, 64)
AIM = 0.05  # more than with the fewest miners, at the most


@dataclass(frozen=True)
class Row:
    """Medians over windows, in bytes. `more`: the total against that of the fewest miners."""

    model: str
    miners: int
    manifest: int
    update: int
    other: int
    more: float

    @property
    def total(self) -> int:
        return self.manifest + self.update + self.other

    @property
    def holds(self) -> bool:
        return self.more <= AIM


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    models = [model for model in MODELS if model != "1.2B"]
    parser.add_argument("--models", nargs="+", choices=models, default=models[:2])
    parser.add_argument("--miners", nargs="+", type=int, default=list(MINERS))
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--server", choices=SERVERS, default="moto")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/downloads.json")
    options = parser.parse_args()
    rows = []
    print(
        f"{'model':<6}{'miners':>7}{'manifest':>10}{'update':>10}{'other':>7}{'total':>10}{'more':>8}"
    )
    for model in options.models:
        for row in measure(options.server, model, sorted(options.miners), options.windows):
            rows.append(row)
            print(
                f"{row.model:<6}{row.miners:>7}{row.manifest:>10}{row.update:>10}{row.other:>7}"
                f"{row.total:>10}{row.more:>8.2%}  {'holds' if row.holds else 'MISSED'}",
                flush=True,
            )
    results = {
        "machine": machine_facts(PACKAGES),
        "server": options.server,
        "windows": options.windows,
        "aim": AIM,
        "parameters": {model: parameters(model) for model in options.models},
        "rows": [{**asdict(row), "total": row.total, "holds": row.holds} for row in rows],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n")


def measure(server: str, model: str, miners: list[int], windows: int) -> Iterator[Row]:
    """A run for each number of miners."""
    fewest = 0
    with tempfile.TemporaryDirectory() as name, open_place(server, Path(name) / "s3") as place:
        for count in miners:
            read = asyncio.run(_follow_run(place, model, count, windows, Path(name) / str(count)))
            manifest, update, other = (
                round(median(window[kind] for window in read)) for kind in range(3)
            )
            total = manifest + update + other
            fewest = fewest or total
            yield Row(model, count, manifest, update, other, total / fewest - 1)


async def _follow_run(
    place: Place, model: str, count: int, windows: int, folder: Path
) -> list[tuple[int, int, int]]:
    """(manifest, update, other) bytes that the first of `count` miners reads in each window."""
    run = run_config(f"downloads-{count}", model, count)
    names = [f"miner-{number}" for number in range(count)]
    publisher = Publisher(run, place, folder / "publisher")
    publisher.begin()
    for window in range(1, windows + 1):
        publisher.close(window, received(publisher, names, window))
    members = {**publisher.members, **{name: Member(place.address(name)) for name in names}}
    chain = ScriptedChain(run.run.id, names[0], members, publisher.ordered)
    store, found = Counted(place.store(names[0])), []
    async with open_node(run, chain, store, folder / "node", Events()) as node:
        for window in range(windows + 1):
            await reach(node, chain, node.clock.decide(window))
            store.bytes.clear()
            if (missing := await follow(node, window)) is not None:
                raise RuntimeError(f"window {window} was not reached: {missing}")
            read = dict(store.bytes)
            if window > 0:  # the genesis is read once in a run
                known = (read.pop("manifest"), read.pop("update"))
                found.append((*known, sum(read.values())))
    return found


def received(publisher: Publisher, names: list[str], window: int) -> Outcome:
    """What the validators make of every miner's delta of a window."""
    run, chosen, root = publisher.run, publisher.slice(window), publisher.state.position.root
    deltas: dict[str, Floats] = {}
    entries, verdicts = [], []
    for number, name in enumerate(names):
        keys = SeedKeys(name)
        deltas[keys.hotkey], body = noise_delta(run, chosen, window, number)
        known = expected(run, Kind.DELTA, keys.hotkey, window, root, chosen)
        sha256 = digest(seal(known, 1, body, keys.sign))
        commit = seal_commit(run.run.id, window, sha256, keys.hotkey, keys.sign)
        pledge = open_commit(commit, run.run.id, window, keys.hotkey, verify)
        if isinstance(pledge, Rejection):
            raise RuntimeError(f"the commit of {name} is refused: {pledge}")
        entries.append(Entry(keys.hotkey, pledge.sha256, pledge.signature))
        length = norm(deltas[keys.hotkey])
        verdicts.append(Verdict(keys.hotkey, window, "", 1.0, 1.0, length))
    receipt = Receipt(
        run=run.run.id,
        window=window,
        entries=tuple(sorted(entries, key=lambda entry: entry.hotkey)),
        verdicts=tuple(sorted(verdicts, key=lambda verdict: verdict.hotkey)),
    )
    stakes = dict.fromkeys(publisher.hotkeys, 1)
    leader = publisher.leader(window)
    admission = admit(dict.fromkeys(stakes, receipt), stakes, leader, 0, run.terms, verify)
    if len(admission.accepted) != len(names):
        raise RuntimeError(f"only {len(admission.accepted)} of {len(names)} were accepted")
    addends = {hotkey: in_memory(values) for hotkey, values in deltas.items()}
    mean = aggregate(chosen.size, addends, admission.norm_limit)
    return Outcome(publisher.sealed(receipt), admission, mean)


if __name__ == "__main__":
    main()

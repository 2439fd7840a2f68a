"""How fast pages become tokens, by where the Parquet lies: tokens/s, median over rounds.

    python -m benchmarks.data [--rounds 5] [--out benchmarks/results/data.json]

Files have the columns and row groups of FineWeb-Edu (1,000 rows of about 4.7 kB), a page is 100
rows, and no two pages of a round lie in one row group, as when pages are drawn from thousands of
files: each page costs the fetching and decoding of ten times its own text. Servers are processes of
this machine, so their work is in the wall clock, but not in the reader's own CPU seconds: tokens
per core are what one free core would give, whatever else runs here.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks.data_index import index_facts
from benchmarks.data_places import GROUPS, ROWS_PER_GROUP, SOURCES, open_source, write_set
from benchmarks.data_text import train_tokenizer
from benchmarks.machine import machine_facts
from boltzmann.data.prefetch import Prefetch
from boltzmann.data.tokenizer import open_tokenizer
from boltzmann.ports import Pages, Tokenizer

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pyarrow", "urllib3", "tokenizers", "transformers", "moto")
TRAINER = 100_000  # tokens/s
AIM = 3.0  # times the trainer
ROWS_PER_PAGE = 100
SEQUENCE_LENGTH = 1024
READERS = (1, 2, 4)


@dataclass(frozen=True)
class Row:
    """One measured figure: medians over rounds, and the slowest and fastest round."""

    source: str
    tokenizer: str
    readers: int
    rows_s: float
    tokens_s: float
    least_tokens_s: float
    most_tokens_s: float
    cpu_s_per_million_tokens: float
    tokens_s_per_core: float
    cores_used: float
    times_trainer: float


class HeldRows:
    """Pages whose text is in memory already: what is left is tokenizing."""

    def __init__(self, pages: Pages, numbers: Sequence[int]) -> None:
        self._rows = {page: pages.rows(page) for page in numbers}
        self.count = pages.count

    def rows(self, page: int) -> Sequence[str]:
        """One page's rows."""
        return self._rows[page]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "data.json")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES))
    options = parser.parse_args()
    rows = []
    print(
        f"{'source':<16}{'tokenizer':<10}{'readers':>8}{'rows/s':>9}{'tokens/s':>11}"
        f"{'least':>11}{'most':>11}{'per core':>12}{'cores':>7}{'x trainer':>10}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_set(folder / "set")
        tokenizers = {"byte": "byte", "bpe-32k": train_tokenizer(folder / "tokenizer")}
        for row in measure(folder, tokenizers, options.sources, options.rounds):
            rows.append(row)
            print(
                f"{row.source:<16}{row.tokenizer:<10}{row.readers:>8}{row.rows_s:>9,.0f}"
                f"{row.tokens_s:>11,.0f}{row.least_tokens_s:>11,.0f}{row.most_tokens_s:>11,.0f}"
                f"{row.tokens_s_per_core:>12,.0f}{row.cores_used:>7.2f}{row.times_trainer:>10.1f}",
                flush=True,
            )
        index = index_facts(folder)
    print(verdict(rows))
    print("index: " + ", ".join(f"{name} {figure:,}" for name, figure in index.items()))
    facts = {
        "machine": machine_facts(PACKAGES),
        "load_average": os.getloadavg(),
        "niceness": os.nice(0),
        "rounds": options.rounds,
        "trainer_tokens_s": TRAINER,
        "rows_per_page": ROWS_PER_PAGE,
        "rows_per_group": ROWS_PER_GROUP,
        "verdict": verdict(rows),
        "index": index,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({**facts, "rows": list(map(asdict, rows))}, indent=2) + "\n")


def measure(
    folder: Path, tokenizers: dict[str, str], sources: Sequence[str], rounds: int
) -> Iterator[Row]:
    """Every combination, and tokenizing alone on text in memory."""
    for name, place in tokenizers.items():
        tokenizer = open_tokenizer(place)
        with ExitStack() as stack:
            opened = stack.enter_context(open_source("local", folder, ROWS_PER_PAGE))
            held = partial(HeldRows, opened(), page_numbers())
            yield _row("text in memory", name, 1, tokenizer, held, rounds)
        for source in sources:
            with open_source(source, folder, ROWS_PER_PAGE) as opened:
                for readers in READERS:
                    yield _row(source, name, readers, tokenizer, opened, rounds)


def page_numbers() -> range:
    """One page of each row group."""
    return range(3, GROUPS * ROWS_PER_GROUP // ROWS_PER_PAGE, ROWS_PER_GROUP // ROWS_PER_PAGE)


def _row(
    source: str,
    name: str,
    readers: int,
    tokenizer: Tokenizer,
    opened: Callable[[], Pages],
    rounds: int,
) -> Row:
    numbers = page_numbers()
    rates, seconds, cpu = [], [], []
    for _ in range(rounds):
        pages = opened()  # nothing held from the round before
        began, began_cpu = time.perf_counter(), time.process_time()
        with Prefetch(pages, tokenizer, SEQUENCE_LENGTH, numbers, ahead=readers) as batches:
            tokens = sum(batch.tokens.size for batch in batches)
        seconds.append(time.perf_counter() - began)
        cpu.append((time.process_time() - began_cpu) * 1e6 / tokens)
        rates.append(tokens / seconds[-1])
    middle, work = statistics.median(rates), statistics.median(cpu)
    return Row(
        source,
        name,
        readers,
        round(len(numbers) * ROWS_PER_PAGE / statistics.median(seconds), 1),
        round(middle),
        round(min(rates)),
        round(max(rates)),
        round(work, 3),
        round(1e6 / work),
        round(middle * work / 1e6, 2),
        round(middle / TRAINER, 2),
    )


def verdict(rows: Sequence[Row]) -> str:
    """Whether the aim is met by each source with its best number of readers, or what limits it."""
    said = []
    for name in dict.fromkeys(row.tokenizer for row in rows):
        mine = [row for row in rows if row.tokenizer == name]
        alone = next(row for row in mine if row.source == "text in memory")
        for source in dict.fromkeys(row.source for row in mine if row is not alone):
            best = max((r for r in mine if r.source == source), key=lambda row: row.tokens_s)
            told = f"{name}, {source}: {best.times_trainer:.1f} x the trainer"
            if best.times_trainer < AIM:
                part = alone.cpu_s_per_million_tokens / best.cpu_s_per_million_tokens
                need = AIM * TRAINER / best.tokens_s_per_core
                told += (
                    f", limited by the processor: it got {best.cores_used:.2f} cores and needs "
                    f"{need:.2f} for {AIM:g} x; tokenizing is {part:.0%} of its work"
                )
            said.append(told)
    return "; ".join(said)


if __name__ == "__main__":
    main()

"""boltzmann data: name a dataset so that every node reads the same, and check that one does."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from boltzmann.cli.runfile import read_run

_SHOWN = 8  # pages that a check reads, spread over the set


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command and its options."""
    parser = commands.add_parser(
        "data",
        help="pin a dataset in a run's config, or check this machine's way to it",
        description="Work with the dataset of a run.",
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    pin = verbs.add_parser(
        "pin",
        help="print what a run's config says of a dataset",
        description="Read every file's footer and print the lines of run.toml that pin the data. "
        "A dataset of the Hugging Face hub that names no commit is pinned at its newest.",
    )
    pin.add_argument(
        "source",
        metavar="SOURCE",
        help="hf://datasets/OWNER/NAME, fineweb-edu, dclm, https://HOST/PATH, s3://BUCKET/PREFIX, "
        "parquet:PATH or disk:PATH",
    )
    pin.add_argument(
        "--column", default="text", metavar="NAME", help="the column of text (default text)"
    )
    pin.set_defaults(run=run_pin)
    check = verbs.add_parser(
        "check",
        help="check that this machine reads a run's data, and how fast",
        description="Compare the data with what a run's config pins, and read some of its pages.",
    )
    check.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="the run's run.toml"
    )
    check.add_argument(
        "--data.source",
        dest="source",
        default="",
        metavar="SOURCE",
        help="a copy of the run's data, in any form that pin takes (default: as the run says)",
    )
    check.set_defaults(run=run_check)


def run_pin(options: argparse.Namespace) -> int:
    """Print the pin. Raises: DataError."""
    from boltzmann.data.open import pin

    source, revision = pin(options.source, column=options.column)
    print("[data]")
    for name, text in (("source", source), ("revision", revision), ("column", options.column)):
        print(f"{name} = {json.dumps(text)}")
    return 0


def run_check(options: argparse.Namespace) -> int:
    """Check the data. Raises: ConfigError, DataError."""
    from boltzmann.data.open import open_pages

    run = read_run(options.config)
    data = run.data
    source = options.source or data.source
    pages = open_pages(
        source, revision=data.revision, rows_per_page=data.rows_per_page, column=data.column
    )
    print(f"{source} is the run's data: {pages.count} pages of {data.rows_per_page} rows")
    run.schedule(pages.count)
    shown = min(_SHOWN, pages.count)
    began = time.perf_counter()
    size = sum(
        len(row.encode()) for n in range(shown) for row in pages.rows(n * pages.count // shown)
    )
    seconds = time.perf_counter() - began
    print(f"read {shown} of them, {size / 1e6:.1f} MB of text, in {seconds:.2f} s by one reader")
    return 0

"""The process behind `wandb_sink`: JSON lines on standard input become one W&B run's history.

The first line holds `wandb.init`'s arguments; each later one is an event. The run is finished at
the end of the input.
"""

from __future__ import annotations

import json
import os
from typing import BinaryIO

from boltzmann.telemetry.metrics import Rows

_INIT_SECONDS = 60.0


def main(lines: BinaryIO) -> None:
    """Log every event of `lines`. Exits with a sentence if W&B refuses."""
    import wandb

    start = json.loads(next(lines))
    settings = wandb.Settings(
        console="off",
        silent=True,
        disable_git=True,
        save_code=False,
        init_timeout=_INIT_SECONDS,
        # Bounds this process's life when the node was killed and nobody waits for it.
        finish_timeout=start["finish_seconds"],
    )
    try:
        run = wandb.init(**start["init"], settings=settings)
    except wandb.errors.Error as error:
        raise SystemExit(f"wandb.init: {' '.join(str(error).split())}") from error
    # Audits of a window arrive after later windows' events, which W&B's own step would refuse.
    run.define_metric("window")
    run.define_metric("*", step_metric="window")
    rows = Rows()
    for line in lines:
        event = json.loads(line)
        row = rows.add(event["event"], event["fields"])
        if row:
            run.log(row)
    rest = rows.rest()
    if rest:
        run.log(rest)
    run.finish()


def _own_input() -> BinaryIO:
    """Standard input under a number of its own, which wandb's service process does not inherit.

    If it did, the node's pipe would stay open after this process was ended.
    """
    lines = os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return lines


if __name__ == "__main__":
    with _own_input() as lines:
        main(lines)

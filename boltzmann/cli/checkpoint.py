"""boltzmann checkpoint: what a run has trained, for use elsewhere."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from boltzmann.cli.runfile import read_run
from boltzmann.errors import ConfigError


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command and its options."""
    parser = commands.add_parser(
        "checkpoint",
        help="use what a run has trained elsewhere",
        description="Work with checkpoints of a run's model.",
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    export = verbs.add_parser(
        "export",
        help="write the model as a folder that transformers loads",
        description="Check a checkpoint's files and write its model, with the run's tokenizer, "
        "as a folder for transformers' from_pretrained.",
    )
    export.add_argument(
        "--from",
        dest="source",
        type=Path,
        required=True,
        metavar="DIR",
        help="the state folder of a node that is not running, or a downloaded checkpoint's folder",
    )
    export.add_argument(
        "--to", dest="target", type=Path, required=True, metavar="DIR", help="a new folder"
    )
    export.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the run's run.toml (default: the one that a node keeps beside its state folder)",
    )
    export.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Export the checkpoint these options name. Raises: BoltzmannError."""
    from boltzmann.train import checkpoint
    from boltzmann.train.export import export_transformers, require_empty
    from boltzmann.train.model import parameter_shapes
    from boltzmann.train.state import ModelState

    config = read_run(options.config or options.source.absolute().parent / "run.toml")
    require_empty(options.target)  # before a large checkpoint is read in vain
    shapes = parameter_shapes(config.model)
    with tempfile.TemporaryDirectory() as undo:  # a state has one, though nothing is applied here
        state = ModelState(config.layout(shapes), shapes, config.outer, Path(undo), 1)
        descriptor = checkpoint.read(state, options.source, config.run.id)
    if descriptor is None:
        raise ConfigError(
            f"there is no checkpoint in {options.source}: name a node's state folder or a "
            f"downloaded checkpoint's folder with --from"
        )
    export_transformers(state, config.model, options.target, config.data.tokenizer)
    print(f"window {descriptor.window} of run {descriptor.run}, exported to {options.target}")
    return 0

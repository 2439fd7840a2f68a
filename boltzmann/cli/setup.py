"""boltzmann setup: ask once for what a node needs, and write it to .env."""

from __future__ import annotations

import argparse
import getpass
import sys

from boltzmann.errors import ConfigError


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command and its options."""
    from boltzmann.app.settings import add_node_options

    parser = commands.add_parser(
        "setup",
        help="ask for what a node needs and write it to .env",
        description="Ask for the settings that stand neither in the environment nor in .env, and "
        "write them to .env in this folder, readable by you alone. What is set already is not "
        "asked for again.",
    )
    add_node_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Ask, if there is somebody to ask. Raises: ConfigError naming what is missing if not, or what
    is set but cannot be.
    """
    from boltzmann.app.firsttime import ask_for, missing_settings
    from boltzmann.app.settings import ENV_FILE, settings_from

    missing = missing_settings(vars(options))
    if not missing:
        settings_from(vars(options))
        print("everything is set")
        return 0
    if not sys.stdin.isatty():
        names = ", ".join(item.metadata["env"] for item in missing)
        raise ConfigError(
            f"there is nobody to ask for {names}: write them to {ENV_FILE.resolve()} "
            f"(.env.example explains each), or set them in the environment"
        )
    count = ask_for(missing, _ask)
    print(f"{count} settings written to {ENV_FILE.resolve()}")
    return 0


def _ask(text: str, is_secret: bool) -> str:
    """Raises: ConfigError if the questions are broken off."""
    try:
        return getpass.getpass(text) if is_secret else input(text)
    except (EOFError, KeyboardInterrupt) as error:
        raise ConfigError("the questions were broken off: nothing was written") from error

"""A validator's standings by hotkey, kept across restarts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from boltzmann.errors import CorruptState
from boltzmann.node.outbox import write_whole
from boltzmann.protocol.chainview import Neuron
from boltzmann.protocol.rewards import Standing


class Book:
    """Standings by hotkey and registration: a hotkey that lost its slot starts from zero."""

    def __init__(self, path: Path) -> None:
        """Raises: CorruptState if the file is there but cannot be read."""
        self._path = path
        self._standings: dict[str, Standing] = {}
        if path.exists():
            try:
                stored = json.loads(path.read_text())
                self._standings = {hotkey: Standing(**fields) for hotkey, fields in stored.items()}
            except (ValueError, TypeError, AttributeError) as error:
                raise CorruptState(
                    f"the standings in {path} cannot be read ({error}): restore the file, or "
                    f"delete it and every miner starts from zero with this validator"
                ) from error

    @property
    def standings(self) -> dict[str, Standing]:
        """A copy of all standings."""
        return dict(self._standings)

    def __getitem__(self, hotkey: str) -> Standing:
        return self._standings[hotkey]

    def __setitem__(self, hotkey: str, standing: Standing) -> None:
        self._standings[hotkey] = standing

    def enrol(self, neurons: Iterable[Neuron]) -> None:
        """Begin a standing for who is new, or registered anew; drop who is gone."""
        fresh: dict[str, Standing] = {}
        for neuron in neurons:
            held = self._standings.get(neuron.hotkey)
            same = held is not None and held.registered_at == neuron.registered_at
            fresh[neuron.hotkey] = held if held and same else Standing(neuron.registered_at)
        self._standings = fresh

    def save(self) -> None:
        """Write the standings down. Raises: StateError."""
        rows = {hotkey: asdict(standing) for hotkey, standing in self._standings.items()}
        write_whole(self._path, json.dumps(rows, indent=1, sort_keys=True).encode())

"""Manifests of a simulation: each node fetches its own, but the same bytes are opened once."""

from __future__ import annotations

from collections import OrderedDict

from boltzmann.node.manifests import Held, Manifests
from boltzmann.ports import Reader, Verify
from boltzmann.protocol.manifest import Parent
from boltzmann.protocol.rejection import Rejection

_KEPT = 256
Answers = OrderedDict[tuple[bytes, Parent], "Held | Rejection"]


class SharedManifests(Manifests):
    """One node's manifests. `answers`: what came of opening which bytes as what, for all nodes."""

    def __init__(
        self, store: Reader, verify: Verify, run: str, seconds: float, answers: Answers
    ) -> None:
        super().__init__(store, verify, run, seconds)
        self._answers = answers

    def _opened(self, data: bytes, name: Parent) -> Held | Rejection:
        if (data, name) not in self._answers:
            self._answers[data, name] = super()._opened(data, name)
            while len(self._answers) > _KEPT:
                self._answers.popitem(last=False)
        return self._answers[data, name]

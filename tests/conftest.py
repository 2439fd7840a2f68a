"""What the whole suite shares: Hypothesis settings, threads, an S3 server.

`repeatable` makes a test's outcome a function of the code alone; look for new counterexamples with
`python -m pytest tests/protocol --hypothesis-profile=explore`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# Before torch is loaded: on the tests' tiny models more threads only wait for each other (measured:
# tests/train in 4 s instead of 14 s on two cores).
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile(
    "repeatable",
    deadline=None,
    max_examples=60,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "explore",
    deadline=None,
    max_examples=2000,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an S3 server in a process of its own; each test takes buckets of its own there."""
    from boltzmann.store.server import start_moto

    with start_moto(tmp_path_factory.mktemp("s3") / "moto.log") as server:
        yield server.url

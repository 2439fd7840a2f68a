"""How much memory a stranger's bytes can take: receiving and opening one delta, with all shares."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from reference import HashKeys, verify_hash

from boltzmann.protocol.arrival import Arrived, arrive
from boltzmann.protocol.codec import Codec
from boltzmann.protocol.wire import Expected, Kind, Opened, open_object, seal

VALUES = 1 << 20
SHARES = (8, 4096)
SLICE_BYTES = 4 * (VALUES + SHARES[0] * SHARES[1])  # as float32
OVERHEAD = 1 << 16


@pytest.mark.parametrize(
    ("codec", "arrived", "opened"), [(Codec.BF16, 0.9, 1.6), (Codec.FP32, 1.3, 2.0)]
)
@pytest.mark.parametrize("opening", [False, True], ids=["arrived", "opened"])
def test_a_read_object_takes_no_more_than_two_slices(
    codec: Codec, arrived: float, opened: float, opening: bool, tmp_path: Path
) -> None:
    expected = Expected(
        *(Kind.DELTA, "run-1", "5Hotkey", 7, bytes(32), VALUES, codec, 100.0), shares=SHARES
    )
    path = tmp_path / "delta"
    body = np.ones(VALUES + SHARES[0] * SHARES[1], np.float32)
    body[VALUES:] /= SHARES[0]  # so that they add up
    meeting = (np.arange(SHARES[1]), np.arange(SHARES[1]))
    path.write_bytes(seal(expected, 9, codec.encode(body), HashKeys("5Hotkey").sign))
    tracemalloc.start()
    try:
        data = path.read_bytes()
        if opening:
            found: object = open_object(data, expected, verify_hash)
        else:
            found = arrive(data, expected, meeting, verify_hash)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(found, Opened if opening else Arrived)
    limit = opened if opening else arrived  # what arrives is never there as a whole
    assert SLICE_BYTES * codec.width / 4 < peak < limit * SLICE_BYTES + OVERHEAD

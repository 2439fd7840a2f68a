"""How much memory a stranger's bytes can take: checking and opening one object, with all shares."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from reference import HashKeys, verify_hash

from boltzmann.protocol.codec import Codec
from boltzmann.protocol.wire import Checked, Expected, Kind, Opened, check_object, open_object, seal

VALUES = 1 << 20
SHARES = (8, 4096)
SLICE_BYTES = 4 * (VALUES + SHARES[0] * SHARES[1])  # as float32
OVERHEAD = 1 << 16


@pytest.mark.parametrize(
    ("codec", "checked", "opened"), [(Codec.BF16, 0.7, 1.6), (Codec.FP32, 1.2, 2.0)]
)
@pytest.mark.parametrize("opening", [False, True], ids=["checked", "opened"])
def test_a_read_object_takes_no_more_than_two_slices(
    codec: Codec, checked: float, opened: float, opening: bool, tmp_path: Path
) -> None:
    expected = Expected(
        *(Kind.DELTA, "run-1", "5Hotkey", 7, bytes(32), VALUES, codec, 100.0), shares=SHARES
    )
    path = tmp_path / "delta"
    body = np.ones(VALUES + SHARES[0] * SHARES[1], np.float32)
    path.write_bytes(seal(expected, 9, codec.encode(body), HashKeys("5Hotkey").sign))
    tracemalloc.start()
    try:
        found = (open_object if opening else check_object)(path.read_bytes(), expected, verify_hash)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(found, Opened if opening else Checked)
    limit = opened if opening else checked  # what is checked is never there as a whole
    assert SLICE_BYTES * codec.width / 4 < peak < limit * SLICE_BYTES + OVERHEAD

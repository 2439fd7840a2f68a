"""A delta as it arrives: what is checked of a stranger's bytes before any value is believed."""

from __future__ import annotations

from dataclasses import dataclass

from boltzmann.protocol.aggregate import BLOCK, norm_of_blocks
from boltzmann.protocol.points import Indices
from boltzmann.protocol.rejection import Rejection
from boltzmann.protocol.scoring import add_up
from boltzmann.protocol.wire import Checked, Expected, VerifySignature, check_object


@dataclass(frozen=True)
class Arrived:
    """A delta that passed; `norm`: its slice's length."""

    checked: Checked
    norm: float


def arrive(
    data: bytes, known: Expected, meeting: tuple[Indices, Indices], verify: VerifySignature
) -> Arrived | Rejection:
    """Check an object of kind delta, and that its shares add up to it.

    `meeting`: where points and slice meet, as `Points.meet` has it. Beside `data` it takes the
    shares as float32, and of the slice what the points meet and a block at a time.
    """
    checked = check_object(data, known, verify)
    if isinstance(checked, Rejection):
        return checked
    on_points, on_slice = meeting
    body = memoryview(data)[known.body_start : known.slice_end]
    shares = known.codec.decode(memoryview(data)[known.slice_end :]).reshape(known.shares)
    values = known.codec.take(body, on_slice)
    wrong = add_up(shares[:, on_points], values, known.codec.rounding)
    return wrong or Arrived(checked, norm_of_blocks(known.codec.pieces(body, BLOCK)))

"""Values as the SDK decodes them, made into this package's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from boltzmann.protocol.chainview import CommitSpace, Neuron

RAO = 1e9  # to one token


def neuron(row: Any) -> Neuron:
    """One row of the SDK's metagraph."""
    return Neuron(
        uid=row.uid,
        hotkey=row.hotkey,
        stake=row.total_stake.rao / RAO,
        permit=row.validator_permit,
        registered_at=row.block_at_registration,
        last_update=row.last_update,
        incentive=row.incentive,
        dividends=row.dividends,
        emission=row.emission.rao / RAO,
    )


def raw_fields(record: Any) -> tuple[bytes, ...]:
    """The bytes of a record's Raw fields, in order; hashes and timelocked fields are left out.

    A decoded field is {"Raw5": "0x…"}, and {"Raw0": []} when it is empty.
    """
    return tuple(
        bytes.fromhex(value.removeprefix("0x")) if isinstance(value, str) else bytes(value)
        for field in record["info"]["fields"]
        if isinstance(field, dict)
        for variant, value in field.items()
        if variant.startswith("Raw")
    )


def commit_space(limit: Any, usages: Iterable[tuple[Any, Any]], epoch: int) -> CommitSpace:
    """MaxSpace and the subnet's UsedSpaceOf; the pallet counts nothing of another epoch."""
    used = {
        str(hotkey): int(usage["used_space"])
        for hotkey, usage in usages
        if int(usage["last_epoch"]) == epoch
    }
    return CommitSpace(int(limit), used)

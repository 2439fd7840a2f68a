"""What became of an extrinsic, in the shapes the bittensor SDK gives for a real node's answer."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import bittensor as bt
from bittensor._generated.errors import ERRORS

from boltzmann.chain.embedded.ledger import Refused
from boltzmann.chain.embedded.storage import Included


def result(included: Included, block_hash: str) -> Any:
    """The `ExtrinsicResult` of an extrinsic in a block."""
    error = None
    if included.failure is not None:
        pallet, name = included.failure
        error = bt.ChainError(_docs().get((pallet, name)) or name, name)
    return bt.ExtrinsicResult(
        success=error is None,
        message="Success" if error is None else error.message,
        block_hash=block_hash,
        extrinsic_id=f"{included.block}-{included.position:04d}",
        fee=bt.Balance.from_rao(0),
        events=events(included),
        error=error,
    )


def refused(refusal: Refused) -> Any:
    """The `ExtrinsicResult` of an extrinsic that got into no block."""
    return bt.ExtrinsicResult(
        success=False, message=str(refusal), error=bt.ChainError(str(refusal), refusal.name)
    )


def events(included: Included) -> list[dict[str, Any]]:
    """The extrinsic's `System.Events` records, with System's own verdict last."""
    verdict: dict[str, Any] = {"module_id": "System", "event_id": "ExtrinsicSuccess"}
    attributes: dict[str, Any] = {"dispatch_info": {"pays_fee": "No"}}
    if included.failure is not None:
        verdict["event_id"] = "ExtrinsicFailed"
        attributes["dispatch_error"] = {"Module": ".".join(included.failure)}
    verdict["attributes"] = attributes
    return [
        {"phase": "ApplyExtrinsic", "extrinsic_idx": included.position, "event": event}
        for event in (*included.events, verdict)
    ]


def decoded(included: Included) -> dict[str, Any]:
    """The extrinsic as `get_block` lists it."""
    body = json.loads(included.body)
    call = body["call"]
    return {
        "extrinsic_hash": included.hash,
        "address": body["signer"],
        "nonce": body["nonce"],
        "signature": body["signature"],
        "call": {
            "call_module": call["module"],
            "call_function": call["function"],
            "call_args": [{"name": name, "value": value} for name, value in call["params"].items()],
        },
    }


@cache
def _docs() -> dict[tuple[str, str], str]:
    """The runtime's own sentence for each (pallet, error name)."""
    return {(info.pallet, info.name): info.docs for info in ERRORS.values()}

"""The websocket node's encodings against what was recorded of a real subtensor node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from rpc_codec import BadEncoding, Codec, Opened
from rpc_kit import require_metadata
from rpc_metadata import golden, runtime_metadata


@pytest.fixture(scope="module")
def codec() -> Iterator[Codec]:
    require_metadata()
    yield Codec(runtime_metadata())


def raw(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def test_storage_keys(codec: Codec) -> None:
    vectors = golden()["storage_keys"]
    assert len(vectors) >= 10
    for vector in vectors:
        key = raw(vector["key_hex"])
        item = codec.item(key)
        assert item is not None
        assert (item.pallet, item.name) == (vector["pallet"], vector["storage_function"])
        assert codec.key(item, vector["params"]) == key
        assert codec.params(item, key) == vector["params"]


def test_storage_values(codec: Codec) -> None:
    vectors = [one for one in golden()["storage_values"] if one["raw_hex"] is not None]
    assert len(vectors) >= 4
    for vector in vectors:
        item = codec.item(raw(vector["key_hex"]))
        assert item is not None
        assert codec.value(item, vector["decoded"]) == raw(vector["raw_hex"])


def test_a_runtime_apis_answer(codec: Codec) -> None:
    (vector,) = (one for one in golden()["runtime_calls"] if one["method"] == "get_neurons_lite")
    api, method = codec.api_method("NeuronInfoRuntimeApi_get_neurons_lite") or ("", "")
    assert codec.arguments(api, method, raw(vector["encoded_params_hex"])) == vector["params"]
    assert codec.answer(api, method, vector["decoded"]) == raw(vector["raw_hex"])


def test_signed_payloads(codec: Codec) -> None:
    genesis = raw(golden()["network"]["genesis_hash"])
    vectors = golden()["signature_payloads"]
    assert {vector["era"] == "00" for vector in vectors} == {True, False}
    for vector in vectors:
        opened = _opened(vector)
        birth = raw(vector.get("era_birth_block_hash") or golden()["network"]["genesis_hash"])
        assert codec.payload(opened, genesis, birth) == raw(vector["payload_hex"])


def test_extrinsics_taken_apart_and_put_together(codec: Codec) -> None:
    vectors = golden()["extrinsics"]
    for vector in vectors:
        data = raw(vector["extrinsic_hex"])
        opened = codec.open(data)
        assert opened.call == raw(vector["call_data_hex"])
        assert (opened.signer, opened.nonce) == (vector["address"], vector["nonce"])
        assert opened.signature == raw(vector["signature_hex"])
        assert codec.signed(opened) == data


def test_the_birth_of_an_era(codec: Codec) -> None:
    (mortal,) = (one for one in golden()["extrinsics"] if one["era"] != "00")
    opened = codec.open(raw(mortal["extrinsic_hex"]))
    period, current = mortal["era"]["period"], mortal["era"]["current"]
    assert opened.birth(current) == opened.birth(current + period - 1) == current
    assert opened.birth(current + period) == current + period


@pytest.mark.parametrize("cut", [0, 1, 3, 60, -1])
def test_bytes_that_are_no_extrinsic(codec: Codec, cut: int) -> None:
    whole = raw(golden()["extrinsics"][0]["extrinsic_hex"])
    with pytest.raises(BadEncoding):
        codec.open(whole[:cut])


def _opened(vector: dict[str, Any]) -> Opened:
    mortal = vector["era"] != "00"
    return Opened(
        signer="",
        signature=b"",
        crypto_type=1,
        period=vector["era"]["period"] if mortal else None,
        phase=vector["era"]["current"] % vector["era"]["period"] if mortal else 0,
        nonce=vector["nonce"],
        tip=vector["tip"],
        checks_metadata=False,
        call=raw(vector["call_data_hex"]),
        module="",
        function="",
        params={},
    )

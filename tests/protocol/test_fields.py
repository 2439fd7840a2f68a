"""Fields of a peer's document: one type, one spelling, a bound, and every other value refused."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tampering import (
    JSON,
    LARGEST,
    NAMES,
    NO_COUNT,
    NO_DIGEST,
    NO_NAME,
    NO_NUMBER,
    NO_SIGNATURE,
    SIGNATURE,
    A,
)

from boltzmann.protocol.fields import Fields, Malformed, is_name, real, sorted_unique

GOOD: dict[str, Any] = {
    "name": "text",
    "word": "text",
    "digest": A,
    "digest_or_none": A,
    "signature_or_none": SIGNATURE,
    "count": 1,
    "flag": True,
    "real": "inf",
    "take": "text",
}
READERS = tuple(GOOD)


def read(reader: str, value: object) -> Any:
    """What a reader makes of the value of field `x`."""
    return getattr(Fields({"x": value}), reader)("x")


def refused(reader: str, value: object) -> bool:
    try:
        read(reader, value)
    except Malformed as error:
        assert str(error).startswith("x ")
        assert str(error).isprintable()
        return True
    return False


@pytest.mark.parametrize("value", NO_NAME, ids=ascii)
def test_what_is_no_name_is_refused(value: object) -> None:
    assert refused("name", value)
    assert refused("word", value) == (value != "")


@pytest.mark.parametrize("value", NO_DIGEST, ids=ascii)
def test_what_is_no_digest_is_refused(value: object) -> None:
    assert refused("digest", value)
    assert refused("digest_or_none", value)


@pytest.mark.parametrize("value", NO_SIGNATURE, ids=ascii)
def test_what_is_no_signature_is_refused(value: object) -> None:
    assert refused("signature_or_none", value)


@pytest.mark.parametrize("value", NO_COUNT, ids=ascii)
def test_what_is_no_count_is_refused(value: object) -> None:
    assert refused("count", value)


@pytest.mark.parametrize("value", NO_NUMBER, ids=ascii)
def test_what_is_no_number_or_another_spelling_of_one_is_refused(value: object) -> None:
    assert refused("real", value)


@pytest.mark.parametrize("value", [0, 1, None, "true", "", [], {}, [True], 1.0])
def test_what_is_no_flag_is_refused(value: object) -> None:
    assert refused("flag", value)


@pytest.mark.parametrize("value", [0.0, 1.0, 1.5, math.nan, math.inf, b"5Alice", b"", ("a",)])
def test_a_python_value_that_json_has_not_is_refused(value: object) -> None:
    """`json.loads` yields floats; `canonical` refuses them earlier, and so do the fields."""
    typed = [reader for reader in READERS if reader != "take"]
    assert [reader for reader in typed if not refused(reader, value)] == []


def test_the_edges_of_each_type_are_in_it() -> None:
    assert [read("count", number) for number in (0, LARGEST)] == [0, LARGEST]
    assert [read("flag", flag) for flag in (True, False)] == [True, False]
    assert [read("name", name) for name in (" ", "~", "5Alice")] == [" ", "~", "5Alice"]
    optional = ("word", "digest_or_none", "signature_or_none")
    assert [read(reader, "") for reader in optional] == ["", "", ""]
    assert read("signature_or_none", SIGNATURE) == SIGNATURE
    assert [read(reader, A) for reader in ("digest", "digest_or_none")] == [A, A]
    assert read("real", "inf") == math.inf
    assert read("real", "-inf") == -math.inf
    assert read("real", "0x0.0000000000001p-1022") == 5e-324


@given(number=st.floats(allow_nan=False))
def test_a_number_is_read_from_its_one_spelling(number: float) -> None:
    found = read("real", number.hex())
    assert (found, math.copysign(1, found)) == (number, math.copysign(1, number))
    assert real("y", number.hex()) == number
    for other in (number.hex().upper(), number.hex() + " ", "+" + number.hex(), repr(number)):
        assert refused("real", other) == (other != number.hex())


@given(text=st.text(max_size=30) | st.from_regex(r"-?0x[01]\.[0-9a-f]{13}p[+-][0-9]{1,4}"))
def test_text_is_a_number_only_if_it_spells_itself(text: str) -> None:
    if not refused("real", text):
        assert read("real", text).hex() == text


@given(text=st.text(st.characters(codec=None), max_size=8))
def test_a_name_is_printable_ascii(text: str) -> None:
    printable = text != "" and all(32 <= ord(character) <= 126 for character in text)
    assert is_name(text) == printable
    assert refused("name", text) == (not printable)


@given(value=JSON | st.floats() | st.binary(max_size=4), reader=st.sampled_from(READERS))
def test_whatever_the_value_only_malformed_is_raised(value: object, reader: str) -> None:
    if not refused(reader, value):
        assert type(read(reader, value)) is (float if reader == "real" else type(value))


@pytest.mark.parametrize("reader", READERS)
def test_a_field_is_there_once(reader: str) -> None:
    fields = Fields({"x": GOOD[reader]})
    with pytest.raises(Malformed, match="y is missing"):
        getattr(fields, reader)("y")
    getattr(fields, reader)("x")
    with pytest.raises(Malformed, match="x is missing"):
        getattr(fields, reader)("x")


def test_taking_leaves_the_object_as_it_was() -> None:
    values = {"x": 1}
    assert Fields(values).count("x") == 1
    assert values == {"x": 1}


@given(
    values=st.dictionaries(NAMES, st.integers(0, 9), max_size=4),
    asked=st.sets(NAMES, max_size=3),
)
def test_what_nobody_asked_for_is_refused(values: dict[str, int], asked: set[str]) -> None:
    fields = Fields(values)
    for name in sorted(asked & set(values)):
        fields.count(name)
    if set(values) <= asked:
        fields.end()
    else:
        with pytest.raises(Malformed, match="unknown fields"):
            fields.end()


@pytest.mark.parametrize("value", [None, [], [["x", 1]], "x", 3, True, ("x",)])
def test_only_an_object_has_fields(value: object) -> None:
    with pytest.raises(Malformed, match="not an object"):
        Fields(value)


@pytest.mark.parametrize(
    "value",
    [
        *(None, "", "ab", 2, {}, {"a": "b"}, (), ("ab",), [("a", "b")], ["ab"], [{"a": 1, "b": 2}]),
        *([[]], [["a"]], [["a", "b", "c"]], [["a", "b"], ["a"]], [["a", "b"], None], [None]),
    ],
    ids=repr,
)
def test_only_lists_of_the_width_are_rows(value: object) -> None:
    with pytest.raises(Malformed, match="x is not a list of rows of 2"):
        Fields({"x": value}).rows("x", 2)


def test_rows_hold_anything_and_may_be_none() -> None:
    assert Fields({"x": []}).rows("x", 2) == []
    assert Fields({"x": [["a", None], [[], {}]]}).rows("x", 2) == [["a", None], [[], {}]]


@given(hotkeys=st.lists(NAMES, max_size=5))
def test_hotkeys_increase_strictly(hotkeys: list[str]) -> None:
    if all(one < other for one, other in pairwise(hotkeys)):
        sorted_unique("x", hotkeys)
    else:
        with pytest.raises(Malformed, match="x is not in increasing order"):
            sorted_unique("x", hotkeys)


@pytest.mark.parametrize("letter", ["a", "\n", "\ud800"], ids=ascii)
def test_what_is_said_of_an_unknown_field_is_short(letter: str) -> None:
    """A refusal is counted, shown and logged: a peer must not choose how long it is."""
    with pytest.raises(Malformed, match="unknown fields") as caught:
        Fields({letter * 20_000: 1}).end()
    length = len(str(caught.value))
    assert length < 1000
    assert str(caught.value).isprintable()

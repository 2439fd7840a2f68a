"""Values of event fields as JSON can hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TypeAlias

import numpy as np

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def jsonable(value: object) -> Json:
    """`value` with bytes as hex, an enum as its value, an array, sequence or set as a list, a
    dataclass as an object, NaN and infinities as the strings "nan", "inf", "-inf", and anything
    JSON does not know as its `str`.
    """
    if isinstance(value, Enum):
        return jsonable(value.value)
    if isinstance(value, (np.generic, np.ndarray)):
        return jsonable(value.tolist())
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    return _composite(value)


def _composite(value: object) -> Json:
    if isinstance(value, Mapping):
        return {str(jsonable(key)): jsonable(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Set):
        return [jsonable(item) for item in sorted(value, key=str)]
    if isinstance(value, Sequence):
        return [jsonable(item) for item in value]
    return str(value)

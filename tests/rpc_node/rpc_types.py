"""Values made to fit a runtime's types: what a caller leaves out is filled in with zeros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import bittensor_core

_NOBODY = str(bittensor_core.ss58_encode(bytes(32), 42))
_PREFIX = "scale_info::"


class TypeRegistry:
    """The portable registry of one runtime, as `Runtime.registry_json` lists it."""

    def __init__(self, types: Sequence[Mapping[str, Any]]) -> None:
        self._types = {int(entry["id"]): entry["type"] for entry in types}

    def fit(self, type_string: str, value: Any) -> Any:
        """`value` with every missing part of `scale_info::N` as zero, empty or absent.

        A record is a dict, and keys that the type does not have are left out; None is the zero of
        the type. Anything else passes as it is.
        """
        return self._fit(int(type_string.removeprefix(_PREFIX)), value)

    def _fit(self, type_id: int, value: Any) -> Any:
        entry = self._types[type_id]
        ((kind, definition),) = entry["def"].items()
        path = entry.get("path", [])
        if path[-1:] == ["AccountId32"]:
            return _NOBODY if value is None else value
        if kind == "variant":
            return self._fit_variant(path, definition["variants"], value)
        if kind == "composite":
            if path[-1:] == ["BTreeMap"]:
                return {} if value is None else value
            return self._fit_composite(definition.get("fields", []), value)
        if kind == "sequence":
            return self._fit_items(definition["type"], value)
        if kind == "array":
            zero = [self._fit(definition["type"], None)] * definition["len"]
            return zero if value is None else value
        if kind == "tuple":
            parts = [None] * len(definition) if value is None else value
            return [self._fit(part, one) for part, one in zip(definition, parts, strict=True)]
        if kind == "compact":
            return self._fit(definition["type"], value)
        if kind == "primitive":
            return _zero(definition) if value is None else value
        raise ValueError(f"no value can be made to fit type {type_id}, a {kind}")

    def _fit_variant(self, path: Sequence[str], variants: Sequence[Any], value: Any) -> Any:
        if path[-1:] == ["Option"]:
            if value is None:
                return None
            (some,) = (one for one in variants if one["name"] == "Some")
            return self._fit(some["fields"][0]["type"], value)
        if value is not None:
            return value
        first = min(variants, key=lambda one: one["index"])
        fields = first.get("fields", [])
        return {first["name"]: self._fit_composite(fields, None)} if fields else first["name"]

    def _fit_composite(self, fields: Sequence[Any], value: Any) -> Any:
        if fields and "name" in fields[0]:
            if value is not None and not isinstance(value, Mapping):
                return value
            known = value or {}
            return {one["name"]: self._fit(one["type"], known.get(one["name"])) for one in fields}
        if len(fields) == 1:
            return self._fit(fields[0]["type"], value)
        return value if value is not None else [self._fit(one["type"], None) for one in fields]

    def _fit_items(self, element: int, value: Any) -> Any:
        if value is None:
            return []
        if isinstance(value, (bytes, str)):
            return value
        return [self._fit(element, one) for one in value]


def _zero(primitive: str) -> Any:
    if primitive == "bool":
        return False
    return "" if primitive in ("str", "char") else 0

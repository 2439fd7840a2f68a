"""What a setting of a run means: said once, beside the setting, for whoever explains it."""

from __future__ import annotations


def meaning(text: str, unit: str = "") -> dict[str, str]:
    """The metadata of a config's field. `unit`: of its number, "" where it has none."""
    return {"meaning": text, "unit": unit}

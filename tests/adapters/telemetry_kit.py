"""What the tests of the telemetry sinks share: the event of one window."""

from __future__ import annotations

from typing import Any

WINDOW: dict[str, Any] = {
    "window": 12,
    "root": b"\xab\xcd\xef\x01\x02",
    "loss": 2.43219,
    "tokens": 24_576,
    "seconds": {"train": 3.2, "upload": 0.125},
    "bytes_up": 1_300_000,
    "bytes_down": 950,
    "accepted": ["5Fa", "5Fb"],
}

"""Telemetry sinks on real files and terminals, and what one broken sink does to the others."""

from __future__ import annotations

import io
import json
import math
import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from telemetry_kit import WINDOW

from boltzmann.errors import ConfigError
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.telemetry import events
from boltzmann.telemetry.console import Console, Show
from boltzmann.telemetry.fanout import Fanout
from boltzmann.telemetry.jsonl import JsonLines


def read_lines(path: Path) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class Point:
    x: int
    hash: bytes


class TestJsonLines:
    def test_every_kind_of_value_becomes_json(self, tmp_path: Path) -> None:
        log = JsonLines(tmp_path / "new" / "folder" / "log.jsonl")
        log.event(
            "window",
            numbers=[1, 2.5, True, None, np.float32(0.5), np.int64(7), np.bool_(True)],
            odd=[math.nan, math.inf, -math.inf, np.float32("nan")],
            array=np.array([[1.0, np.nan]]),
            things=[b"\x00\xff", Path("a/b"), Colour.RED, Reason.GATE, "ρ\n\ud800"],
            parts={"tuple": (1, 2), "set": {"b", "a"}, 3: Point(1, b"\x01")},
            refusal=Rejection(Reason.SLOW, "8 s"),
        )
        log.close()
        (line,) = read_lines(tmp_path / "new" / "folder" / "log.jsonl")
        assert line.pop("t") > 1_700_000_000
        assert line == {
            "event": "window",
            "numbers": [1, 2.5, True, None, 0.5, 7, True],
            "odd": ["nan", "inf", "-inf", "nan"],
            "array": [[1.0, "nan"]],
            "things": ["00ff", "a/b", "red", "gate", "ρ\n\ud800"],
            "parts": {"tuple": [1, 2], "set": ["a", "b"], "3": {"x": 1, "hash": "01"}},
            "refusal": {"reason": "slow", "detail": "8 s"},
        }

    def test_a_line_is_in_the_file_before_the_log_is_closed(self, tmp_path: Path) -> None:
        log = JsonLines(tmp_path / "log.jsonl")
        for number in range(3):
            log.event("window", window=number)
            assert [line["window"] for line in read_lines(tmp_path / "log.jsonl")][-1] == number
        log.close()

    def test_a_restarted_node_appends_even_after_a_torn_line(self, tmp_path: Path) -> None:
        path = tmp_path / "log.jsonl"
        path.write_text('{"t": 1, "event": "started"}\n{"t": 2, "ev')
        log = JsonLines(path)
        log.event("window", window=1)
        log.event("window", window=2)
        log.close()
        first, torn, *rest = path.read_text().splitlines()
        assert (json.loads(first)["event"], torn) == ("started", '{"t": 2, "ev')
        assert [json.loads(line)["window"] for line in rest] == [1, 2]

    def test_a_full_disk_drops_lines_and_later_lines_are_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "log.jsonl"
        log = JsonLines(path)
        log.event("window", window=0)
        with largest_file(path.stat().st_size + 10):
            log.event("window", window=1)
            log.event("window", window=2)
        assert log.dropped == 2
        log.event("window", window=3)
        log.close()
        first, torn, last = path.read_text().splitlines()
        assert [json.loads(line)["window"] for line in (first, last)] == [0, 3]
        assert len(torn) == 10

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
    def test_a_device_without_space_never_raises(self) -> None:
        log = JsonLines(Path("/dev/full"))
        for _ in range(5):
            log.event("window")
        assert log.dropped == 5
        log.close()

    def test_events_after_close_are_dropped(self, tmp_path: Path) -> None:
        log = JsonLines(tmp_path / "log.jsonl")
        log.close()
        log.close()
        log.event("window")
        assert log.dropped == 1

    def test_threads_do_not_mix_their_lines(self, tmp_path: Path) -> None:
        log = JsonLines(tmp_path / "log.jsonl")
        count = 200

        def write(number: int) -> None:
            for _ in range(count):
                log.event("window", text=str(number) * 500)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        log.close()
        texts = [line["text"] for line in read_lines(tmp_path / "log.jsonl")]
        assert sorted(texts) == sorted(
            str(number) * 500 for number in range(4) for _ in range(count)
        )

    def test_a_place_that_cannot_be_written_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        for path in (tmp_path, tmp_path / "file" / "log.jsonl"):
            with pytest.raises(ConfigError, match="name another place"):
                JsonLines(path)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestConsole:
    def test_a_window_is_one_line_with_units_in_fixed_columns(self) -> None:
        stream = io.StringIO()
        console = Console(stream, "M3")
        console.event("window", **WINDOW)
        console.event("window", window=13, loss=math.nan, tokens=1, seconds={"train": 100.0})
        first, second = stream.getvalue().splitlines()
        assert first[9:] == (
            "M3   window        12  loss   2.4322      24,576 tokens      7,680 tokens/s  "
            "up   1.3 MB  down    950 B  accepted   2  root abcdef01  "
            "train   3.20 s  upload   0.12 s"
        )
        for label in ("loss", "tokens", "up", "down", "accepted", "root", "train"):
            assert first.index(label) == second.index(label)
        assert "nan" in second and "root -" in second

    def test_what_training_took_of_the_machine_is_shown_where_it_is_known(self) -> None:
        stream = io.StringIO()
        console = Console(stream, "M3")
        console.event("window", **WINDOW, mfu=0.4567, memory_bytes=35_200_000_000)
        assert "  MFU  45.7%  memory  35.2 GB  " in stream.getvalue()

    def test_why_a_validator_approved_no_update_ends_the_line(self) -> None:
        stream = io.StringIO()
        Console(stream, "V0").event("window", **WINDOW, obstacle="no leader proposed in time")
        assert stream.getvalue().endswith("no update: no leader proposed in time\n")

    def test_notable_events_are_one_line_each_and_others_none(self) -> None:
        stream = io.StringIO()
        console = Console(stream, "V0")
        console.event("peer", window=1, hotkey="5Fa", score=0.5)
        console.event("other", x=1)
        console.event(
            "rejected", window=4, hotkey="5FabcdefXYZ", uid=3, reason=Reason.GATE, detail="ρ .02"
        )
        console.event("weights", block=1234, weights={0: 0.25, 7: 0.75, 3: 0.0})
        console.event("waiting", what="block 9; the chain is at 7", seconds=12.4)
        console.event("error", what="W&B", detail="gone")
        console.event("stopped", reason="asked to")
        assert [line[14:] for line in stream.getvalue().splitlines()] == [
            "rejected       4  uid 3 5Fabcdef: gate (ρ .02)",
            "weights  set at block 1,234  uid 7: 0.750  uid 0: 0.250  uid 3: 0.000",
            "waiting  for block 9; the chain is at 7, 12 s so far",
            "error    W&B: gone",
            "stopped  reason asked to",
        ]

    def test_every_event_is_shown_on_request(self) -> None:
        stream = io.StringIO()
        console = Console(stream, "V0", Show.ALL)
        console.event("stage", stage="audit", window=4)
        console.event("ballot", window=4, leader="5F", objection="")
        console.event("error", what="W&B", detail="gone")
        assert [line[14:] for line in stream.getvalue().splitlines()] == [
            "stage    stage audit  window 4",
            "ballot",
            "error    W&B: gone",
        ]

    def test_every_event_may_be_a_line_of_json(self) -> None:
        stream = io.StringIO()
        console = Console(stream, "V0", Show.JSON)
        console.event("rejected", window=4, reason=Reason.GATE)
        console.event("window", window=5, loss=math.nan)
        first, second = (json.loads(line) for line in stream.getvalue().splitlines())
        assert first == {"node": "V0", "event": "rejected", "window": 4, "reason": "gate"}
        assert second["loss"] == "nan"

    def test_many_weights_stay_one_short_line(self) -> None:
        stream = io.StringIO()
        Console(stream, "V0").event("weights", block=1, weights=dict.fromkeys(range(256), 0.1))
        (line,) = stream.getvalue().splitlines()
        assert line.endswith("and 244 more") and len(line) < 300

    def test_a_peers_text_cannot_command_the_terminal(self) -> None:
        stream = io.StringIO()
        detail = "\x1b]0;owned\x07\r\nfake line\u202e"
        Console(stream, "V0").event("rejected", window=1, uid=1, hotkey="5F", detail=detail)
        (line,) = stream.getvalue().splitlines()
        assert line.isprintable() and "fake line" in line

    def test_colours_are_for_terminals(self) -> None:
        leader, follower = os.openpty()
        with open(follower, "w") as terminal:  # noqa: PTH123 (a descriptor, not a path)
            Console(terminal, "M3").event("error", what="chain", detail="gone")
        shown = os.read(leader, 4096).decode()
        os.close(leader)
        stream = io.StringIO()
        Console(stream, "M3").event("error", what="chain", detail="gone")
        assert "\x1b[31m" in shown and "chain: gone" in shown
        assert "\x1b" not in stream.getvalue()

    def test_an_ascii_stream_gets_what_it_can_show(self) -> None:
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding="ascii")
        Console(stream, "M3").event("error", what="gate", detail="ρ is low")
        assert raw.getvalue().endswith(b"gate: ? is low\n")

    def test_a_lost_stream_never_raises(self, tmp_path: Path) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        pipe = os.fdopen(writer, "w")
        closed = (tmp_path / "out").open("w")
        closed.close()
        for stream in (pipe, closed):
            console = Console(stream, "M3")
            console.event("window", **WINDOW)
            console.event("window", **WINDOW)
            console.close()
        with pytest.raises(BrokenPipeError):
            pipe.close()  # its buffer still holds the line: the pipe was truly broken


class Broken:
    """Somebody's sink with a fault."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.events = 0
        self.closed = 0

    def event(self, name: str, **fields: object) -> None:
        self.events += 1
        raise self.error

    def close(self) -> None:
        self.closed += 1
        raise self.error


class TestFanout:
    def test_every_sink_gets_every_event(self, tmp_path: Path) -> None:
        stream = io.StringIO()
        both = Fanout(Console(stream, "M3"), JsonLines(tmp_path / "log.jsonl"))
        both.event("error", what="chain", detail="gone")
        both.event("window", **WINDOW)
        both.close()
        assert [line["event"] for line in read_lines(tmp_path / "log.jsonl")] == ["error", "window"]
        assert len(stream.getvalue().splitlines()) == 2

    def test_a_sink_that_raises_is_detached_and_reported_once(self, tmp_path: Path) -> None:
        broken = [Broken(KeyError("loss")), Broken(OSError("gone"))]
        log = JsonLines(tmp_path / "log.jsonl")
        fanout = Fanout(broken[0], log, broken[1])
        fanout.event("window", window=1)
        fanout.event("window", window=2)
        fanout.close()
        lines = read_lines(tmp_path / "log.jsonl")
        assert [line.get("window") for line in lines if line["event"] == "window"] == [1, 2]
        details = [line["detail"] for line in lines if line["event"] == events.ERROR]
        assert len(details) == 2
        assert any("KeyError" in text for text in details)
        assert any("OSError: gone" in text for text in details)
        assert [sink.events for sink in broken] == [1, 2]  # the second heard of the first
        assert [sink.closed for sink in broken] == [1, 1]

    def test_one_that_cannot_close_does_not_keep_others_open(self, tmp_path: Path) -> None:
        log = JsonLines(tmp_path / "log.jsonl")
        Fanout(Broken(RuntimeError("no")), log).close()
        log.event("window")
        assert log.dropped == 1

    def test_without_sinks_events_go_nowhere(self) -> None:
        fanout = Fanout()
        fanout.event("window", **WINDOW)
        fanout.close()

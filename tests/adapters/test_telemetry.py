"""Telemetry sinks on real files, terminals, processes and wandb's own run files."""

from __future__ import annotations

import io
import json
import math
import os
import resource
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from boltzmann.errors import ConfigError
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.telemetry import events
from boltzmann.telemetry.console import Console
from boltzmann.telemetry.fanout import Fanout
from boltzmann.telemetry.jsonl import JsonLines
from boltzmann.telemetry.metrics import Rows
from boltzmann.telemetry.wandb_sink import WandbSink

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


class TestRows:
    def test_events_of_a_window_are_one_row(self) -> None:
        rows = Rows()
        assert rows.add("peer", {"window": 3, "hotkey": "5Fa", "score": 0.5, "gate": None}) is None
        assert rows.add("rejected", {"window": 3, "reason": "gate"}) is None
        assert rows.add("rejected", {"window": 3, "reason": "gate"}) is None
        assert rows.add("weights", {"block": 99, "weights": {"1": 0.5}}) is None
        assert rows.add("waiting", {"what": "chain", "seconds": 3}) is None
        done = rows.add("peer", {"window": 4, "hotkey": "5Fa", "weight": 0.25})
        assert done == {"window": 3, "score/5Fa": 0.5, "rejects/gate": 2, "weights_block": 99}
        assert rows.rest() == {"window": 4, "weight/5Fa": 0.25}
        assert rows.rest() is None

    def test_throughput_is_as_given_or_tokens_over_training_seconds(self) -> None:
        for fields, expected in (
            ({"tokens": 10, "seconds": {"train": 4.0}}, 2.5),
            ({"tokens": 10, "seconds": {"train": 4.0}, "tokens_per_s": 7}, 7),
            ({"tokens": 10, "seconds": {"train": 0.0}}, None),
        ):
            rows = Rows()
            rows.add("window", {"window": 1, **fields})
            assert (rows.rest() or {}).get("tokens_per_s") == expected


class Heard:
    """Keeps the events it gets."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def event(self, name: str, **fields: object) -> None:
        self.events.append((name, fields))

    def close(self) -> None:
        pass


def sink(folder: Path, trouble: Heard, **options: Any) -> WandbSink:
    arguments: dict[str, Any] = {
        "group": "run-abc",
        "run_id": "abc-m3",
        "mode": "offline",
        "folder": folder,
        "config": {"lr": 0.5, "source": Path("a/b")},
        "trouble": trouble,
        "close_seconds": 120.0,
    }
    return WandbSink("boltzmann", "M3", **arguments | options)


def offline_records(path: Path) -> Iterator[Any]:
    """wandb's records of an offline run: a 7-byte file header, then a LevelDB log of protobufs."""
    from wandb.proto import wandb_internal_pb2

    data, block, offset, parts = path.read_bytes(), 32_768, 7, b""
    while offset < len(data):
        left = block - offset % block
        if left < 7:
            offset += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, offset)
        parts += data[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def history(items: Any) -> dict[str, Any]:
    named = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
    return {key: value for key, value in named.items() if not key.startswith("_")}


@contextmanager
def silent_server() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


class TestWandb:
    def test_an_offline_run_holds_every_metric(self, tmp_path: Path) -> None:
        trouble = Heard()
        wandb = sink(tmp_path, trouble)
        wandb.event("started", role="miner")
        wandb.event("window", **WINDOW, sample_rate=1.0, utilisation=0.4)
        wandb.event(
            "peer", window=12, hotkey="5Fa", uid=3, score=0.9, gate=0.999, moving=0.4, weight=1.0
        )
        wandb.event("rejected", window=12, hotkey="5Fb", uid=4, reason=Reason.GATE, detail="")
        wandb.event("window", window=13, loss=math.nan)
        wandb.close()
        assert trouble.events == []

        (path,) = (tmp_path / "wandb").glob("offline-run-*/run-abc-m3.wandb")
        records = list(offline_records(path))
        rows = [history(record.history.item) for record in records if record.HasField("history")]
        assert rows == [
            {
                "window": 12,
                "loss": 2.43219,
                "tokens": 24_576,
                "tokens_per_s": 7680.0,
                "sample_rate": 1.0,
                "utilisation": 0.4,
                "bytes_up": 1_300_000,
                "bytes_down": 950,
                "accepted": 2,
                "time/train": 3.2,
                "time/upload": 0.125,
                "score/5Fa": 0.9,
                "gate/5Fa": 0.999,
                "moving/5Fa": 0.4,
                "weight/5Fa": 1.0,
                "rejects/gate": 1,
            },
            {"window": 13, "loss": pytest.approx(math.nan, nan_ok=True)},
        ]
        (run,) = (record.run for record in records if record.HasField("run"))
        assert (run.run_id, run.display_name, run.run_group) == ("abc-m3", "M3", "run-abc")
        config = {item.key: json.loads(item.value_json) for item in run.config.update}
        assert (config["lr"], config["source"]) == (0.5, "a/b")
        steps = {record.metric.glob_name: record.metric for record in records}
        assert steps["*"].step_metric == "window"

    def test_a_refusal_is_one_error_event(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path / "home"))  # holds no key
        monkeypatch.delenv("WANDB_API_KEY", raising=False)
        monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        trouble = Heard()
        wandb = sink(tmp_path, trouble, mode="online")
        wandb.close()
        wandb.event("window", **WINDOW)
        wandb.close()
        ((name, fields),) = trouble.events
        assert name == events.ERROR
        assert "No API key" in str(fields["detail"])
        assert str(tmp_path / "wandb.log") in str(fields["detail"])
        assert wandb.dropped == 1

    def test_a_silent_server_neither_blocks_nor_keeps_the_node(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trouble = Heard()
        with silent_server() as address:
            monkeypatch.setenv("WANDB_BASE_URL", address)
            monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
            mine = psutil.Process()
            others = set(mine.children())
            wandb = sink(tmp_path, trouble, mode="online", close_seconds=0.5, queue_events=10)
            (process,) = set(mine.children()) - others
            for window in range(300):
                wandb.event("window", window=window, detail="x" * 1000)
            assert wandb.dropped > 0
            wandb.close()
        assert not process.is_running()
        ((name, fields),) = trouble.events
        assert name == events.ERROR
        assert "did not finish within 0.5 s" in str(fields["detail"])

    def test_a_process_that_dies_is_one_error_event(self, tmp_path: Path) -> None:
        trouble = Heard()
        mine = psutil.Process()
        others = set(mine.children())
        wandb = sink(tmp_path, trouble)
        (process,) = set(mine.children()) - others
        process.kill()
        for _ in range(3):
            wandb.event("window", **WINDOW)
        wandb.close()
        ((name, fields),) = trouble.events
        assert name == events.ERROR
        assert "gets no more events" in str(fields["detail"])

    def test_disabled_starts_nothing(self, tmp_path: Path) -> None:
        others = psutil.Process().children()
        wandb = sink(tmp_path, Heard(), mode="disabled")
        assert psutil.Process().children() == others
        wandb.event("window", **WINDOW)
        wandb.close()
        assert list(tmp_path.iterdir()) == []

    def test_a_wrong_mode_or_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="use online, offline, disabled"):
            sink(tmp_path, Heard(), mode="on")
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match="name another folder"):
            sink(tmp_path / "file", Heard())

"""The W&B sink: a window's row of metrics, wandb's own run files, servers and processes."""

from __future__ import annotations

import json
import math
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from telemetry_kit import WINDOW, Heard, sink

from boltzmann.errors import ConfigError
from boltzmann.protocol.rejection import Reason
from boltzmann.telemetry import events
from boltzmann.telemetry.metrics import Rows


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

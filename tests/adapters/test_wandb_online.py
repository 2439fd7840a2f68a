"""The W&B sink online: the real library against a server that keeps what it is sent."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from telemetry_kit import WINDOW, Heard, sink
from wandb_server import HELD, Request, WandbServer, wandb_server

from boltzmann.telemetry import events
from boltzmann.telemetry.wandb_sink import WandbSink

KEY = "planted-key-of-the-operator-" + "7" * 20
RUN = ("boltzmann", "abc-m3")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # no key in a .netrc there, and none saved
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB__FILE_STREAM_TRANSMIT_INTERVAL", "1")  # s; usually 15
    with wandb_server() as found:
        monkeypatch.setenv("WANDB_BASE_URL", found.url)
        yield found


def online(folder: Path, trouble: Heard, **options: Any) -> WandbSink:
    return sink(folder, trouble, mode="online", **options)


def windows(server: WandbServer) -> list[int]:
    return [row["window"] for row in server.rows(*RUN)]


def a_window(wandb: WandbSink, number: int) -> None:
    wandb.event("window", **{**WINDOW, "window": number})


def rows_of_stream(request: Request) -> bool:
    return request.path.endswith("/file_stream") and b"wandb-history" in request.body


def test_rows_arrive_while_the_node_runs(tmp_path: Path, server: WandbServer) -> None:
    trouble = Heard()
    wandb = online(tmp_path, trouble)
    a_window(wandb, 12)
    for hotkey, score, weight in (("5Fa", 0.9, 0.75), ("5Fb", -0.1, 0.0)):
        wandb.event(
            "peer", window=12, hotkey=hotkey, uid=3, score=score, gate=0.99, weight=weight, debt=0
        )
    wandb.event("window", window=13, loss=math.inf)
    wandb.event("window", window=14, loss=2.0)
    server.until(lambda: windows(server) == [12, 13], "rows of two windows")
    first, second = server.rows(*RUN)
    assert (first["loss"], first["tokens"], first["tokens_per_s"]) == (2.43219, 24_576, 7680)
    assert (first["score/5Fa"], first["weight/5Fa"], first["gate/5Fa"]) == (0.9, 0.75, 0.99)
    assert (first["score/5Fb"], first["weight/5Fb"]) == (-0.1, 0.0)
    assert second["loss"] == math.inf
    assert server.runs[RUN].over == []
    wandb.close()
    assert windows(server) == [12, 13, 14]
    assert server.runs[RUN].over == [0]
    assert (trouble.events, wandb.dropped) == ([], 0)


def test_a_run_is_named_after_the_node_and_grouped_by_the_network_run(
    tmp_path: Path, server: WandbServer
) -> None:
    for name, run_id in (("M3", "abc-m3"), ("V0", "abc-v0")):
        wandb = WandbSink(
            "the-project",
            name,
            group="run-abc",
            run_id=run_id,
            mode="online",
            folder=tmp_path / name,
            config={"netuid": 220},
            trouble=Heard(),
            close_seconds=120.0,
        )
        a_window(wandb, 1)
        wandb.close()
    facts = {key: run.facts for key, run in server.runs.items()}
    assert set(facts) == {("the-project", "abc-m3"), ("the-project", "abc-v0")}
    assert [fact["displayName"] for fact in facts.values()] == ["M3", "V0"]
    assert {fact["groupName"] for fact in facts.values()} == {"run-abc"}
    for fact in facts.values():
        config = json.loads(fact["config"])
        assert config["netuid"]["value"] == 220
        # Audits arrive after later windows' events, so everything is drawn against the window.
        metrics = config["_wandb"]["value"]["m"]
        assert [metric["1"] for metric in metrics if "1" in metric] == ["window"]


def test_a_second_start_goes_on_where_the_first_ended(tmp_path: Path, server: WandbServer) -> None:
    trouble = Heard()
    for number in (1, 3, 5):
        wandb = online(tmp_path, trouble)
        a_window(wandb, number)
        a_window(wandb, number + 1)
        before = dict(server.runs[RUN].history) if RUN in server.runs else {}
        wandb.close()
        held = server.runs[RUN].history
        assert {line: held[line] for line in before} == before, "a line was written over"
    assert list(server.runs) == [RUN], "one run, whatever starts"
    assert server.runs[RUN].looked_up == 2
    assert windows(server) == [1, 2, 3, 4, 5, 6]
    assert [row["_step"] for row in server.rows(*RUN)] == [0, 1, 2, 3, 4, 5]
    assert server.runs[RUN].facts["displayName"] == "M3"
    assert not [r for r in server.requests if r.method == "DELETE" or "elete" in r.operation]
    assert trouble.events == []


def test_a_run_whose_process_was_killed_goes_on(tmp_path: Path, server: WandbServer) -> None:
    trouble = Heard()
    mine = psutil.Process()
    others = set(mine.children())
    wandb = online(tmp_path, trouble)
    (process,) = set(mine.children()) - others
    for number in (1, 2, 3):
        a_window(wandb, number)
    server.until(lambda: windows(server) == [1, 2], "rows of two windows")
    process.kill()
    wandb.close()
    again = online(tmp_path, trouble)
    a_window(again, 4)
    again.close()
    assert [windows(server)[line] for line in (0, 1, -1)] == [1, 2, 4]
    assert list(server.runs) == [RUN]


@pytest.mark.parametrize("status", [500, 429, HELD])
def test_rows_wait_for_a_server_in_trouble(
    tmp_path: Path, server: WandbServer, status: int
) -> None:
    trouble = Heard()
    server.fail(lambda request: status if rows_of_stream(request) else 0)
    wandb = online(tmp_path, trouble)
    a_window(wandb, 1)
    a_window(wandb, 2)
    server.until(lambda: server.refused, "refused row")
    a_window(wandb, 3)
    assert windows(server) == []
    server.heal()
    server.until(lambda: windows(server) == [1, 2], "rows after all")
    wandb.close()
    assert windows(server) == [1, 2, 3]
    assert (trouble.events, wandb.dropped) == ([], 0)


@pytest.mark.parametrize("status", [500, HELD])
def test_a_run_begins_when_a_server_in_trouble_answers(
    tmp_path: Path, server: WandbServer, status: int
) -> None:
    trouble = Heard()
    server.fail(lambda request: status)
    wandb = online(tmp_path, trouble)
    a_window(wandb, 1)
    server.until(lambda: server.refused, "refused beginning")
    assert server.runs == {}
    server.heal()
    wandb.close()
    assert windows(server) == [1]
    assert (trouble.events, wandb.dropped) == ([], 0)


@pytest.mark.parametrize("status", [500, HELD])
def test_a_server_that_stays_in_trouble_is_one_event(
    tmp_path: Path, server: WandbServer, status: int
) -> None:
    trouble = Heard()
    server.fail(lambda request: status if rows_of_stream(request) else 0)
    wandb = online(tmp_path, trouble, close_seconds=3.0)
    a_window(wandb, 1)
    a_window(wandb, 2)
    server.until(lambda: server.refused, "refused row")
    wandb.close()
    ((name, fields),) = trouble.events
    assert name == events.ERROR
    assert "`wandb sync`" in str(fields["detail"])
    assert KEY not in str(fields)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_server_that_refuses_for_good_is_one_event(
    tmp_path: Path, server: WandbServer, status: int
) -> None:
    trouble = Heard()
    server.fail(lambda request: status if request.path.endswith("/file_stream") else 0)
    wandb = online(tmp_path, trouble)
    a_window(wandb, 1)
    a_window(wandb, 2)
    server.until(lambda: server.refused, "refused row")
    a_window(wandb, 3)
    wandb.close()
    ((name, fields),) = trouble.events
    assert name == events.ERROR
    assert "refuses this run's rows for good" in str(fields["detail"])
    assert "`wandb sync`" in str(fields["detail"])
    assert KEY not in str(fields)


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_is_one_event(
    tmp_path: Path, server: WandbServer, status: int
) -> None:
    trouble = Heard()
    server.fail(lambda request: status)
    wandb = online(tmp_path, trouble)
    wandb.close()
    ((name, fields),) = trouble.events
    assert name == events.ERROR
    assert str(status) in str(fields["detail"])
    assert KEY not in str(fields)


def test_the_key_is_in_one_header_and_nowhere_else(tmp_path: Path, server: WandbServer) -> None:
    wandb = online(tmp_path, Heard())
    a_window(wandb, 1)
    wandb.close()
    basic = f"Basic {base64.b64encode(f'api:{KEY}'.encode()).decode()}"
    spelled = (
        KEY,
        base64.b64encode(KEY.encode()).decode().rstrip("="),
        basic.split()[1],
        KEY.encode().hex(),
    )
    signed = [r for r in server.requests if ("Authorization", basic) in r.headers]
    assert {"UpsertBucket", "RunResumeStatus"} <= {request.operation for request in signed}
    for request in server.requests:
        others = [pair for pair in request.headers if pair != ("Authorization", basic)]
        shown = f"{request.path} {others} {request.body!r}"
        assert not [text for text in spelled if text in shown]
    # What was uploaded has an address of its own, as storages have: no key goes there.
    assert server.files
    assert not [r for r in signed if r.method == "PUT"]

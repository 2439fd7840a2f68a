"""A server on 127.0.0.1 that answers what the wandb library asks of one, and remembers all of it.

What it must answer was found by recording wandb 0.31: GraphQL at /graphql (who is this, what can
the server do, is there such a run, here is one, where do files go), the rows of a run at
/files/ENTITY/PROJECT/RUN/file_stream, uploads at the addresses that it named, and the library's
figures about itself at /sdk/otel.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "the-team"
HELD = -1
_HISTORY, _EVENTS = "wandb-history.jsonl", "wandb-events.jsonl"
_STREAM = re.compile(r"/files/[^/]+/(?P<project>[^/]+)/(?P<run>[^/]+)/file_stream")


@dataclass(frozen=True)
class Request:
    """One request as it came; `body` is unpacked."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def operation(self) -> str:
        """The name of the GraphQL operation; empty for other requests."""
        if not self.path.startswith("/graphql"):
            return ""
        return str(json.loads(self.body).get("operationName", ""))


@dataclass
class Run:
    """What the server holds of one run: lines of history and of machine figures, and its facts."""

    name: str
    project: str
    facts: dict[str, Any] = field(default_factory=dict)
    history: dict[int, str] = field(default_factory=dict)
    events: dict[int, str] = field(default_factory=dict)
    summary: str = "{}"
    looked_up: int = 0  # times that a process asked what is there already
    over: list[int] = field(default_factory=list)  # exit codes

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The history, in the order of its lines."""
        return [json.loads(self.history[number]) for number in sorted(self.history)]


Trouble = Callable[[Request], int]


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Quiet: a client that goes, or is killed, breaks its connections off."""


class WandbServer:
    """Runs by project and id, and the requests that made them.

    A trouble is the status that a request gets in place of its answer, 0 for none, HELD for none
    before `heal`. `refused` counts the requests that met with it.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.runs: dict[tuple[str, str], Run] = {}
        self.files: dict[str, bytes] = {}
        self.changed = threading.Condition()
        self.refused = 0
        self.url = ""
        self._trouble: Trouble | None = None

    def fail(self, trouble: Trouble) -> None:
        """Begin to make trouble."""
        with self.changed:
            self._trouble = trouble

    def heal(self) -> None:
        """Answer everything from now on, what is held too."""
        with self.changed:
            self._trouble = None
            self.changed.notify_all()

    def until(self, condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
        """Wait for what requests bring about."""
        with self.changed:
            assert self.changed.wait_for(condition, seconds), f"no {what} within {seconds:.0f} s"

    def rows(self, project: str, name: str) -> list[dict[str, Any]]:
        """The rows of a run so far; none of one that was not begun."""
        run = self.runs.get((project, name))
        return [] if run is None else run.rows

    def answer(self, request: Request) -> tuple[int, object]:
        """Status and JSON for one request."""
        with self.changed:
            self.requests.append(request)
            status = self._trouble(request) if self._trouble is not None else 0
            if status:
                self.refused += 1
                self.changed.notify_all()
            if status == HELD:
                self.changed.wait_for(lambda: self._trouble is None)
            elif status:
                return status, {"error": "out of order"}
            found = self._found(request)
            self.changed.notify_all()
            return found

    def _found(self, request: Request) -> tuple[int, object]:
        stream = _STREAM.fullmatch(request.path)
        if request.path.startswith("/graphql"):
            asked = json.loads(request.body)
            return 200, {"data": self._query(asked["query"], asked.get("variables") or {})}
        if stream is not None:
            return 200, self._stream(self.runs[stream["project"], stream["run"]], request.body)
        if request.method == "PUT":
            self.files[request.path] = request.body
            return 200, {}
        if request.path.startswith("/sdk/otel/"):  # figures about the library itself
            return 200, {}
        return 404, {"error": f"nothing at {request.path}"}

    def _query(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        known: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "Viewer": _viewer,
            "ServerFeaturesQuery": lambda _: {"serverInfo": {"features": []}},
            "RunResumeStatus": self._resume,
            "UpsertBucket": self._upsert,
            "CreateRunFiles": self._create_files,
        }
        named = re.search(r"(?:query|mutation)\s+(\w+)", query)
        name = named[1] if named else ""
        return known[name](given) if name in known else {}

    def _resume(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get((given["project"], given["name"]))
        if run is not None:
            run.looked_up += 1
        model = {"id": "p", "name": given["project"], "entity": {"id": "e", "name": ENTITY}}
        return {"model": {**model, "bucket": None if run is None else _bucket(run)}}

    def _upsert(self, given: dict[str, Any]) -> dict[str, Any]:
        key = (given["project"], given["name"])
        new = key not in self.runs
        run = self.runs.setdefault(key, Run(given["name"], given["project"]))
        run.facts |= {name: text for name, text in given.items() if text is not None}
        return {"upsertBucket": {"bucket": _bucket(run), "inserted": new}}

    def _create_files(self, given: dict[str, Any]) -> dict[str, Any]:
        files = [
            {"name": name, "uploadUrl": f"{self.url}/upload/{given['run']}/{name}"}
            for name in given["files"]
        ]
        return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}

    def _stream(self, run: Run, body: bytes) -> dict[str, Any]:
        sent = json.loads(body)
        for name, lines in (sent.get("files") or {}).items():
            held = {_HISTORY: run.history, _EVENTS: run.events}.get(name)
            if held is not None:
                held |= dict(enumerate(lines["content"], lines["offset"]))
            elif name == "wandb-summary.json":
                run.summary = lines["content"][-1]
        if sent.get("complete"):
            run.over.append(sent.get("exitcode", 0))
        return {"exitcode": None, "limits": {}}


def _viewer(_: dict[str, Any]) -> dict[str, Any]:
    person = {"id": "u", "entity": ENTITY, "username": "somebody", "email": "somebody@localhost"}
    return {"viewer": {**person, "flags": "{}", "teams": {"edges": []}}}


def _bucket(run: Run) -> dict[str, Any]:
    """A run as GraphQL shows it."""
    owner = {"id": "p", "name": run.project, "entity": {"id": "e", "name": ENTITY}}
    return {
        "id": f"run-{run.name}",
        "name": run.name,
        "displayName": run.facts.get("displayName", ""),
        "description": "",
        "config": run.facts.get("config", "{}"),
        "sweepName": None,
        "project": owner,
        "summaryMetrics": run.summary,
        "historyLineCount": len(run.history),
        "eventsLineCount": len(run.events),
        "logLineCount": 0,
        "historyTail": json.dumps([run.history[n] for n in sorted(run.history)][-1:]),
        "eventsTail": json.dumps([run.events[n] for n in sorted(run.events)][-1:]),
        "tags": [],
        "notes": None,
        "wandbConfig": '{"t": {}}',
    }


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    """A running server. What is held is let go at the end."""
    state = WandbServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            headers = tuple(self.headers.items())
            status, answer = state.answer(Request(self.command, self.path, headers, body))
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = handle_any

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = _Http(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.heal()
        server.shutdown()
        server.server_close()
        thread.join()

"""A loopback server of files by byte range, with listings as web servers make them and the
addresses of the Hugging Face hub: its tree, its revisions, and resolve addresses that redirect to
another host with a signature that runs out.

    python -m benchmarks.dataset_server FOLDER [SECONDS]

prints its port, and ends with its standard input; each answer waits SECONDS, as if from far away.
"""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

REPOSITORY = "owner/set"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
_PAGE = 3  # entries of a tree per answer
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


@dataclass(frozen=True)
class Request:
    """One request as it came. `part`: the bytes asked for as (first, last), None for all."""

    host: str
    path: str
    part: tuple[int, int] | None
    authorization: str


@dataclass(frozen=True)
class Trouble:
    """In place of a whole answer: a status, or the first `sent` bytes of the body and then the end
    of the connection, or, with `hold`, silence until it is set.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    sent: int = 0
    hold: threading.Event | None = None


@dataclass(eq=False)
class DatasetServer:
    """What is served, how, and what was asked. `/web/` shows `folder`; so does the repository.

    `token`: what the hub's addresses ask for, empty for none; `card`: the repository's metadata;
    `trouble`: asked before each answer; `signature`: what the redirect's address must carry;
    `ranges`: whether parts are served; `tags`: whether ETags are.
    """

    folder: Path
    port: int = 0
    token: str = ""
    card: dict[str, object] = field(default_factory=dict)
    trouble: Callable[[Request], Trouble | None] = lambda _: None
    signature: str = "first"
    ranges: bool = True
    tags: bool = True
    secure: bool = False
    requests: list[Request] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The address of the server, and of the hub."""
        return f"http{'s' if self.secure else ''}://127.0.0.1:{self.port}"

    def data_requests(self) -> list[Request]:
        """Requests for parts of files, in the order they came, redirects left out."""
        return [r for r in self.requests if r.part is not None and "/resolve/" not in r.path]


@contextmanager
def serve_dataset(
    folder: Path, certificate: tuple[Path, Path] | None = None
) -> Iterator[DatasetServer]:
    """A server of `folder` on a free port, in threads of this process, until the block's end.

    `certificate`: PEM files of a certificate and its key, for https.
    """
    served = DatasetServer(folder, secure=certificate is not None)

    class Handler(_Handler):
        state = served

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        if certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(*certificate)
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        served.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: DatasetServer
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # headers and small bodies in one packet

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        part = _RANGE.fullmatch(self.headers.get("Range", ""))
        request = Request(
            self.headers.get("Host", ""),
            unquote(parts.path),
            (int(part[1]), int(part[2])) if part else None,
            self.headers.get("Authorization", ""),
        )
        self.state.requests.append(request)
        trouble = self.state.trouble(request)
        if trouble is not None and trouble.status:
            self._answer(trouble.status, b"", trouble.headers)
            return
        query = parse_qs(parts.query)
        if request.path.startswith("/web/"):
            self._web(request, trouble)
        elif request.path.startswith("/cdn/"):
            if query.get("signature") != [self.state.signature]:
                self._answer(403, b"<Error>the signature has run out</Error>")
            else:
                self._file(self.state.folder / request.path[5:], request, trouble)
        elif self._admitted(request):
            self._hub(request, query)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: `requests` has it."""

    def _web(self, request: Request, trouble: Trouble | None) -> None:
        path = self.state.folder / request.path[5:]
        if not path.is_dir():
            self._file(path, request, trouble)
            return
        names = [entry.name + ("/" if entry.is_dir() else "") for entry in sorted(path.iterdir())]
        links = [f'<a href="{quote(name)}">{name}</a>' for name in ["../", "?C=N;O=D", *names]]
        self._answer(200, "\n".join(links).encode(), {"Content-Type": "text/html"})

    def _admitted(self, request: Request) -> bool:
        if not self.state.token or request.authorization == f"Bearer {self.state.token}":
            return True
        # The hub says this both without a token and with one whose account has no access.
        self._answer(403 if request.authorization else 401, b"", {"X-Error-Code": "GatedRepo"})
        return False

    def _hub(self, request: Request, query: dict[str, list[str]]) -> None:
        _, found, rest = request.path.partition(f"/datasets/{REPOSITORY}/")
        kind, revision, path = [*rest.split("/", 2), "", ""][:3]
        if not found:
            self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif revision not in (COMMIT, "main"):
            self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif kind == "revision":
            self._json({"id": REPOSITORY, "sha": COMMIT, "cardData": self.state.card})
        elif not (self.state.folder / path).exists():
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        elif kind == "tree":
            self._tree(path, int(query.get("cursor", ["0"])[0]))
        else:
            file = self.state.folder / path
            place = f"http://localhost:{self.state.port}/cdn/{quote(path)}"
            linked = {"X-Linked-Etag": f'"{_sha256(file)}"', "ETag": '"another"'}
            signed = f"{place}?signature={self.state.signature}"
            self._answer(302, b"see there", {**linked, "Location": signed})

    def _tree(self, path: str, start: int) -> None:
        root = self.state.folder
        entries = [
            _entry(found, found.relative_to(root)) for found in sorted((root / path).rglob("*"))
        ]
        here = f"{self.state.url}{self.path.partition('?')[0]}?recursive=true"
        following = {"Link": f'<{here}&cursor={start + _PAGE}>; rel="next"'}
        self._json(
            entries[start : start + _PAGE], following if start + _PAGE < len(entries) else {}
        )

    def _file(self, path: Path, request: Request, trouble: Trouble | None) -> None:
        if not path.is_file():
            self._answer(404, b"")
            return
        size = path.stat().st_size
        headers = {"ETag": f'"{path.stat().st_mtime_ns:x}-{size:x}"'} if self.state.tags else {}
        first, last = request.part or (0, size - 1)
        if request.part is None or not self.state.ranges:
            self._answer(200, path.read_bytes(), headers)
            return
        if first >= size:
            self._answer(416, b"", {"Content-Range": f"bytes */{size}"})
            return
        last = min(last, size - 1)
        with path.open("rb") as file:
            file.seek(first)
            body = file.read(last + 1 - first)
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        self._answer(206, body, headers, trouble)

    def _json(self, value: object, headers: dict[str, str] | None = None) -> None:
        self._answer(200, json.dumps(value).encode(), headers)

    def _answer(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        trouble: Trouble | None = None,
    ) -> None:
        self.send_response(status)
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if trouble is None else body[: trouble.sent])
        if trouble is not None:
            self.wfile.flush()
            self.close_connection = True
            if trouble.hold is not None:
                trouble.hold.wait()


def _entry(path: Path, name: Path) -> dict[str, object]:
    """One line of the hub's tree: files are large ones, kept beside git."""
    if path.is_dir():
        return {"type": "directory", "path": name.as_posix(), "size": 0, "oid": "0" * 40}
    size = path.stat().st_size
    lfs = {"oid": _sha256(path), "size": size, "pointerSize": 134}
    return {"type": "file", "path": name.as_posix(), "size": size, "oid": "0" * 40, "lfs": lfs}


def _sha256(path: Path) -> str:
    return _digest(path, path.stat().st_mtime_ns)


@lru_cache
def _digest(path: Path, changed: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    folder, *delay = sys.argv[1:]
    with serve_dataset(Path(folder)) as served:
        if delay:
            served.trouble = lambda _: time.sleep(float(delay[0]))
        print(served.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()

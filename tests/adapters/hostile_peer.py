"""A loopback server that misbehaves by script, for tests of readers.

Each script gives up by itself after PATIENCE and completes a good answer where it can: a reader
that does not enforce its bound gets the bytes, and its test fails without measuring time.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

PATIENCE = 6.0  # seconds
STEPS = 60
BODY = b"b" * STEPS
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
FLOOD = 64 << 20  # bytes after which an endless answer ends
SLACK = 16 << 20  # bytes that two sockets may hold between them

Script = Callable[[socket.socket, "Peer"], None]
Play = Callable[..., "Peer"]  # (script, tls=None, host="127.0.0.1") -> Peer


@dataclass
class Peer:
    """A loopback server that reads one request per connection and then follows its script."""

    script: Script
    listener: socket.socket
    tls: ssl.SSLContext | None = None
    gone: threading.Event = field(default_factory=threading.Event)
    requests: list[bytes] = field(default_factory=list)
    sent: int = 0

    @property
    def address(self) -> str:
        host, port = self.listener.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/bucket"

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(PATIENCE)
                try:
                    self._answer(connection)
                except OSError:
                    continue  # the reader hung up, which is the point

    def _answer(self, connection: socket.socket) -> None:
        if self.tls is not None:
            connection = self.tls.wrap_socket(connection, server_side=True)
        with connection:
            self.requests.append(connection.recv(65536))
            self.script(connection, self)

    def trickle(self, connection: socket.socket, data: bytes) -> None:
        """`data` in STEPS pieces over PATIENCE seconds."""
        size = -(-len(data) // STEPS)
        for start in range(0, len(data), size):
            self.gone.wait(PATIENCE / STEPS)
            connection.sendall(data[start : start + size])

    def flood(self, connection: socket.socket) -> None:
        """FLOOD bytes, counted as they leave."""
        piece = bytes(1 << 20)
        while self.sent < FLOOD:
            self.sent += connection.send(piece)


@contextmanager
def peers() -> Iterator[Play]:
    """Gives a function that starts a peer on its script; ends them all."""
    started: list[tuple[Peer, threading.Thread]] = []

    def start(script: Script, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Peer:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        peer = Peer(script, socket.create_server((host, 0), family=family), tls)
        thread = threading.Thread(target=peer.serve, daemon=True)
        thread.start()
        started.append((peer, thread))
        return peer

    yield start
    for peer, thread in started:
        peer.gone.set()
        peer.listener.shutdown(socket.SHUT_RDWR)
        peer.listener.close()
        thread.join(PATIENCE)


def answering(connection: socket.socket, peer: Peer) -> None:
    connection.sendall(HEAD % len(BODY) + BODY)


def silent(connection: socket.socket, peer: Peer) -> None:
    peer.gone.wait(PATIENCE)


def trickling_body(connection: socket.socket, peer: Peer) -> None:
    connection.sendall(HEAD % len(BODY))
    peer.trickle(connection, BODY)


def trickling_headers(connection: socket.socket, peer: Peer) -> None:
    peer.trickle(connection, HEAD % len(BODY) + BODY)


def trickling_interim_answers(connection: socket.socket, peer: Peer) -> None:
    peer.trickle(connection, b"HTTP/1.1 100 Continue\r\n\r\n" * STEPS)
    connection.sendall(HEAD % len(BODY) + BODY)


def stalling_before_headers(connection: socket.socket, peer: Peer) -> None:
    peer.gone.wait(PATIENCE)
    connection.sendall(HEAD % len(BODY) + BODY)


def stalling_in_the_body(connection: socket.socket, peer: Peer) -> None:
    connection.sendall(HEAD % len(BODY) + BODY[:10])
    peer.gone.wait(PATIENCE)
    connection.sendall(BODY[10:])

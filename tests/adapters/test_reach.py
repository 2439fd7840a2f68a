"""No peer's address leads a node into its own networks, unless it is at home there itself."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from boltzmann.chain.connect import home_of
from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.store.reach import Reach, is_public
from boltzmann.store.reader import PublicReader


@contextmanager
def service() -> Iterator[tuple[int, list[bytes]]]:
    """Something on loopback that notes who comes; its port, and what it heard."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    heard.append(connection.recv(1000))
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], heard
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10.0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
@pytest.mark.parametrize("home", ["", "1.1.1.1", "no-such-host.invalid"])
def test_a_node_elsewhere_does_not_even_connect(host: str, home: str) -> None:
    with service() as (port, heard):
        address = f"http://{host}:{port}/bucket"
        answer = PublicReader(home).get(address, "a", max_bytes=10, seconds=5.0)
        assert isinstance(answer, Rejection)
        assert answer.reason is Reason.UNREACHABLE
        assert "no public address" in answer.detail
        assert heard == []


@pytest.mark.parametrize("home", ["localhost", "127.0.0.1"])
def test_a_node_that_is_at_home_there_reads_its_neighbours(home: str) -> None:
    with service() as (port, heard):
        address = f"http://127.0.0.1:{port}/bucket"
        assert PublicReader(home).get(address, "a", max_bytes=10, seconds=5.0) == b"ok"
        assert len(heard) == 1


@pytest.mark.parametrize(
    ("ip", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),  # where clouds keep their metadata
        ("0.0.0.0", False),
        ("::1", False),
        ("::ffff:10.0.0.1", False),
        ("fd00::1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_what_is_public(ip: str, public: bool) -> None:
    assert is_public(ip) is public
    if public:
        Reach("").require("peer", ip)
    else:
        with pytest.raises(ConnectionError, match="peer is at"):
            Reach("").require("peer", ip)


@pytest.mark.parametrize(
    ("network", "home"),
    [
        ("embedded:chain.sqlite", "localhost"),
        ("ws://10.0.0.7:9944", "10.0.0.7"),
        ("wss://[::1]:9944", "::1"),
        ("finney", ""),
    ],
)
def test_who_only_reads_is_at_home_where_the_chain_answers(network: str, home: str) -> None:
    assert home_of(network) == home

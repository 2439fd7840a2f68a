"""What a peer's server may do to a reader: each attack ends as a Rejection, soon and small."""

from __future__ import annotations

import gzip
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import hostile_peer
import pytest
from hostile_peer import BODY, HEAD, SLACK, Peer, Play, Script
from store_kit import reason
from store_servers import self_signed

from boltzmann.protocol.rejection import Reason, Rejection
from boltzmann.store.reader import PublicReader


@pytest.fixture
def play() -> Iterator[Play]:
    with hostile_peer.peers() as start:
        yield start


@pytest.fixture
def reader() -> PublicReader:
    return PublicReader("localhost", connect_seconds=5.0, ca_bundle=None)


def get(reader: PublicReader, peer: Peer, seconds: float = 0.5) -> bytes | Rejection:
    return reader.get(peer.address, "run/1/delta", max_bytes=1000, seconds=seconds)


def both(
    reader: PublicReader, peer: Peer, folder: Path, seconds: float = 0.5
) -> tuple[Reason, Reason]:
    """Why `get` and `download` refuse; nothing is left of the download."""
    first = reason(get(reader, peer, seconds))
    target = folder / "object"
    refused = reader.download(
        peer.address, "run/1/delta", target, exact_bytes=len(BODY), seconds=seconds
    )
    assert list(folder.iterdir()) == []
    return first, reason(refused)


@pytest.mark.parametrize(
    "script",
    [
        hostile_peer.trickling_body,
        hostile_peer.trickling_headers,
        hostile_peer.trickling_interim_answers,
        hostile_peer.stalling_before_headers,
        hostile_peer.stalling_in_the_body,
    ],
)
def test_the_deadline_holds_around_the_whole_read(
    play: Play, reader: PublicReader, tmp_path: Path, script: Script
) -> None:
    assert both(reader, play(script), tmp_path) == (Reason.SLOW, Reason.SLOW)


def test_the_time_may_be_used_up_before_connecting(play: Play, reader: PublicReader) -> None:
    peer = play(hostile_peer.answering)
    assert reason(get(reader, peer, seconds=0.0)) is Reason.SLOW
    assert get(reader, peer, seconds=20) == BODY


def test_a_silent_tls_handshake_is_bounded(play: Play) -> None:
    peer = play(hostile_peer.silent)
    address = peer.address.replace("http:", "https:")
    patient = PublicReader("localhost", connect_seconds=5.0, ca_bundle=None)
    refused = patient.get(address, "delta", max_bytes=9, seconds=0.3)
    assert reason(refused) is Reason.SLOW
    hasty = PublicReader("localhost", connect_seconds=0.3, ca_bundle=None)
    refused = hasty.get(address, "delta", max_bytes=9, seconds=5.0)
    assert refused == Rejection(Reason.UNREACHABLE, "ConnectionError: 'no connection within 0.3 s'")


@pytest.mark.parametrize("slowly", [False, True])
def test_a_tls_server_is_held_to_the_deadline(play: Play, tmp_path: Path, slowly: bool) -> None:
    certificate, key = self_signed(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    peer = play(hostile_peer.trickling_body if slowly else hostile_peer.answering, tls=context)
    reader = PublicReader("localhost", connect_seconds=5.0, ca_bundle=certificate)
    address = peer.address.replace("http:", "https:")
    got = reader.get(address, "delta", max_bytes=1000, seconds=1.0 if slowly else 20.0)
    assert (reason(got) is Reason.SLOW) if slowly else (got == BODY)


def test_an_oversized_body_is_not_read(play: Play, reader: PublicReader, tmp_path: Path) -> None:
    def script(connection: socket.socket, peer: Peer) -> None:
        connection.sendall(HEAD % (10 << 40))
        peer.flood(connection)

    peer = play(script)
    assert both(reader, peer, tmp_path, seconds=20) == (Reason.WRONG_SIZE, Reason.WRONG_SIZE)
    assert peer.sent < SLACK


@pytest.mark.parametrize("status", ["404 Not Found", "500 Trouble", "301 Moved"])
def test_an_error_body_is_not_read(
    play: Play, reader: PublicReader, tmp_path: Path, status: str
) -> None:
    def script(connection: socket.socket, peer: Peer) -> None:
        connection.sendall(f"HTTP/1.1 {status}\r\n\r\n".encode())
        peer.flood(connection)

    peer = play(script)
    expected = Reason.ABSENT if status.startswith("404") else Reason.UNREACHABLE
    assert both(reader, peer, tmp_path, seconds=20) == (expected, expected)
    assert peer.sent < SLACK


@pytest.mark.parametrize(
    "headers",
    [
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 60",
        b"Content-Type: text/plain",
        b"Content-Length: 60\r\nContent-Length: 61",
        b"Content-Length: -1",
        b"Content-Length: 6_0",
        b"Content-Length: 0x3c",
        b"Content-Length: " + b"9" * 5000,
    ],
)
def test_a_body_without_one_declared_length_is_not_read(
    play: Play, reader: PublicReader, tmp_path: Path, headers: bytes
) -> None:
    def script(connection: socket.socket, peer: Peer) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n\r\n")
        peer.flood(connection)

    peer = play(script)
    assert both(reader, peer, tmp_path, seconds=20) == (Reason.WRONG_SIZE, Reason.WRONG_SIZE)
    assert peer.sent < SLACK


def test_a_body_longer_than_declared_is_cut(
    play: Play, reader: PublicReader, tmp_path: Path
) -> None:
    def script(connection: socket.socket, peer: Peer) -> None:
        connection.sendall(HEAD % len(BODY) + BODY)
        peer.flood(connection)

    peer = play(script)
    assert get(reader, peer, seconds=20) == BODY
    assert peer.sent < SLACK
    target = tmp_path / "object"
    taken = reader.download(peer.address, "delta", target, exact_bytes=len(BODY), seconds=20)
    assert taken is None
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("received", [0, 1, len(BODY) - 1])
def test_a_body_shorter_than_declared_is_refused(
    play: Play, reader: PublicReader, tmp_path: Path, received: int
) -> None:
    peer = play(lambda connection, _: connection.sendall(HEAD % len(BODY) + BODY[:received]))
    expected = (Reason.UNREACHABLE, Reason.UNREACHABLE)
    assert both(reader, peer, tmp_path, seconds=20) == expected
    assert f"after {received} of {len(BODY)} bytes" in str(get(reader, peer, seconds=20))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(
    play: Play, reader: PublicReader, tmp_path: Path, status: int
) -> None:
    victim = play(hostile_peer.answering)
    redirect = f"HTTP/1.1 {status} x\r\nLocation: {victim.address}/delta\r\n"
    headers = b"x-amz-bucket-region: eu-west-1\r\nContent-Length: 0\r\n\r\n"
    peer = play(lambda connection, _: connection.sendall(redirect.encode() + headers))
    expected = (Reason.UNREACHABLE, Reason.UNREACHABLE)
    assert both(reader, peer, tmp_path, seconds=20) == expected
    assert victim.requests == []


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 2",
        b"\x00" * 100,
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 999999 x\r\n\r\n",
        b"HTTP/1.1 \xff\xfe OK\r\n\r\n",
        b"HTTP/9.9 200 OK\r\nContent-Length: 60\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: 60\r\n\r\n" + BODY,
        b"HTTP/1.1 204 No Content\r\n\r\n",
        bytes(range(256)) * 20,
    ],
)
def test_garbage_is_refused(
    play: Play, reader: PublicReader, tmp_path: Path, answer: bytes
) -> None:
    peer = play(lambda connection, _: connection.sendall(answer))
    expected = (Reason.UNREACHABLE, Reason.UNREACHABLE)
    assert both(reader, peer, tmp_path, seconds=20) == expected


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Le"])
def test_headers_cut_short_declare_no_length(
    play: Play, reader: PublicReader, tmp_path: Path, answer: bytes
) -> None:
    peer = play(lambda connection, _: connection.sendall(answer))
    expected = (Reason.WRONG_SIZE, Reason.WRONG_SIZE)
    assert both(reader, peer, tmp_path, seconds=20) == expected


def test_nothing_is_inflated(play: Play, reader: PublicReader) -> None:
    bomb = gzip.compress(bytes(100_000))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    peer = play(lambda connection, _: connection.sendall(head + bomb))
    assert get(reader, peer, seconds=20) == bomb


def test_a_read_is_one_plain_get(play: Play, reader: PublicReader) -> None:
    peer = play(hostile_peer.answering)
    assert get(reader, peer, seconds=20) == BODY
    (request,) = peer.requests
    lines = request.decode().splitlines()
    assert lines[0] == "GET /bucket/run/1/delta HTTP/1.1"
    assert f"Host: {peer.address.split('/')[2]}" in lines
    assert "Accept-Encoding: identity" in lines
    assert "authorization" not in request.decode().lower()


def test_a_host_may_serve_one_bucket_only(play: Play, reader: PublicReader) -> None:
    peer = play(hostile_peer.answering)
    host = peer.address.rpartition("/")[0]
    assert reader.get(host, "run/1/delta", max_bytes=len(BODY), seconds=20) == BODY
    (request,) = peer.requests
    assert request.decode().splitlines()[0] == "GET /run/1/delta HTTP/1.1"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "bucket",
        "file:///etc/bucket",
        "ftp://127.0.0.1/bucket",
        "http:/127.0.0.1/bucket",
        "http:///bucket",
        "http://127.0.0.1/",
        "http://127.0.0.1?list",
        "http://",
        "http://127.0.0.1/bucket/",
        "http://127.0.0.1/bucket/deeper",
        "http://127.0.0.1//bucket",
        "http://127.0.0.1/bucket?list",
        "http://127.0.0.1/bucket#part",
        "http://user:secret@127.0.0.1/bucket",
        "http://127.0.0.1:0/bucket",
        "http://127.0.0.1:65536/bucket",
        "http://127.0.0.1:/bucket",
        "http://127.0.0.1:80 /bucket",
        "http://127.0.0.1/bucket\r\nX: y",
        "http://127.0.0.1/bucket\n",
        "http://127.0.0.1/Bucket",
        "http://127.0.0.1/b",
        "http://127.0.0.1/-bucket",
        "http://127.0.0.1/buc..ket",
        "http://127.0.0.1/..",
        "http://127.0.0.1/1.2.3.4",
        "http://127.0.0.1/%62ucket",
        f"http://127.0.0.1/{'b' * 64}",
        f"http://{'h' * 64}.example/bucket",
        f"http://{'h.' * 200}example/bucket",
        "http://host..example/bucket",
        "http://höst.example/bucket",
        "http://[::1/bucket",
        "http://[zz]/bucket",
        "x" * 10_000_000,
    ],
)
def test_only_strict_addresses_are_read(reader: PublicReader, address: str) -> None:
    refused = reader.get(address, "delta", max_bytes=9, seconds=5)
    assert isinstance(refused, Rejection)
    assert refused.reason is Reason.UNREACHABLE
    assert "http(s)://" in refused.detail or "port" in refused.detail or "S3" in refused.detail
    assert len(refused.detail) < 250


def test_an_address_may_be_ipv6(play: Play, reader: PublicReader) -> None:
    try:
        peer = play(hostile_peer.answering, host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    assert "http://[::1]:" in peer.address
    assert get(reader, peer, seconds=20) == BODY

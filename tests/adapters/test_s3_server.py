"""The S3 server of the local network: its start, its end, and what it promises under load."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from boltzmann.errors import StoreConflict, StoreUnavailable
from boltzmann.protocol.rejection import Reason
from boltzmann.store.s3 import S3Store
from boltzmann.store.server import ServerProcess, start_moto

SECONDS = 20.0  # for what must happen; a test that waits this long fails


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with start_moto(tmp_path_factory.mktemp("moto") / "logs" / "moto.log") as running:
        yield running


def made_store(server: ServerProcess, bucket: str) -> S3Store:
    store = S3Store(server.url, bucket, "any", "keys")
    store.ensure_bucket()
    return store


def open_connection(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=SECONDS)


def hung_up(connection: socket.socket) -> bool:
    """Waits until the other side ends the connection, in whichever way."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_it_is_a_process_apart_from_the_terminal(server: ServerProcess) -> None:
    assert server.pid != os.getpid()
    assert os.getsid(server.pid) != os.getsid(0)
    made_store(server, "started").check()


def test_two_run_side_by_side(server: ServerProcess, tmp_path: Path) -> None:
    with start_moto(tmp_path / "moto.log") as other:
        assert other.url != server.url
        made_store(server, "only-here").put("a", b"x")
        refused = made_store(other, "only-here").get(
            f"{other.url}/only-here", "a", max_bytes=9, seconds=SECONDS
        )
        assert "absent" in str(refused)


def test_a_port_can_be_chosen_again_after_stop(tmp_path: Path) -> None:
    with start_moto(tmp_path / "moto.log") as first:
        port = int(first.url.rpartition(":")[2])
        with open_connection(first.url):
            pass
    with start_moto(tmp_path / "moto.log", port=port) as second:
        assert second.url == first.url
        made_store(second, "again").check()


def test_stop_ends_it_and_leaves_only_the_log(tmp_path: Path) -> None:
    server = start_moto(tmp_path / "moto.log")
    made_store(server, "stopped").put("large", bytes(1 << 20))
    server.stop()
    server.stop()
    assert server.process.returncode == 0
    with pytest.raises(ConnectionRefusedError):
        open_connection(server.url)
    assert list(tmp_path.iterdir()) == [tmp_path / "moto.log"]
    assert (tmp_path / "moto.log").read_text() == ""


def test_a_start_that_fails_says_why(server: ServerProcess, tmp_path: Path) -> None:
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(StoreUnavailable, match=rf"on 127.0.0.1:{port}.*in use"):
        start_moto(tmp_path / "moto.log", port=port)


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent_source = (
        "import sys; from pathlib import Path; from boltzmann.store.server import start_moto\n"
        "print(start_moto(Path(sys.argv[1])).url, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", parent_source, str(tmp_path / "moto.log")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[2],
        text=True,
    )
    assert parent.stdout is not None
    assert parent.stdin is not None
    with parent.stdout, parent.stdin:
        url = parent.stdout.readline().strip()
        with open_connection(url) as idle:
            parent.send_signal(signal.SIGKILL)
            parent.wait(SECONDS)
            assert hung_up(idle)
    with pytest.raises(ConnectionRefusedError):
        open_connection(url)


def test_of_many_writers_of_one_key_one_wins(server: ServerProcess) -> None:
    stores = [made_store(server, "race") for _ in range(8)]
    stores[0].check()

    def write(writer: int, key: str) -> bool:
        try:
            stores[writer].put(key, bytes([writer]) * 100_000)
        except StoreConflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        for turn in range(10):
            key = f"turn/{turn}"
            won = list(pool.map(write, range(8), [key] * 8))
            assert sum(won) == 1
            stored = stores[0].get(stores[0].address, key, max_bytes=1 << 20, seconds=SECONDS)
            assert stored == bytes([won.index(True)]) * 100_000


def test_readers_that_poll_see_the_whole_object_or_none(server: ServerProcess) -> None:
    store = made_store(server, "polled")
    store.check()

    def first_seen(key: str) -> bytes:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            answer = store.get(store.address, key, max_bytes=8 << 20, seconds=SECONDS)
            if isinstance(answer, bytes):
                return answer
            assert answer.reason is Reason.ABSENT
        raise AssertionError("the upload was never seen")

    with ThreadPoolExecutor(4) as pool:
        for turn in range(12):
            body = os.urandom(8 << 20)
            seen = [pool.submit(first_seen, f"turn/{turn}") for _ in range(4)]
            store.put(f"turn/{turn}", body)
            assert [reader.result() == body for reader in seen] == [True] * 4


def test_sixteen_transfers_at_once(server: ServerProcess) -> None:
    store = made_store(server, "load")
    bodies = {f"load/{n}": os.urandom(3 << 20) for n in range(16)}
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(store.put, bodies, bodies.values()))
        read = pool.map(
            lambda key: store.get(store.address, key, max_bytes=3 << 20, seconds=SECONDS), bodies
        )
        assert list(read) == list(bodies.values())

"""The journal of what a node publishes: whole or not there, and gone when its window is past."""

from __future__ import annotations

from pathlib import Path

import pytest

from boltzmann.errors import NoRoom
from boltzmann.node.outbox import Outbox, write_whole


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "outbox").iterdir())


def test_what_was_kept_is_found_by_window_and_name(outbox: Outbox, tmp_path: Path) -> None:
    outbox.keep(3, "delta", b"three")
    outbox.keep(13, "delta", b"thirteen")
    outbox.keep(3, "manifest", b"")
    again = Outbox(tmp_path / "outbox")  # as after a restart
    assert again.find(3, "delta") == b"three"
    assert again.find(13, "delta") == b"thirteen"
    assert again.find(3, "manifest") == b""
    assert again.find(3, "update") is None
    assert again.find(1, "delta") is None
    assert [again.has(3, name) for name in ("manifest", "update")] == [True, False]
    assert again.path(3, "delta").read_bytes() == b"three"
    assert names(tmp_path) == ["13.delta", "3.delta", "3.manifest"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk")
def test_a_write_that_fails_leaves_what_was_there(outbox: Outbox, tmp_path: Path) -> None:
    outbox.keep(3, "delta", b"whole")
    (tmp_path / "outbox" / "3.delta.tmp").symlink_to("/dev/full")
    with pytest.raises(NoRoom, match=r"3\.delta cannot be written \(No space left.*make room"):
        outbox.keep(3, "delta", b"another" * 10_000)
    assert outbox.find(3, "delta") == b"whole"


def test_a_killed_writers_rest_is_never_found_and_does_no_harm(
    outbox: Outbox, tmp_path: Path
) -> None:
    (tmp_path / "outbox" / "3.delta.tmp").write_bytes(b"hal")
    assert outbox.find(3, "delta") is None
    outbox.keep(3, "delta", b"whole")
    assert outbox.find(3, "delta") == b"whole"
    assert names(tmp_path) == ["3.delta"]


def test_earlier_windows_are_forgotten_with_the_rests_of_killed_writers(
    outbox: Outbox, tmp_path: Path
) -> None:
    for window in (2, 3, 9, 10):
        outbox.keep(window, "delta", b"bytes")
    for name in ("3.delta.tmp", "10.update.tmp"):
        (tmp_path / "outbox" / name).write_bytes(b"hal")
    outbox.forget_before(9)
    assert names(tmp_path) == ["10.delta", "10.update.tmp", "9.delta"]
    outbox.forget_before(-1)
    assert len(names(tmp_path)) == 3


def test_other_peoples_files_are_left_alone(outbox: Outbox, tmp_path: Path) -> None:
    others = [".DS_Store", "notes.txt", "2 copy.delta"]
    for name in others:
        (tmp_path / "outbox" / name).write_bytes(b"")
    outbox.keep(2, "delta", b"")
    outbox.forget_before(5)
    assert names(tmp_path) == sorted(others)


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"first, and longer")
    with path.open("rb") as reading:
        write_whole(path, b"second")
        assert reading.read() == b"first, and longer"
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]

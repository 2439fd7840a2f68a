"""A validator's standings: kept by hotkey and registration, across restarts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from boltzmann.errors import CorruptState
from boltzmann.node.book import Book
from boltzmann.protocol.chainview import Neuron
from boltzmann.protocol.rewards import Standing

ALICE = Neuron(0, "5Alice", 0.0, False, registered_at=100, last_update=0)
BOB = Neuron(1, "5Bob", 0.0, False, registered_at=200, last_update=0)
EARNED = Standing(100, moving=0.1 + 0.2, score=0.97, gate=1 / 3, passed_at=7, failed_at=3, norm=0.9)


@pytest.fixture
def book(tmp_path: Path) -> Book:
    book = Book(tmp_path / "standings.json")
    book.enrol([ALICE, BOB])
    book["5Alice"] = EARNED
    return book


def test_standings_survive_a_restart_to_the_last_bit(book: Book, tmp_path: Path) -> None:
    book.save()
    again = Book(tmp_path / "standings.json")
    assert again.standings == {"5Alice": EARNED, "5Bob": Standing(200)}
    again.enrol([ALICE, BOB])
    assert again["5Alice"] == EARNED


def test_without_a_save_a_restart_forgets(book: Book, tmp_path: Path) -> None:
    assert Book(tmp_path / "standings.json").standings == {}


def test_a_hotkey_that_lost_its_slot_starts_from_zero(book: Book, tmp_path: Path) -> None:
    book.save()
    again = Book(tmp_path / "standings.json")
    again.enrol([replace(ALICE, uid=5, registered_at=300), BOB])
    assert again["5Alice"] == Standing(300)


def test_who_is_gone_is_dropped(book: Book) -> None:
    book.enrol([BOB])
    assert set(book.standings) == {"5Bob"}
    book.enrol([ALICE, BOB])
    assert book["5Alice"] == Standing(100)


def test_another_uid_changes_nothing(book: Book) -> None:
    book.enrol([replace(ALICE, uid=9), BOB])
    assert book["5Alice"] == EARNED


def test_the_standings_handed_out_are_a_copy(book: Book) -> None:
    book.standings.clear()
    assert book["5Alice"] == EARNED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        '{"5Alice": 3}',
        '{"5Alice": {}}',
        '{"5Alice": {"registered_at": 1, "colour": 2}}',
        "\udcff",
    ],
)
def test_a_damaged_file_is_an_error_that_names_it_and_the_mend(tmp_path: Path, text: str) -> None:
    path = tmp_path / "standings.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CorruptState, match="starts from zero") as caught:
        Book(path)
    assert str(path) in str(caught.value)

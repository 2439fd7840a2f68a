"""A validator's standings: kept by hotkey and registration, across restarts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from boltzmann.errors import CorruptState
from boltzmann.node.book import Book
from boltzmann.protocol.chainview import Neuron
from boltzmann.protocol.receipts import Verdict
from boltzmann.protocol.rewards import Standing

ALICE = Neuron(0, "5Alice", 0.0, False, registered_at=100, last_update=0)
BOB = Neuron(1, "5Bob", 0.0, False, registered_at=200, last_update=0)
EARNED = Standing(100, moving=0.1 + 0.2, score=0.97, gate=1 / 3)
PASS = Verdict("5Alice", 7, "", 0.97, 1 / 3, 0.9)
FAIL = Verdict("5Bob", 6, "gate", 0.1, 0.2, 0.9)


@pytest.fixture
def book(tmp_path: Path) -> Book:
    book = Book(tmp_path / "standings.json")
    book.enrol([ALICE, BOB])
    book["5Alice"] = EARNED
    book.judge(PASS)
    book.judge(FAIL)
    return book


def test_standings_survive_a_restart_to_the_last_bit(book: Book, tmp_path: Path) -> None:
    book.save()
    again = Book(tmp_path / "standings.json")
    assert again.standings == {"5Alice": EARNED, "5Bob": Standing(200)}
    assert again.verdicts(0) == (PASS, FAIL)
    again.enrol([ALICE, BOB])
    assert again["5Alice"] == EARNED
    assert again.verdicts(0) == (PASS, FAIL)


def test_verdicts_are_in_hotkey_order_and_none_is_too_old(book: Book) -> None:
    book.judge(FAIL)
    book.judge(PASS)
    assert book.verdicts(7) == (PASS,)
    assert book.verdicts(8) == ()


def test_only_the_newest_verdict_on_a_hotkey_is_kept(book: Book) -> None:
    book.judge(replace(PASS, window=6, refusal="norm"))
    assert book.verdicts(0) == (PASS, FAIL)
    again = replace(PASS, refusal="gate")  # of the same window, and later
    book.judge(again)
    assert book.verdicts(0) == (again, FAIL)
    newer = replace(PASS, window=8)
    book.judge(newer)
    assert book.verdicts(0) == (newer, FAIL)


def test_trust_is_a_recent_pass_without_a_failure_since(book: Book) -> None:
    assert book.trusts("5Alice", 7)
    assert not book.trusts("5Alice", 8)
    assert not book.trusts("5Bob", 0)
    assert not book.trusts("5Carl", 0)
    book.judge(replace(PASS, window=8, refusal="gate"))
    assert not book.trusts("5Alice", 0)


def test_without_a_save_a_restart_forgets(book: Book, tmp_path: Path) -> None:
    again = Book(tmp_path / "standings.json")
    assert (again.standings, again.verdicts(0)) == ({}, ())


def test_a_hotkey_that_lost_its_slot_starts_from_zero(book: Book, tmp_path: Path) -> None:
    book.save()
    again = Book(tmp_path / "standings.json")
    again.enrol([replace(ALICE, uid=5, registered_at=300), BOB])
    assert again["5Alice"] == Standing(300)
    assert again.verdicts(0) == (FAIL,)


def test_who_is_gone_is_dropped(book: Book) -> None:
    book.enrol([BOB])
    assert set(book.standings) == {"5Bob"}
    assert book.verdicts(0) == (FAIL,)
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
        "{}",
        '{"standings": {}}',
        '{"standings": [], "verdicts": {}}',
        '{"standings": {"5Alice": 3}, "verdicts": {}}',
        '{"standings": {"5Alice": {}}, "verdicts": {}}',
        '{"standings": {"5Alice": {"registered_at": 1, "colour": 2}}, "verdicts": {}}',
        '{"standings": {}, "verdicts": {"5Alice": {"window": 1}}}',
        "\udcff",
    ],
)
def test_a_damaged_file_is_an_error_that_names_it_and_the_mend(tmp_path: Path, text: str) -> None:
    path = tmp_path / "standings.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CorruptState, match="starts from zero") as caught:
        Book(path)
    assert str(path) in str(caught.value)

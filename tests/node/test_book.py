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
    assert again.verdicts == (PASS, FAIL)
    again.enrol([ALICE, BOB])
    assert again["5Alice"] == EARNED
    assert again.verdicts == (PASS, FAIL)


def test_passes_are_told_for_a_while_and_failures_until_an_audit_passes(book: Book) -> None:
    book.judge(FAIL)
    book.judge(PASS)
    assert book.told(7 + 10, 10) == (PASS, FAIL)
    assert book.told(7 + 11, 10) == (FAIL,)
    regained = replace(FAIL, window=8, refusal="")
    book.judge(regained)
    assert book.told(7 + 11, 10) == (regained,)


def test_of_who_is_on_probation_passes_of_earlier_windows_are_not_told(
    book: Book, tmp_path: Path
) -> None:
    book.convict(FAIL)
    book.convict(replace(FAIL, window=FAIL.window - 1))
    passed = replace(FAIL, window=8, refusal="")
    book.judge(passed)
    assert book.told(8, 10) == (PASS, passed)
    assert book.told(9, 10) == (PASS, FAIL)
    book.save()
    assert Book(tmp_path / "standings.json").told(9, 10) == (PASS, FAIL)
    newer = replace(FAIL, window=9)
    book.convict(newer)
    assert book.told(10, 10) == (PASS, newer)


def test_only_the_newest_verdict_on_a_hotkey_is_kept(book: Book) -> None:
    book.judge(replace(PASS, window=6, refusal="norm"))
    assert book.verdicts == (PASS, FAIL)
    again = replace(PASS, refusal="gate")  # of the same window, and later
    book.judge(again)
    assert book.verdicts == (again, FAIL)
    newer = replace(PASS, window=8)
    book.judge(newer)
    assert book.verdicts == (newer, FAIL)


def test_trust_is_a_recent_pass_without_a_failure_since(book: Book) -> None:
    assert book.trusts("5Alice", 7)
    assert not book.trusts("5Alice", 8)
    assert not book.trusts("5Bob", 0)
    assert not book.trusts("5Carl", 0)
    book.judge(replace(PASS, window=8, refusal="gate"))
    assert not book.trusts("5Alice", 0)


def test_without_a_save_a_restart_forgets(book: Book, tmp_path: Path) -> None:
    again = Book(tmp_path / "standings.json")
    assert (again.standings, again.verdicts) == ({}, ())


def test_a_hotkey_that_lost_its_slot_starts_from_zero(book: Book, tmp_path: Path) -> None:
    book.save()
    again = Book(tmp_path / "standings.json")
    again.enrol([replace(ALICE, uid=5, registered_at=300), BOB])
    assert again["5Alice"] == Standing(300)
    assert again.verdicts == (FAIL,)


def test_only_who_is_new_gets_the_standing_of_a_newcomer(book: Book) -> None:
    def owing(registered_at: int) -> Standing:
        return Standing(registered_at, debt=7.0)

    book.enrol([ALICE, replace(BOB, registered_at=300), replace(BOB, hotkey="5Carl")], owing)
    assert book.standings == {"5Alice": EARNED, "5Bob": owing(300), "5Carl": owing(200)}


def test_who_is_gone_is_dropped(book: Book) -> None:
    book.enrol([BOB])
    assert set(book.standings) == {"5Bob"}
    assert book.verdicts == (FAIL,)
    book.enrol([ALICE, BOB])
    assert book["5Alice"] == Standing(100)


def test_another_uid_changes_nothing(book: Book) -> None:
    book.enrol([replace(ALICE, uid=9), BOB])
    assert book["5Alice"] == EARNED


def test_the_standings_handed_out_are_a_copy(book: Book) -> None:
    book.standings.clear()
    assert book["5Alice"] == EARNED


DAMAGED = {
    "empty": "",
    "cut": "{",
    "list": "[]",
    "number": "3",
    "nothing": "{}",
    "standings-only": '{"standings": {}}',
    "no-counted": '{"standings": {}, "verdicts": {}, "doubts": {}}',
    "no-doubts": '{"standings": {}, "verdicts": {}, "counted": {}}',
    "standings-list": '{"standings": [], "verdicts": {}}',
    "standing-number": '{"standings": {"5Alice": 3}, "verdicts": {}}',
    "standing-empty": '{"standings": {"5Alice": {}}, "verdicts": {}}',
    "standing-extra": '{"standings": {"5Alice": {"registered_at": 1, "colour": 2}}}',
    "verdict-short": '{"standings": {}, "verdicts": {"5Alice": {"window": 1}}}',
    "counted-pair": '{"standings": {}, "verdicts": {}, "counted": {"5Alice": [7, "audited"]}}',
    "doubts-number": '{"standings": {}, "verdicts": {}, "counted": {}, "doubts": 3}',
    "not-text": "\udcff",
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_an_error_that_names_it_and_the_mend(tmp_path: Path, text: str) -> None:
    path = tmp_path / "standings.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CorruptState, match="begins anew") as caught:
        Book(path)
    assert str(path) in str(caught.value)


def test_a_file_without_anybody_is_no_damage(tmp_path: Path) -> None:
    """What the damaged ones are measured against."""
    path = tmp_path / "standings.json"
    path.write_text(
        '{"standings": {}, "verdicts": {}, "counted": {}, "doubts": {}, "covered": {}, "muted": {},'
        ' "probation": {}}'
    )
    assert (Book(path).standings, Book(path).verdicts) == ({}, ())


ACCUSED = replace(PASS, refusal="gate")  # by another validator, of the window of the own pass


@pytest.mark.parametrize("refusal", ["gate", "equivocated"])
def test_a_doubt_removes_trust_until_an_own_verdict_of_that_window_or_later(
    book: Book, refusal: str
) -> None:
    book.doubt(replace(PASS, window=9, refusal=refusal))
    assert not book.trusts("5Alice", 0)
    assert book.verdicts == (PASS, FAIL), "a doubt is no verdict of its own"
    book.judge(replace(PASS, window=8))  # an older delta than the one that failed
    assert not book.trusts("5Alice", 0)
    book.judge(replace(PASS, window=9))
    assert book.trusts("5Alice", 9)


def test_a_later_own_verdict_ends_a_doubt_as_well(book: Book) -> None:
    book.doubt(replace(ACCUSED, window=9))
    book.judge(replace(PASS, window=10))
    assert book.trusts("5Alice", 10)
    book.doubt(replace(ACCUSED, window=9))
    assert book.trusts("5Alice", 10), "what was said of an older window is settled"
    book.doubt(replace(ACCUSED, window=11))
    book.judge(replace(ACCUSED, window=11))
    assert not book.trusts("5Alice", 0), "the own audit failed as well"
    book.judge(replace(PASS, window=12))
    assert book.trusts("5Alice", 12)


def test_another_validators_pass_is_no_doubt_and_ends_none(book: Book) -> None:
    book.doubt(replace(PASS, window=9))
    assert book.trusts("5Alice", 7)
    book.doubt(replace(ACCUSED, window=9))
    book.doubt(replace(PASS, window=10))
    assert not book.trusts("5Alice", 0)


def test_a_doubt_is_only_of_one_who_is_trusted_and_of_that_one_only(book: Book) -> None:
    bob = replace(PASS, hotkey="5Bob", window=9)
    for hotkey in ("5Bob", "5Carl"):
        book.doubt(replace(ACCUSED, hotkey=hotkey, window=20))
    assert book.trusts("5Alice", 7)
    book.judge(bob)
    assert book.trusts("5Bob", 9), "who was not trusted needed no doubt"
    book.doubt(replace(ACCUSED, window=9))
    assert book.trusts("5Bob", 9)
    assert not book.trusts("5Alice", 0)


@pytest.mark.parametrize("window", [6, 7])
def test_what_was_not_newer_than_the_own_pass_is_no_doubt(book: Book, window: int) -> None:
    """The own recomputation of a window stands against whatever others say of it."""
    book.doubt(replace(ACCUSED, window=window))
    assert book.trusts("5Alice", 7)
    book.doubt(replace(ACCUSED, window=8))
    assert not book.trusts("5Alice", 0), "one window later it is"


@pytest.mark.parametrize("heard", [(9, 11), (11, 9), (11, 11), (9, 11, 8)])
def test_the_newest_doubt_is_what_has_to_be_settled(book: Book, heard: tuple[int, ...]) -> None:
    for window in heard:
        book.doubt(replace(ACCUSED, window=window))
    for window in (9, 10):
        book.judge(replace(PASS, window=window))
        assert not book.trusts("5Alice", 0)
    book.judge(replace(PASS, window=11))
    assert book.trusts("5Alice", 11)


def test_a_doubt_survives_a_restart_with_its_window(book: Book, tmp_path: Path) -> None:
    book.doubt(replace(ACCUSED, window=9))
    book.save()
    again = Book(tmp_path / "standings.json")
    assert not again.trusts("5Alice", 0)
    again.enrol([ALICE, BOB])
    again.judge(replace(PASS, window=8))
    assert not again.trusts("5Alice", 0)
    again.judge(replace(PASS, window=9))
    assert again.trusts("5Alice", 9)
    again.save()
    assert Book(tmp_path / "standings.json").trusts("5Alice", 9), "nor does it come back"


@pytest.mark.parametrize("gone", [False, True], ids=["anew", "gone"])
def test_who_registers_anew_or_was_gone_is_not_doubted(book: Book, gone: bool) -> None:
    book.doubt(replace(ACCUSED, window=9))
    book.enrol([ALICE, BOB])
    book.judge(replace(PASS, window=8))
    assert not book.trusts("5Alice", 0), "who is still there is doubted as before"
    if gone:
        book.enrol([BOB])
    book.enrol([ALICE if gone else replace(ALICE, registered_at=300), BOB])
    book.judge(replace(PASS, window=8))
    assert book.trusts("5Alice", 8)


def test_a_windows_outcome_counts_once_for_a_hotkey(book: Book) -> None:
    assert book.counts("5Alice", 7, "audited")
    assert not book.counts("5Alice", 7, "audited")
    assert book.counts("5Bob", 7, "audited")
    assert book.counts("5Alice", 8, "audited")
    assert book.counts("5Alice", 8, "absent")
    assert not book.counts("5Alice", 8, "absent")
    assert not book.counts("5Bob", 7, "audited")


def test_each_outcome_has_its_own_newest_window(book: Book) -> None:
    assert book.counts("5Alice", 0, "audited"), "window 0 is a window"
    assert book.counts("5Alice", 8, "audited")
    assert book.counts("5Alice", 6, "absent"), "what else was noted in between is another matter"
    assert book.counts("5Alice", 8, "absent")
    for what in ("audited", "absent"):
        for window in (0, 6, 7, 8):
            assert not book.counts("5Alice", window, what)
    assert book.counts("5Alice", 9, "audited")
    assert not book.counts("5Alice", 8, "absent")
    assert book.counts("5Alice", 9, "absent")
    assert book.counts("5Bob", 6, "audited"), "of another hotkey nothing was noted"


def test_what_has_counted_is_remembered_across_a_restart(book: Book, tmp_path: Path) -> None:
    assert book.counts("5Alice", 7, "audited")
    assert book.counts("5Alice", 5, "absent")
    book.save()
    again = Book(tmp_path / "standings.json")
    again.enrol([ALICE, BOB])
    for window in (6, 7):
        assert not again.counts("5Alice", window, "audited")
    assert not again.counts("5Alice", 5, "absent")
    assert again.counts("5Alice", 6, "absent")
    assert again.counts("5Alice", 8, "audited")
    assert again.counts("5Alice", 7, "gate")
    assert again.counts("5Bob", 7, "audited")


def test_who_registers_anew_or_was_gone_is_counted_anew(book: Book) -> None:
    for enrolled in ([replace(ALICE, registered_at=300), BOB], [ALICE, BOB]):
        assert book.counts("5Alice", 7, "audited")
        book.enrol(enrolled)
    assert book.counts("5Alice", 7, "audited")
    book.enrol([BOB])
    book.enrol([ALICE, BOB])
    assert book.counts("5Alice", 7, "audited")


def test_nothing_is_kept_of_who_is_gone(book: Book, tmp_path: Path) -> None:
    assert book.counts("5Alice", 7, "audited")
    book.doubt(replace(ACCUSED, window=9))
    book.save()
    assert "5Alice" in (tmp_path / "standings.json").read_text()
    book.enrol([BOB])
    book.save()
    assert "5Alice" not in (tmp_path / "standings.json").read_text()


def test_who_is_convicted_is_never_trusted_again_whatever_it_passes(
    book: Book, tmp_path: Path
) -> None:
    book.convict(replace(PASS, refusal="gate"))
    assert book.on_probation("5Alice")
    assert not book.on_probation("5Bob"), "a failure that no recomputation found convicts nobody"
    book.judge(replace(PASS, window=8))
    assert not book.trusts("5Alice", 0)
    book.enrol([ALICE, BOB])
    book.save()
    again = Book(tmp_path / "standings.json")
    assert again.on_probation("5Alice")
    assert not again.trusts("5Alice", 0)


@pytest.mark.parametrize("gone", [False, True], ids=["anew", "gone"])
def test_probation_ends_with_a_registration(book: Book, gone: bool) -> None:
    book.convict(replace(PASS, refusal="gate"))
    if gone:
        book.enrol([BOB])
    book.enrol([ALICE if gone else replace(ALICE, registered_at=300), BOB])
    assert not book.on_probation("5Alice")

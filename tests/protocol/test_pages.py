"""The page permutation and its assignment: bijective, disjoint, and the same for everyone."""

from __future__ import annotations

from fractions import Fraction
from itertools import chain
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import blake_key, permuted

from boltzmann.protocol.pages import PageSchedule, Permutation

KEY = bytes(range(32))
OPEN_HASH = bytes(range(100, 132))
MEMBERS = ("alice", "bob", "carol", "dave")

GOLDEN_SMALL = [16, 0, 19, 9, 3, 1, 18, 6, 13, 14, 7, 5, 12, 10, 15, 20, 2, 4, 17, 8, 11]
GOLDEN_HUGE = [778820664346, 419366628656, 444056925245, 710827491713, 843628821709]
GOLDEN_ASSIGNMENT = {"alice": (64, 33), "bob": (), "carol": (60, 5), "dave": (20, 44)}
GOLDEN_CONTROL = (28, 67)

KEYS = st.binary(min_size=32, max_size=32)
HOTKEYS = st.lists(st.text(min_size=1, max_size=6), unique=True, max_size=12)


@st.composite
def schedules(draw: st.DrawFn) -> PageSchedule:
    members_max, per_member = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    control = draw(st.integers(0, 3))
    block = members_max * per_member + control
    total = draw(st.integers(block, 8 * block))
    return PageSchedule(draw(KEYS), total, members_max, per_member, control)


def test_a_small_permutation_is_pinned() -> None:
    images = [Permutation(KEY, 21)(i) for i in range(21)]
    assert images == GOLDEN_SMALL == [permuted(KEY, 21, i) for i in range(21)]


def test_a_huge_permutation_is_pinned() -> None:
    indices = (0, 1, 2, 999_999, 10**12 - 1)
    images = [Permutation(KEY, 10**12)(i) for i in indices]
    assert images == GOLDEN_HUGE == [permuted(KEY, 10**12, i) for i in indices]


def test_one_windows_assignment_is_pinned() -> None:
    schedule = PageSchedule(KEY, 100, members_max=3, pages_per_member=2, control_pages=2)
    assert schedule.assign(29, OPEN_HASH, MEMBERS) == GOLDEN_ASSIGNMENT
    assert schedule.control(29) == GOLDEN_CONTROL


def test_the_assignment_follows_from_the_rule() -> None:
    schedule = PageSchedule(KEY, 100, members_max=3, pages_per_member=2, control_pages=2)
    data_epoch, index = divmod(29, 100 // 8)
    epoch_key = blake_key(KEY, b"pages", data_epoch.to_bytes(8, "big"))
    block = [permuted(epoch_key, 100, index * 8 + i) for i in range(8)]
    ranked = sorted(MEMBERS, key=lambda name: blake_key(OPEN_HASH, b"rank", name.encode()))
    places_key = blake_key(OPEN_HASH, b"places")
    expected = {
        name: tuple(block[permuted(places_key, 6, 2 * rank + i)] for i in range(2))
        for rank, name in enumerate(ranked[:3])
    }
    expected[ranked[3]] = ()
    assert schedule.assign(29, OPEN_HASH, MEMBERS) == expected
    assert schedule.control(29) == tuple(block[6:])


@settings(max_examples=25)
@given(key=KEYS, size=st.integers(1, 2000))
def test_every_size_is_permuted(key: bytes, size: int) -> None:
    permute = Permutation(key, size)
    assert sorted(permute(i) for i in range(size)) == list(range(size))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 255, 256, 257, 1025])
def test_sizes_around_the_powers_of_two_are_permuted(size: int) -> None:
    permute = Permutation(KEY, size)
    assert sorted(permute(i) for i in range(size)) == list(range(size))


@given(
    key=KEYS,
    size=st.integers(10**6, 2**70),
    shares=st.sets(st.fractions(0, 1), max_size=60),
)
def test_huge_sizes_are_injective(key: bytes, size: int, shares: set[Fraction]) -> None:
    permute = Permutation(key, size)
    indices = {int(share * (size - 1)) for share in shares}
    images = {permute(index) for index in indices}
    assert len(images) == len(indices)
    assert all(0 <= image < size for image in images)


def test_another_key_is_another_permutation() -> None:
    images = {tuple(Permutation(bytes([i]) * 32, 50)(j) for j in range(50)) for i in range(20)}
    assert len(images) == 20


@pytest.mark.parametrize("index", [-1, 10, 11])
def test_an_index_outside_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        Permutation(KEY, 10)(index)


def test_nothing_cannot_be_permuted() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Permutation(KEY, 0)


@given(schedule=schedules(), data_epoch=st.integers(0, 3))
def test_no_page_repeats_within_a_data_epoch(schedule: PageSchedule, data_epoch: int) -> None:
    first = data_epoch * schedule.windows_per_data_epoch
    windows = range(first, first + schedule.windows_per_data_epoch)
    pages = list(chain.from_iterable(schedule.window_pages(window) for window in windows))
    assert len(pages) == len(set(pages)) == schedule.windows_per_data_epoch * schedule.block_pages
    assert all(0 <= page < schedule.total_pages for page in pages)
    assert schedule.total_pages - len(pages) < schedule.block_pages


@given(schedule=schedules(), window=st.integers(0, 10**6), open_hash=KEYS, members=HOTKEYS)
def test_members_share_no_page_and_get_no_control_page(
    schedule: PageSchedule, window: int, open_hash: bytes, members: list[str]
) -> None:
    assignment = schedule.assign(window, open_hash, members)
    given_out = list(chain.from_iterable(assignment.values()))
    assert set(assignment) == set(members)
    assert len(given_out) == len(set(given_out))
    assert set(given_out) <= set(schedule.window_pages(window)) - set(schedule.control(window))
    served = min(len(members), schedule.members_max)
    counts = sorted((len(pages) for pages in assignment.values()), reverse=True)
    assert counts == [schedule.pages_per_member] * served + [0] * (len(members) - served)


@given(schedule=schedules(), open_hash=KEYS, members=HOTKEYS.filter(bool), shuffle=st.randoms())
def test_the_order_members_are_listed_in_does_not_matter(
    schedule: PageSchedule, open_hash: bytes, members: list[str], shuffle: Random
) -> None:
    listed = [*members, members[0]]
    shuffle.shuffle(listed)
    assert schedule.assign(3, open_hash, listed) == schedule.assign(3, open_hash, members)


def test_who_gets_which_page_follows_the_opening_hash() -> None:
    schedule = PageSchedule(KEY, 1000, members_max=4, pages_per_member=3, control_pages=1)
    hashes = [bytes([i]) * 32 for i in range(24)]
    assignments = [schedule.assign(7, open_hash, MEMBERS) for open_hash in hashes]
    assert len({tuple(sorted(a.items())) for a in assignments}) == len(hashes)
    held = [{page for a in assignments for page in a[name]} for name in MEMBERS]
    assert all(pages == held[0] for pages in held)


def test_everyone_beyond_the_maximum_gets_a_turn() -> None:
    schedule = PageSchedule(KEY, 1000, members_max=1, pages_per_member=1, control_pages=0)
    served = set()
    for i in range(40):
        assignment = schedule.assign(i, bytes([i]) * 32, MEMBERS)
        served |= {name for name, pages in assignment.items() if pages}
    assert served == set(MEMBERS)


def test_data_epochs_differ() -> None:
    schedule = PageSchedule(KEY, 60, members_max=2, pages_per_member=3, control_pages=0)
    assert schedule.window_pages(0) != schedule.window_pages(schedule.windows_per_data_epoch)


def test_a_dataset_smaller_than_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="has 7 pages but one window needs 8"):
        PageSchedule(KEY, 7, members_max=3, pages_per_member=2, control_pages=2)

"""Who enters an update: a pure rule over receipts, tried from the side of those who lie in them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import HashKeys, verify_hash
from tampering import A, B, C, pledged

from boltzmann.protocol.admission import Accepted, Admission, admit, equivocators
from boltzmann.protocol.receipts import Entry, Receipt, Verdict, open_receipt

WINDOW, TRUST = 20, 5
INF = float("inf")
STAKES = {"5W1": 1, "5W2": 1, "5W3": 1}


def passing(hotkey: str, window: int = 19, norm: float = 1.0) -> Verdict:
    return Verdict(hotkey, window, "", 0.9, 1.0, norm)


def failing(hotkey: str, window: int = 19, norm: float = 1.0) -> Verdict:
    return Verdict(hotkey, window, "gate", 0.1, 0.1, norm)


def receipt(entries: dict[str, str], *verdicts: Verdict) -> Receipt:
    """Entries are hotkey -> sha256, or "" for a delta that did not arrive."""
    seen = tuple(entry(hotkey, entries[hotkey]) for hotkey in sorted(entries))
    return Receipt("run-1", WINDOW, seen, tuple(sorted(verdicts, key=lambda v: v.hotkey)))


def entry(hotkey: str, sha256: str) -> Entry:
    """What a witness saw that the hotkey had signed, or did not see."""
    if not sha256:
        return Entry(hotkey, "", "", "absent")
    return Entry(hotkey, sha256, pledged(hotkey, sha256, "run-1", WINDOW))


def forged(hotkey: str, sha256: str, signer: str = "5Evil") -> Entry:
    """What a witness made up: the hotkey never signed it."""
    return Entry(hotkey, sha256, pledged(signer, sha256, "run-1", WINDOW))


def admitted(
    receipts: dict[str, Receipt],
    stakes: dict[str, int] = STAKES,
    trust: int = TRUST,
    leader: str = "5Leader",  # who is no witness, unless a test says so
) -> Admission:
    return admit(receipts, stakes, leader, trust, verify_hash)


def entering(
    receipts: dict[str, Receipt],
    stakes: dict[str, int] = STAKES,
    trust: int = TRUST,
    leader: str = "5Leader",
) -> dict[str, str]:
    """hotkey -> sha256 of what enters."""
    accepted = admitted(receipts, stakes, trust, leader).accepted
    return {entry.hotkey: entry.sha256 for entry in accepted}


def alike(*verdicts: Verdict, entries: dict[str, str] | None = None) -> dict[str, Receipt]:
    """Three witnesses who say the same."""
    return dict.fromkeys(STAKES, receipt(entries or {"5Alice": A}, *verdicts))


def judged(*verdicts: tuple[str, Verdict], stakes: dict[str, int] = STAKES) -> bool:
    """Whether 5Alice, whose delta all saw, enters on these verdicts of these witnesses."""
    by = {w: [v for witness, v in verdicts if witness == w] for w in stakes}
    receipts = {w: receipt({"5Alice": A}, *found) for w, found in by.items()}
    return "5Alice" in entering(receipts, stakes)


def test_what_all_saw_and_passed_enters_in_hotkey_order() -> None:
    entries = {"5Carol": C, "5Alice": A, "5Bob": B}
    verdicts = [passing("5Carol", 19, 3.0), passing("5Alice", 18, 1.0), passing("5Bob", 15, 2.0)]
    accepted = (Accepted("5Alice", A), Accepted("5Bob", B), Accepted("5Carol", C))
    assert admitted(alike(*verdicts, entries=entries), STAKES, TRUST) == Admission(accepted, 2.0)


def test_nothing_admits_nothing_and_limits_nothing() -> None:
    nothing = Admission((), INF)
    assert admitted({}, {}, TRUST) == admitted({}, STAKES, TRUST) == nothing
    assert admitted(alike(entries={}), STAKES, TRUST) == nothing
    assert admitted(alike(passing("5Alice")), dict.fromkeys(STAKES, 0), TRUST) == nothing


def test_an_upload_that_some_see_differently_hurts_its_sender_only() -> None:
    verdicts = [passing("5Alice"), passing("5Mallory")]
    seen = {
        digest: receipt({"5Alice": A, "5Mallory": digest}, *verdicts) for digest in (A, B, C, "")
    }
    for views in ((A, B, C), (A, B, B), (B, A, B), (B, B, A), (A, A, B)):
        split = dict(zip(STAKES, (seen[view] for view in views), strict=True))
        assert entering(split) == {"5Alice": A}
        assert equivocators(split, verify_hash) == {"5Mallory"}
    for views in ((A, A, ""), (A, "", A), ("", A, A), (A, A, A)):
        partly = dict(zip(STAKES, (seen[view] for view in views), strict=True))
        assert entering(partly) == {"5Alice": A, "5Mallory": A}
    for views in ((A, "", ""), ("", "", "")):
        hidden = dict(zip(STAKES, (seen[view] for view in views), strict=True))
        assert entering(hidden) == {"5Alice": A}
        assert equivocators(hidden, verify_hash) == set()


def test_even_a_witness_of_one_rao_can_prove_an_equivocation() -> None:
    seen = alike(passing("5Alice"), passing("5Bob"), entries={"5Alice": A, "5Bob": B})
    proof = replace(receipt({}), entries=(entry("5Alice", C),))
    assert entering({**seen, "5Tiny": proof}, {**STAKES, "5Tiny": 1}) == {"5Bob": B}
    assert entering({**seen, "5None": proof}, STAKES) == {"5Alice": A, "5Bob": B}


@pytest.mark.parametrize("signer", ["5Evil", "5W1", "5Bob"])
def test_a_witness_cannot_make_up_an_equivocation(signer: str) -> None:
    seen = alike(passing("5Alice"), passing("5Bob"), entries={"5Alice": A, "5Bob": B})
    lies = tuple(forged(hotkey, C, signer) for hotkey in ("5Alice", "5Carol"))
    made_up = replace(receipt({}), entries=lies)
    assert equivocators({**seen, "5Evil": made_up}, verify_hash) == set()
    stakes = {**STAKES, "5Evil": 2}
    assert entering({**seen, "5Evil": made_up}, stakes) == {"5Alice": A, "5Bob": B}


def test_a_commit_of_another_window_or_run_proves_nothing() -> None:
    seen = alike(passing("5Alice"))
    for run, window in (("run-1", WINDOW - 1), ("run-2", WINDOW)):
        old = Entry("5Alice", C, pledged("5Alice", C, run, window))
        assert entering({**seen, "5W3": replace(receipt({}), entries=(old,))}) == {"5Alice": A}


def test_two_signatures_of_one_digest_are_no_equivocation() -> None:
    """Signatures are randomised, and one of these may be made up."""
    seen = alike(passing("5Alice"))
    again = replace(receipt({}), entries=(forged("5Alice", A),))
    assert equivocators({**seen, "5W3": again}, verify_hash) == set()
    assert entering({**seen, "5W3": again}) == {"5Alice": A}


def test_a_leader_that_witnesses_enters_only_what_it_received_itself() -> None:
    verdicts = [passing("5Alice"), passing("5Bob")]
    full = receipt({"5Alice": A, "5Bob": B}, *verdicts)
    receipts = {"5W1": full, "5W2": receipt({"5Alice": A, "5Bob": ""}, *verdicts), "5W3": full}
    both = {"5Alice": A, "5Bob": B}
    assert entering(receipts, leader="5W1") == entering(receipts, leader="5W3") == both
    assert entering(receipts, leader="5W2") == {"5Alice": A}
    assert entering(receipts, leader="5Leader") == both
    without = {"5W1": full, "5W2": full}
    assert entering(without, leader="5W3") == {}, "a witness without a receipt holds nothing"
    assert entering(without, leader="5Leader") == both
    limits = {admitted(receipts, leader=leader).norm_limit for leader in (*STAKES, "5Leader")}
    assert limits == {1.0}


def test_a_leader_without_stake_that_received_all_can_propose_all() -> None:
    """When all that have stake are exhausted, it is the one that is left to lead."""
    receipts = {**alike(passing("5Alice")), "5Poor": receipt({"5Alice": A})}
    assert entering(receipts, {**STAKES, "5Poor": 0}, leader="5Poor") == {"5Alice": A}


def test_the_same_bytes_of_two_senders_are_two_deltas() -> None:
    verdicts = [passing("5Alice"), passing("5Copy")]
    assert entering(alike(*verdicts, entries={"5Alice": A, "5Copy": A})) == {
        "5Alice": A,
        "5Copy": A,
    }
    divided = {
        "5W1": receipt({"5Alice": A}, *verdicts),
        "5W2": receipt({"5Copy": A}, *verdicts),
    }
    assert entering(divided) == {}


@pytest.mark.parametrize("unit", [1, 2**53, 2**63])
def test_exactly_half_of_the_stake_is_not_enough(unit: int) -> None:
    saw, blind = receipt({"5Alice": A}, passing("5Alice")), receipt({"5Alice": ""})
    receipts = {"5W1": saw, "5W2": blind}
    assert entering(receipts, {"5W1": unit, "5W2": unit}) == {}
    assert entering(receipts, {"5W1": unit + 1, "5W2": unit}) == {"5Alice": A}
    assert entering(receipts, {"5W1": unit, "5W2": unit + 1}) == {}


def test_absent_witnesses_count_in_the_whole() -> None:
    saw = receipt({"5Alice": A}, passing("5Alice"))
    assert entering({"5W1": saw}) == {}
    assert entering({"5W1": saw, "5W2": saw}) == {"5Alice": A}
    assert entering({"5W1": saw}, {"5W1": 1}) == {"5Alice": A}
    assert entering({"5W1": saw, "5W2": saw}, {**STAKES, "5W4": 1}) == {}


def test_a_receipt_of_no_witness_changes_nothing() -> None:
    honest = {
        "5W1": receipt({"5Alice": A, "5Bob": B}, passing("5Alice", 18, 2.0)),
        "5W2": receipt({"5Alice": A}, passing("5Bob", 18, 4.0)),
    }
    expected = admitted(honest, STAKES, TRUST)
    assert expected == Admission((Accepted("5Alice", A),), 3.0)
    strange = receipt(
        {"5Alice": B, "5Bob": B}, failing("5Alice", 20), passing("5Bob"), passing("5X", 20, 99.0)
    )
    assert admitted({**honest, "5Stranger": strange}, STAKES, TRUST) == expected
    assert admitted({**honest, "5Poor": strange}, {**STAKES, "5Poor": 0}, TRUST) == expected


def test_a_hotkey_without_a_verdict_does_not_enter() -> None:
    assert entering(alike(passing("5Bob"))) == {}
    assert entering(alike(passing("5Alice"), entries={"5Alice": A, "5New": B})) == {"5Alice": A}


@pytest.mark.parametrize("trust", [0, 1, 5])
def test_a_verdict_lasts_for_the_trusted_windows(trust: int) -> None:
    for age in range(8):
        found = entering(alike(passing("5Alice", WINDOW - age)), trust=trust)
        assert found == ({"5Alice": A} if age <= trust else {})


def test_a_verdict_too_old_does_not_count_against_either() -> None:
    assert judged(("5W1", failing("5Alice", WINDOW - TRUST - 1)), ("5W2", passing("5Alice", 15)))
    assert not judged(("5W1", passing("5Alice", WINDOW - TRUST - 1)), ("5W2", failing("5Alice")))


def test_the_newest_verdict_decides() -> None:
    heavy = {"5W1": 3, "5W2": 2}
    for stakes in (heavy, {"5W1": 2, "5W2": 3}):
        passed, failed = ("5W1", passing("5Alice", 17)), ("5W2", failing("5Alice", 18))
        assert not judged(passed, failed, stakes=stakes)
        failed, passed = ("5W1", failing("5Alice", 17)), ("5W2", passing("5Alice", 18))
        assert judged(failed, passed, stakes=stakes)


def test_contradicting_verdicts_are_weighed_by_stake() -> None:
    votes = [("5W1", passing("5Alice")), ("5W2", failing("5Alice"))]
    assert judged(*votes, stakes={"5W1": 3, "5W2": 2})
    assert not judged(*votes, stakes={"5W1": 2, "5W2": 3})
    assert not judged(*votes, stakes={"5W1": 2, "5W2": 2}), "a tie is no pass"
    assert judged(*votes, ("5W3", passing("5Alice", 19)))
    # What the third said earlier does not weigh on the newest audits.
    assert not judged(*votes, ("5W3", passing("5Alice", 18)))


def test_the_norm_limit_is_the_median_of_the_passing_norms() -> None:
    verdicts = [
        *(passing("5Alice", 19, 1.0), passing("5Bob", 19, 8.0), passing("5Carol", 19, 2.0)),
        *(failing("5Dave", 19, 1000.0), passing("5Old", WINDOW - TRUST - 1, 1000.0)),
    ]
    assert admitted(alike(*verdicts), STAKES, TRUST).norm_limit == 2.0
    assert admitted(alike(*verdicts, passing("5Eve", 19, 4.0)), STAKES, TRUST).norm_limit == 3.0


def test_of_several_who_audited_one_hotkey_the_heaviest_names_its_norm() -> None:
    receipts = {
        "5W1": receipt({}, passing("5Alice", 19, 1.0)),
        "5W2": receipt({}, passing("5Alice", 19, 2.0)),
        "5W3": receipt({}, failing("5Alice", 19, 9.0)),
    }
    assert admitted(receipts, {"5W1": 3, "5W2": 2, "5W3": 4}, TRUST).norm_limit == 1.0
    assert admitted(receipts, {"5W1": 2, "5W2": 3, "5W3": 4}, TRUST).norm_limit == 2.0
    assert admitted(receipts, {"5W1": 3, "5W2": 3, "5W3": 4}, TRUST).norm_limit == 2.0


@given(
    entries=st.dictionaries(st.sampled_from(["5A", "5B", "5C", "5X"]), st.sampled_from([A, B, ""]))
)
def test_entries_do_not_move_the_norm_limit(entries: dict[str, str]) -> None:
    verdicts = [passing("5A", 19, 1.0), passing("5B", 19, 2.0), passing("5C", 19, 4.0)]
    assert admitted(alike(*verdicts, entries=entries), STAKES, TRUST).norm_limit == 2.0


def reference(
    receipts: dict[str, Receipt], stakes: dict[str, int], trust: int, leader: str
) -> Admission:
    """The rule once more: hotkey by hotkey, window by window, from the newest back."""
    weights = {w: stakes[w] for w in receipts if stakes.get(w)}
    rows = [(w, row) for w in weights for row in receipts[w].entries if row.sha256]
    accepted: list[Accepted] = []
    norms: list[float] = []
    for hotkey in ("5A", "5B", "5C", "5D"):
        balance, norm = newest(hotkey, receipts, weights, trust)
        if balance <= 0:
            continue
        norms.append(norm)
        mine = [(w, row) for w, row in rows if row.hotkey == hotkey]
        if len({row.sha256 for _, row in mine if row == entry(hotkey, row.sha256)}) > 1:
            continue
        for sha256 in (A, B):
            saw = {w for w, row in mine if row.sha256 == sha256}
            weight = sum(weights[w] for w in saw)
            if weight > sum(stakes.values()) - weight and (leader not in stakes or leader in saw):
                accepted.append(Accepted(hotkey, sha256))
    norms.sort()
    middle = norms[(len(norms) - 1) // 2 : len(norms) // 2 + 1] or [INF]
    return Admission(tuple(accepted), sum(middle) / len(middle))


def newest(
    hotkey: str, receipts: dict[str, Receipt], weights: dict[str, int], trust: int
) -> tuple[int, float]:
    """By how much stake the newest audits passed, and the heaviest passing witness's norm."""
    for window in range(WINDOW, WINDOW - trust - 1, -1):
        votes = [
            (weights[w], w, verdict)
            for w in weights
            for verdict in receipts[w].verdicts
            if (verdict.hotkey, verdict.window) == (hotkey, window)
        ]
        if votes:
            passed = sorted((weight, w, v.norm) for weight, w, v in votes if not v.refusal)
            failed = sum(weight for weight, _, v in votes if v.refusal)
            return sum(p[0] for p in passed) - failed, passed[-1][2] if passed else INF
    return 0, INF


HOTKEYS = st.sampled_from(["5A", "5B", "5C", "5D"])
WITNESSES = st.sampled_from(["5W1", "5W2", "5W3", "5W4"])
VERDICTS = st.builds(
    lambda window, bad, norm: Verdict("", window, "gate" if bad else "", 0.5, 1.0, norm),
    st.integers(13, WINDOW),
    st.booleans(),
    st.sampled_from([0.5, 1.0, 2.0, 3.0, 100.0]),
)
VIEWS = st.tuples(st.sampled_from([A, A, A, B, ""]), st.integers(0, 3).map(bool))
RECEIPTS = st.builds(
    lambda entries, verdicts: replace(
        receipt({}, *(replace(verdict, hotkey=hotkey) for hotkey, verdict in verdicts.items())),
        entries=tuple(
            entry(hotkey, sha256) if signed or not sha256 else forged(hotkey, sha256)
            for hotkey, (sha256, signed) in sorted(entries.items())
        ),
    ),
    st.dictionaries(HOTKEYS, VIEWS),
    st.dictionaries(HOTKEYS, VERDICTS),
)
SEEN = st.dictionaries(WITNESSES, RECEIPTS)
WEIGHTS = st.dictionaries(WITNESSES, st.integers(0, 4) | st.just(2**63), min_size=1)


LEADERS = WITNESSES | st.just("5Leader")


@settings(max_examples=300)
@given(receipts=SEEN, stakes=WEIGHTS, trust=st.integers(0, 7), leader=LEADERS)
def test_a_second_implementation_agrees(
    receipts: dict[str, Receipt], stakes: dict[str, int], trust: int, leader: str
) -> None:
    if stakes.get(leader) == 0:  # has a test of its own
        return
    expected = reference(receipts, stakes, trust, leader)
    assert admitted(receipts, stakes, trust, leader) == expected


@given(receipts=SEEN, stakes=WEIGHTS)
def test_the_order_of_receipts_and_stakes_is_nothing(
    receipts: dict[str, Receipt], stakes: dict[str, int]
) -> None:
    turned = dict(reversed(receipts.items())), dict(reversed(stakes.items()))
    assert admitted(*turned) == admitted(receipts, stakes)


@given(receipts=SEEN, stakes=WEIGHTS)
def test_what_enters_is_sorted_and_once_per_hotkey(
    receipts: dict[str, Receipt], stakes: dict[str, int]
) -> None:
    hotkeys = [entry.hotkey for entry in admitted(receipts, stakes, TRUST).accepted]
    assert hotkeys == sorted(set(hotkeys))


# What one witness with a sliver of the stake must not be able to do to all the others.

SLIVER = {"5W1": 10**9, "5W2": 10**9, "5W3": 10**9, "5Evil": 1}
HONEST = alike(
    passing("5Alice", 19, 1.0), passing("5Bob", 19, 1.5), entries={"5Alice": A, "5Bob": B}
)


@pytest.mark.parametrize("norm", [5e-324, 1e308])
def test_a_sliver_of_stake_cannot_move_the_norm_limit_with_invented_hotkeys(norm: float) -> None:
    """One rao must not scale everyone's delta to nothing, nor lift the clip."""
    invented = receipt({}, *(passing(f"5X{number:04d}", 20, norm) for number in range(1000)))
    limit = admitted({**HONEST, "5Evil": invented}, SLIVER, TRUST).norm_limit
    assert 1.0 <= limit <= 1.5


def test_a_sliver_of_stake_cannot_shut_out_what_all_others_passed() -> None:
    """It says of everyone: failed, in a window that the others have not audited yet."""
    slander = receipt({}, failing("5Alice", 20), failing("5Bob", 20))
    assert entering({**HONEST, "5Evil": slander}, SLIVER) == {"5Alice": A, "5Bob": B}


def test_a_sliver_of_stake_cannot_let_in_what_all_others_failed() -> None:
    accused = alike(failing("5Mallory", 19), entries={"5Mallory": C})
    pardon = receipt({"5Mallory": C}, passing("5Mallory", 20))
    assert entering({**accused, "5Evil": pardon}, SLIVER) == {}


@pytest.mark.parametrize("norm", [0.0, -0.0, 5e-324, 1e308])
def test_whatever_receipts_open_the_limit_is_one_that_a_proposal_can_carry(norm: float) -> None:
    """`open_manifest` refuses a limit of 0: no window could be closed while the verdict lasts.

    Infinity would lift the clip though there are audits.
    """
    keys = HashKeys("5W1")
    verdicts = (passing("5Alice", 19, norm), passing("5Bob", 19, norm))
    sealed = Receipt("run-1", WINDOW, (), verdicts).seal("5W1", keys.sign)
    opened = open_receipt(sealed, "run-1", WINDOW, "5W1", verify_hash)
    if isinstance(opened, Receipt):
        assert 0.0 < admitted({"5W1": opened}, {"5W1": 1}, TRUST).norm_limit < INF
    else:
        assert norm == 0.0

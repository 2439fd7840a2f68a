"""Every registered adversary in small networks: refused for what it does, and honest work is not.

Who adds an attack adds a line to WHY, or to one of the sets of those that nothing can be held
against.
"""

from __future__ import annotations

from functools import cache

import pytest

from boltzmann.cli.main import main
from boltzmann.errors import ConfigError
from boltzmann.node import examine
from boltzmann.node.book import Book
from boltzmann.protocol import scoring
from boltzmann.protocol.receipts import Verdict
from boltzmann.protocol.rejection import Reason
from boltzmann.protocol.scoring import AuditConfig, Comparison
from boltzmann.simulate.adversaries import REGISTERED, described, rogue_named
from boltzmann.simulate.adversaries.base import Adversary, adversary
from boltzmann.simulate.adversaries.patience import WAYS
from boltzmann.simulate.network import Network
from boltzmann.simulate.plan import SimulationPlan
from boltzmann.simulate.results import PeerResult, SimulationResult
from boltzmann.simulate.run import simulate
from boltzmann.store.address import parse_address

WINDOWS = 6
WHY: dict[str, Reason] = {
    "byte-copy": Reason.WRONG_HOTKEY,
    "copy": Reason.UNCOMMITTED,
    "copy-last": Reason.GATE,
    "copy-noise": Reason.GATE,
    "copy-rescaled": Reason.GATE,
    "copy-signs": Reason.GATE,
    "denormal": Reason.GATE,
    "faked-page": Reason.GATE,
    "diluted": Reason.GATE,
    "dodging": Reason.GATE,
    "foreign-signature": Reason.BAD_SIGNATURE,
    "half": Reason.GATE,
    "half-pages": Reason.GATE,
    "header-bomb": Reason.BAD_HEADER,
    "idle": Reason.ABSENT,
    "impersonator": Reason.WRONG_HOTKEY,
    "inf": Reason.NOT_FINITE,
    "junk": Reason.BAD_MAGIC,
    "key-traversal": Reason.UNREACHABLE,
    "late": Reason.ABSENT,
    "late-commit": Reason.UNCOMMITTED,
    "long": Reason.WRONG_SIZE,
    "mean-others": Reason.GATE,
    "nan": Reason.NOT_FINITE,
    "negated": Reason.GATE,
    "off-points": Reason.GATE,
    "one-machine": Reason.GATE,
    "one-tensor": Reason.GATE,
    "other-object": Reason.BAD_KIND,
    "other-pages": Reason.GATE,
    "protege": Reason.GATE,
    "random": Reason.GATE,
    "published-keys": Reason.BAD_DIGEST,
    "replay": Reason.GATE,
    "scale-down": Reason.NORM,
    "scale-up": Reason.TOO_LARGE,
    "sharing": Reason.GATE,
    "short": Reason.WRONG_SIZE,
    "short-page": Reason.GATE,
    "signs": Reason.GATE,
    "slow": Reason.SLOW,
    "squatter": Reason.WRONG_HOTKEY,
    "stale": Reason.GATE,
    "tokens-94": Reason.GATE,
    "two-commits": Reason.EQUIVOCATED,
    "two-faced": Reason.BAD_COMMIT,
    "wrong-codec": Reason.BAD_HEADER,
    "wrong-shares": Reason.SHARES,
    "zero": Reason.GATE,
}
HARMLESS = {"bucket-change", "overwrite"}  # what they do comes when nobody looks any more
PATIENT = {"alie", "ipm"}  # they are honest first
STALLING = {"two-receipts", "trickling", "unreadable"}  # validators of no stake
WITHHOLDING = {"late-manifest", "misleading"}
VALIDATORS = {
    "alarmist",
    "captor",
    "false-alarms",
    "idle-witness",
    "jamming",
    "parting",
    "patron",
    "splitting",
    "weight-copier",
    *STALLING,
}
HIDING = {"evasive", "favoured", "hiding"}
BLURRED = {"blurred"}
NARROW = {"stretched"}
EARNING = {"one-machine", *HARMLESS}  # they work
SOME_READERS = {"two-commits", "two-faced"}  # who was honest to most is paid by those for a while
TOGETHER = ("one-machine", "sharing")
SPLIT = 1  # a seed of networks in which three with a third of it lead in some windows
LED = 2  # a seed of networks in which a validator with a seventh of the stake leads once
PARTED = 13  # a seed of networks in which one with a ninth leads as an epoch ends


@cache
def everybody() -> SimulationResult:
    """All hostile miners at once, with as few honest ones as that takes."""
    hostile = {name: 1 + (name in TOGETHER) for name in {*WHY, *HARMLESS}}
    peers = sum(hostile.values()) + 3
    return simulate(SimulationPlan(peers, 3, WINDOWS, hostile=hostile, audit_rate=0.5))


def of_kind(result: SimulationResult, kind: str) -> list[PeerResult]:
    return [peer for peer in result.peers if peer.kind == kind]


def test_each_adversary_is_tried_here() -> None:
    validators = VALIDATORS | WITHHOLDING
    tried = set(WHY).union(HARMLESS, PATIENT, validators, HIDING, BLURRED, NARROW)
    assert tried == set(REGISTERED)
    assert {name for name, attack in REGISTERED.items() if attack.stake} == validators


def test_honest_work_is_not_refused_among_all_of_them() -> None:
    result = everybody()
    assert result.is_sound
    for peer in of_kind(result, "honest"):
        assert (peer.windows, peer.rejected, peer.work) == (WINDOWS, {}, WINDOWS)
        assert peer.accepted == result.updates


@pytest.mark.parametrize("kind", sorted(WHY))
def test_what_it_does_is_refused(kind: str) -> None:
    assert WHY[kind].value in of_kind(everybody(), kind)[-1].rejected


@pytest.mark.parametrize("kind", sorted({*WHY, *HARMLESS} - EARNING - SOME_READERS))
def test_it_earns_nothing(kind: str) -> None:
    for peer in of_kind(everybody(), kind):
        assert peer.pay <= 0.01 * everybody().honest_pay
        assert peer.bad_after == 0


@pytest.mark.parametrize("kind", sorted(SOME_READERS))
def test_who_shows_readers_different_bytes_earns_less_than_its_work(kind: str) -> None:
    (peer,) = of_kind(everybody(), kind)
    assert peer.work == WINDOWS + 1  # the one that has begun when the simulation ends as well
    assert peer.pay < 0.7 * everybody().honest_pay


@pytest.mark.parametrize("kind", sorted(HARMLESS))
def test_what_nobody_looks_at_any_more_harms_nobody(kind: str) -> None:
    (peer,) = of_kind(everybody(), kind)
    assert peer.rejected == {}
    assert peer.accepted == everybody().updates


def test_of_several_hotkeys_on_one_machine_one_is_paid() -> None:
    first, second = of_kind(everybody(), "one-machine")
    assert (first.rejected, first.first_cheat, second.accepted) == ({}, None, 0)
    assert second.pay == 0.0 < first.pay


def test_patience_does_not_help_where_nearly_every_window_is_audited() -> None:
    kinds = ("sleeper2-half", "sometimes50-random", "relapser2-half", "sleeper2-stale")
    result = simulate(
        SimulationPlan(7, 3, 8, hostile=dict.fromkeys(kinds, 1), audit_rate=0.9, seed=3)
    )
    assert result.is_sound
    for kind in kinds:
        (peer,) = of_kind(result, kind)
        assert peer.first_cheat is not None and peer.first_cheat >= 2
        assert peer.delay is not None and peer.delay <= 1
        assert peer.bad_after == 0
        assert peer.accepted >= 1
        # Weights are those of the window before, and an alarm comes a window after the cheat: up
        # to two windows more are paid before the debt is taken back.
        assert peer.work is not None
        assert 0.0 < peer.pay / result.honest_pay < (peer.work + 2.0) / 8
    (again,) = of_kind(result, "relapser2-half")
    (never,) = of_kind(result, "sleeper2-half")
    assert again.accepted > never.accepted  # it was honest, and trusted, in between


def test_poison_off_the_audit_points_is_found() -> None:
    kinds = ("alie", "ipm", "sleeper1-off-points", "recycler1-half-pages")
    result = simulate(
        SimulationPlan(7, 3, 10, hostile=dict.fromkeys(kinds, 1), audit_rate=1.0, seed=3)
    )
    assert result.is_sound
    for kind in kinds:
        (peer,) = of_kind(result, kind)
        assert peer.rejected.keys() == {Reason.GATE.value}
        assert peer.accepted >= 1
        assert peer.pay < result.honest_pay
    # A hotkey that registered anew enters again as soon as it has passed again.
    (recycled,) = of_kind(result, "recycler1-half-pages")
    assert recycled.rejected[Reason.GATE.value] >= 2


@pytest.mark.parametrize(("dues", "pays"), [(0.0, True), (1.0, False)])
def test_registering_anew_pays_only_where_newcomers_owe_nothing(dues: float, pays: bool) -> None:
    kind = "recycler1-random"
    result = simulate(
        SimulationPlan(6, 3, 30, hostile={kind: 2}, audit_rate=0.125, dues=dues, seed=3)
    )
    assert result.is_sound
    assert result.honest_pay > 0.1
    for peer in of_kind(result, kind):
        assert peer.rejected[Reason.GATE.value] >= 2
        assert (peer.pay > 0.1 * result.honest_pay) == pays
        assert peer.pay == 0.0 or pays


@pytest.mark.parametrize("kind", ["recycler1-random", "recycler1-dodging"])
def test_dues_are_worked_off_under_audits_where_there_are_hardly_any_others(kind: str) -> None:
    plan = SimulationPlan(
        6, 3, 30, hostile={kind: 2}, audit_rate=1 / 32, dues=0.2, trust_windows=128, age_max=64
    )
    result = simulate(plan)
    assert result.is_sound
    assert result.honest_pay > 0.1
    for peer in of_kind(result, kind):
        assert (peer.pay, peer.rejected[Reason.GATE.value] >= 5) == (0.0, True)


def test_nobodys_word_that_it_has_audited_keeps_the_others_from_looking() -> None:
    """Where hardly anything but age makes anybody look: three windows, or two later another one."""
    hostile = {"idle-witness": 1, "sleeper1-random": 3}
    plan = SimulationPlan(
        *(7, 3, 24),
        hostile=hostile,
        audit_rate=1e-6,
        dues=0.0,
        trust_windows=128,
        age_max=3,
    )
    result = simulate(plan)
    assert result.is_sound
    for peer in of_kind(result, "sleeper1-random"):
        assert peer.delay is not None
        assert peer.delay <= 9


def test_a_patron_lets_no_friend_in_where_some_may_enter_that_few_have_passed() -> None:
    """What failed once is told until an audit passes; else it would enter after three windows."""
    plan = SimulationPlan(
        *(6, 3, 10), hostile={"patron": 1, "protege": 2}, unverified_max=0.4, trust_windows=3
    )
    result = simulate(plan)
    assert (result.is_sound, result.updates) == (True, 10)
    assert [peer.accepted for peer in of_kind(result, "protege")] == [0, 0]
    assert {peer.accepted for peer in of_kind(result, "honest")} == {10}


def test_alarms_about_narrow_work_are_heard_but_put_nobody_in_doubt_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In doubt, friends would be audited in full, in each window and before others' spot audits."""
    doubted, heard = [], []
    doubt, put_off = Book.doubt, Book.put_off

    def doubting(book: Book, verdict: Verdict) -> None:
        doubted.append(verdict.window)
        doubt(book, verdict)

    def putting_off(book: Book, validator: str, until: int) -> None:
        heard.append(validator)
        put_off(book, validator, until)

    monkeypatch.setattr(Book, "doubt", doubting)
    monkeypatch.setattr(Book, "put_off", putting_off)
    hostile = {"alarmist": 1, "stretched": 2}
    result = simulate(SimulationPlan(5, 3, WINDOWS, hostile=hostile), processes=1)
    assert (result.agreed, result.updates) == (True, WINDOWS)
    assert len(heard) == 2 * 3 * (WINDOWS - 1)
    assert len(doubted) == 2 * 3
    for peer in result.peers:
        assert (peer.rejected, peer.accepted) == ({}, WINDOWS)
        assert peer.pay == pytest.approx(result.honest_pay, rel=0.05)


@pytest.mark.parametrize("kind", sorted(VALIDATORS))
def test_a_hostile_validator_neither_stops_the_run_nor_moves_the_pay(kind: str) -> None:
    hostile = {kind: 1, "protege": 1}
    result = simulate(SimulationPlan(4, 3, WINDOWS, hostile=hostile))
    assert result.agreed
    assert result.updates == WINDOWS
    assert result.honest_refused == ()
    assert of_kind(result, "protege")[0].pay == 0.0
    assert set(result.dividends) == {"validator", kind}
    assert result.dividends["validator"] > 0.0 and result.dividends[kind] <= 1.01
    pays = [peer.pay for peer in of_kind(result, "honest")]
    assert min(pays) > 0.9 * max(pays)


@pytest.mark.parametrize("kind", sorted(WITHHOLDING))
def test_a_leader_that_chooses_who_reads_its_manifest_costs_honest_miners_nothing(
    kind: str,
) -> None:
    """It leads in one window of these: the one that nobody closes where it shows no validator."""
    hostile = {kind: 1, "favoured": 1}
    result = simulate(SimulationPlan(4, 3, WINDOWS, hostile=hostile, seed=LED))
    assert result.agreed
    assert result.updates == WINDOWS - (kind == "misleading")
    for peer in result.peers:
        assert (peer.rejected, peer.accepted) == ({}, result.updates)
        assert peer.pay == pytest.approx(result.honest_pay, rel=0.05)


@pytest.mark.parametrize("kind", ["jamming", "splitting"])
def test_leaders_that_split_the_validators_earn_their_friends_nothing(kind: str) -> None:
    """Their updates are of their friends' work alone; honest work is paid all the same."""
    hostile = {kind: 3, "favoured": 1}
    result = simulate(SimulationPlan(4, 3, WINDOWS, hostile=hostile, seed=SPLIT))
    assert result.updates == WINDOWS
    assert result.honest_refused == ()
    honest, friends = of_kind(result, "honest"), of_kind(result, "favoured")
    assert max(peer.accepted for peer in honest) < WINDOWS
    for peer in honest:
        assert peer.rejected == {}
        assert peer.pay == pytest.approx(result.honest_pay, rel=0.05)
    assert max(peer.pay for peer in friends) < 1.02 * result.honest_pay


def test_a_split_as_an_epoch_ends_costs_one_window_and_not_the_next_epoch() -> None:
    """The two halves make different checkpoints, and neither can agree to the other's."""
    hostile = {"parting": 1, "favoured": 1}
    plan = SimulationPlan(3, 4, 26, hostile=hostile, seed=PARTED, pages_per_member=1)
    result = simulate(plan)
    assert result.agreed
    assert result.updates == plan.windows - 1
    assert [peer.rejected for peer in of_kind(result, "honest")] == [{}, {}]
    assert of_kind(result, "favoured")[0].pay < 1.02 * result.honest_pay


def test_a_leader_that_received_its_friends_delta_only_leads_to_nothing() -> None:
    result = simulate(SimulationPlan(4, 3, WINDOWS, hostile={"captor": 1, "favoured": 1}, seed=LED))
    assert result.agreed
    assert result.updates == WINDOWS
    for peer in result.peers:
        assert (peer.rejected, peer.accepted) == ({}, WINDOWS)


def test_miners_who_hide_from_the_first_leaders_stop_no_window() -> None:
    """Three of ten do: more than the first leader may lack, less than the second."""
    plan = SimulationPlan(10, 7, WINDOWS, hostile={"evasive": 3}, pages_per_member=1)
    result = simulate(plan)
    assert (result.is_sound, result.updates) == (True, WINDOWS)
    for peer in of_kind(result, "honest"):
        assert (peer.accepted, peer.rejected) == (WINDOWS, {})
    for peer in of_kind(result, "evasive"):
        assert peer.accepted < WINDOWS
        assert peer.pay < result.honest_pay


def test_dust_and_hidden_deltas_stop_no_window() -> None:
    hostile = {"two-receipts": 1, "trickling": 1, "unreadable": 1, "hiding": 3}
    result = simulate(SimulationPlan(6, 4, WINDOWS, hostile=hostile))
    assert result.agreed
    assert result.updates == WINDOWS
    assert result.honest_refused == ()
    for peer in of_kind(result, "hiding"):
        assert peer.rejected.keys() == {Reason.ABSENT.value}
        assert 0.0 < peer.pay < 0.9 * result.honest_pay


def test_shares_blurred_on_purpose_keep_nobody_from_being_audited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[bool] = []

    def decides(share: Comparison, config: AuditConfig) -> bool:
        told.append(scoring.decides(share, config))
        return told[-1]

    monkeypatch.setattr(examine, "decides", decides)
    plan = SimulationPlan(8, 3, 2 * WINDOWS, hostile={"blurred": 5, "random": 1})
    result = simulate(plan)
    assert result.is_sound
    assert result.updates == 2 * WINDOWS
    assert told.count(False) >= 5, "their spot audits tell nothing"
    assert of_kind(result, "random")[0].rejected.keys() == {Reason.GATE.value}
    for peer in (*of_kind(result, "blurred"), *of_kind(result, "honest")):
        assert peer.rejected == {}
        assert peer.accepted == result.updates
        assert peer.pay == pytest.approx(result.honest_pay, rel=0.05)


def test_names_that_nobody_can_read_stop_nothing_after_an_empty_window() -> None:
    empty = 3

    async def hide(network: Network) -> None:
        def serve(reader: str, key: str, stored: bytes | None) -> bytes | None:
            return None if key.endswith(f"/{empty}/delta") else stored

        for running in network.nodes.values():
            if running.member.kind == "honest":
                network.buckets.serve[running.node.store.address] = serve

    plan = SimulationPlan(3, 3, WINDOWS + 2, hostile={"unreadable": 4}, happenings={empty: hide})
    result = simulate(plan)
    assert result.agreed
    assert result.updates == WINDOWS + 1


def test_names_make_buckets_and_have_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(described()) == len(REGISTERED) + len(WAYS)
    for name in REGISTERED:
        parse_address(f"http://buckets.sim/{name}0")
        assert any(line.split()[0] == name for line in lines)
    assert max(map(len, lines)) <= 140


@pytest.mark.parametrize("kind", ["nobody", "sleeper-nobody", "sleeper-patron", "often-half"])
def test_unknown_adversaries(kind: str) -> None:
    with pytest.raises(ConfigError, match=f"{kind} is unknown"):
        rogue_named(kind)


def test_a_name_is_registered_once_and_with_a_description() -> None:
    class Nameless(Adversary):
        pass

    Nameless.__doc__ = None
    for name, attack in (("half", Adversary), ("new", Nameless)):
        with pytest.raises(ValueError, match="needs a name and a docstring"):
            adversary(name)(attack)
    assert "new" not in REGISTERED

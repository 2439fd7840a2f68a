"""Who takes part, and what everything is called."""

from __future__ import annotations

import pytest
import torch
from node_kit import CONFIG, RUN
from scripted_chain import Keys, Script, ScriptedChain

from boltzmann.errors import ConfigError
from boltzmann.node.conduct import ADVERSARIES, Conduct, Honest, conduct_named
from boltzmann.node.membership import Peer, first_validator, miners, peers_at, validators
from boltzmann.node.objects import expected
from boltzmann.node.worker import pick_device
from boltzmann.protocol.chainview import Neuron
from boltzmann.protocol.commitment import Commitment, Role
from boltzmann.protocol.points import count
from boltzmann.protocol.slices import select
from boltzmann.protocol.wire import Kind, seal

BUCKET = "http://127.0.0.1:9/bucket"


def peer(hotkey: str, role: Role, *, stake: float = 0.0, permit: bool = True) -> Peer:
    return Peer(Neuron(0, hotkey, stake, permit, 0, 0), Commitment(role, RUN, BUCKET))


async def test_peers_are_registered_and_committed_to_this_run_at_that_block() -> None:
    script = Script()
    hotkeys = [script.register(name) for name in ("c", "a", "b", "silent", "elsewhere", "junk")]
    for hotkey in hotkeys[:3]:
        script.commit(hotkey, Commitment(Role.MINER, RUN, BUCKET), 5)
    script.commit(hotkeys[4], Commitment(Role.MINER, "run-2", BUCKET), 5)
    script.records.append((5, hotkeys[5], (b"not one of ours",)))
    script.commit(Keys("unregistered").hotkey, Commitment(Role.MINER, RUN, BUCKET), 5)
    script.commit(hotkeys[0], Commitment(Role.MINER, "run-2", BUCKET), 7)
    chain = ScriptedChain(script, hotkeys[0])
    assert await peers_at(chain, RUN, 4) == []
    assert [p.hotkey for p in await peers_at(chain, RUN, 5)] == sorted(hotkeys[:3])
    assert [p.hotkey for p in await peers_at(chain, RUN, 7)] == sorted(hotkeys[1:3])


def test_only_those_who_declare_to_mine_are_members() -> None:
    peers = [peer("a", Role.MINER), peer("b", Role.VALIDATOR), peer("c", Role.OWNER)]
    assert [member.hotkey for member in miners(peers)] == ["a"]


def test_validators_are_those_who_declare_it_and_have_a_permit() -> None:
    peers = [
        peer("a", Role.VALIDATOR, stake=5),
        peer("b", Role.VALIDATOR, stake=7),
        peer("c", Role.MINER, stake=99),
        peer("d", Role.VALIDATOR, stake=98, permit=False),
        peer("e", Role.OWNER, stake=97),
    ]
    assert [found.hotkey for found in validators(peers)] == ["a", "b"]
    for order in (peers, peers[::-1]):
        assert first_validator(order) == "b"
    assert first_validator([p for p in peers if p.hotkey in "cde"]) == ""
    assert first_validator([]) == ""


def test_equal_stakes_have_one_first_validator_whatever_the_order() -> None:
    peers = [peer(hotkey, Role.VALIDATOR, stake=5) for hotkey in "bca"]
    assert {first_validator(order) for order in (peers, peers[::-1])} == {"c"}


def test_a_reader_knows_an_objects_size_before_it_reads() -> None:
    script, keys = Script(), Keys("a")
    chosen = select(CONFIG.layout({"t": (100,)}), script.hash(1))
    known = expected(CONFIG, Kind.DELTA, keys.hotkey, 1, bytes(32), chosen)
    sealed = seal(known, 5, bytes(known.body_bytes), keys.sign)
    assert len(sealed) == known.object_bytes
    assert known.values == chosen.size
    assert known.shares == (CONFIG.data.pages_per_member, count(chosen.layout, CONFIG.audit.points))
    assert known.limit == CONFIG.exchange.max_magnitude


# Names in settings


@pytest.mark.parametrize("name", ["random", "copy", "half", "idle"])
def test_each_cheat_has_its_name(name: str) -> None:
    conduct: Conduct = conduct_named(name)
    assert type(conduct) is ADVERSARIES[name]
    assert type(conduct) is not Honest


def test_without_a_name_a_miner_is_honest() -> None:
    assert type(conduct_named("")) is Honest


@pytest.mark.parametrize("name", ["honest", "Random", "copy:2", " "])
def test_an_unknown_cheat_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown: use one of random, copy, half, idle"):
        conduct_named(name)


def test_the_cpu_is_always_there() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gpu", "not a device name"),
        ("", "not a device name"),
        ("cuda:x", "not a device name"),
        ("meta", "not supported"),
        ("xpu", "not supported"),
        ("cuda:99", r"no CUDA GPU|numbers 0 to"),
    ],
)
def test_a_device_that_cannot_be_used_is_refused(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"--device {name}.*({words})"):
        pick_device(name)

"""The window loops of validators and miners together, over several windows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from loops_kit import STAKES, Network, network, theta
from node_kit import CLOCK, CONFIG, RUN, Bucket, reading_store, running
from scripted_chain import Keys

from boltzmann.node.book import Book
from boltzmann.node.follow import follow
from boltzmann.node.stages import MINER_STAGES, VALIDATOR_STAGES

MINERS = {"anna": "", "bert": "", "cheat": "random"}
HONEST = sorted(Keys(name).hotkey for name in ("anna", "bert"))


def checkpoints(net: Network, window: int) -> dict[str, set[str]]:
    """Each validator's published descriptors of the checkpoint after `window`."""
    prefix = f"{RUN}/{window}/checkpoint/"
    return {
        name: {
            key.removeprefix(prefix).removesuffix(".json")
            for key in Bucket.of(net.nodes[name].node.store.address).listed()
            if key.startswith(prefix) and key.endswith(".json")
        }
        for name in STAKES
    }


async def test_a_network_trains_scores_pays_and_keeps_checkpoints(s3: str, tmp_path: Path) -> None:
    async with network(s3, tmp_path, MINERS) as net:
        net.start(*net.nodes)
        await net.begin()
        for window in (1, 2, 3, 4):
            await net.window(window)
            assert net.agree()
        assert len({await theta(node) for node in net.nodes.values()}) == 1
        assert net.nodes["anna"].state.position.window == 4
        for name in STAKES:
            told = net.nodes[name].told
            assert [e["accepted"] for e in told.of("window")] == [HONEST] * 4
            refused = {(e["hotkey"], e["reason"]) for e in told.of("rejected")}
            assert refused == {(Keys("cheat").hotkey, "gate")}
            assert all(e["loss"] is not None for e in told.of("round"))
            gates = {e["gate"] for e in told.of("peer") if e["hotkey"] in HONEST}
            assert min(gates) >= CONFIG.gate.gate_min
            assert {e["objection"] for e in told.of("ballot")} == {""}
            assert told.of("error") == told.of("undone") == told.of("withheld") == []
        assert {who for who, _ in net.script.weights} == {Keys(name).hotkey for name in STAKES}
        for _, shares in net.script.weights:
            assert set(shares) == {3, 4}  # the uids of the honest
            assert sum(shares.values()) == pytest.approx(1.0)
        # Whatever a node does is done in a stage that a test can end it at.
        assert {frozenset(net.stages(name)) for name in MINERS} == {
            frozenset(stage.value for stage in MINER_STAGES)
        }
        done = set().union(*(net.stages(name) for name in STAKES))
        assert done == {stage.value for stage in VALIDATOR_STAGES}
        # Epochs have ended: everybody holds a copy on disk, and old journals are gone.
        assert all(node.node.snapshot.exists() for node in net.nodes.values())
        leader = net.nodes["anna"].node.manifests[net.nodes["anna"].state.position.head].name.leader
        (name,) = (name for name in STAKES if Keys(name).hotkey == leader)
        assert net.nodes[name].node.outbox.find(4, "manifest") is not None
        assert all(net.nodes[name].node.outbox.find(1, "manifest") is None for name in STAKES)
        await checkpoints_are_sound(net, s3, tmp_path)


async def checkpoints_are_sound(net: Network, s3: str, folder: Path) -> None:
    """Equal on every machine, copied as often as the run says, named from then on."""
    for window in (1, 3):
        written = {
            (
                net.nodes[name].node.folder / "checkpoints" / str(window) / "descriptor.json"
            ).read_bytes()
            for name in STAKES
        }
        assert len(written) == 1
        held = checkpoints(net, window)
        (digest,) = set().union(*held.values())
        copies = [name for name in STAKES if held[name] == {digest}]
        assert len(copies) == CONFIG.exchange.checkpoint_copies
    node = net.nodes["anna"].node
    named = node.manifests[node.worker.state.position.head].manifest.proposal.checkpoint
    assert (named.window, named.digest) == (3, digest)
    async with running(net.script, "late", reading_store(s3), folder / "late") as late:
        assert await follow(late.node, 4) is None
        assert late.state.position == net.nodes["anna"].state.position
        assert [e["checkpoint"] for e in late.told.of("loaded")] == [3]
        assert [e["window"] for e in late.told.of("applied")] == [4]


async def test_a_validator_that_was_killed_comes_back_and_goes_on(s3: str, tmp_path: Path) -> None:
    async with network(s3, tmp_path, {"anna": "", "bert": ""}) as net:
        net.start(*net.nodes)
        await net.begin()
        await net.window(1)
        killed = net.nodes["ben"].node
        await net.stop("ben")
        await net.window(2)
        assert net.agree()
        async with running(net.script, "ben", killed.store, killed.folder) as again:
            net.nodes["ben"] = again
            net.start("ben")
            await net.seen(["ben"], "applied", window=2)
            # It had saved nothing yet, but its standings were written in window 1.
            assert Book(killed.folder / "standings.json").standings != {}
            assert [e["checkpoint"] for e in again.told.of("loaded")] == [1]
            await net.window(3)
            assert net.agree()
            assert net.nodes["anna"].state.position.window == 3
            assert [e["objection"] for e in again.told.of("ballot")] == [""]
            assert again.told.of("undone") == again.told.of("genesis") == []
            await net.stop("ben")


async def test_a_window_without_a_majority_is_empty_and_the_run_goes_on(
    s3: str, tmp_path: Path
) -> None:
    async with network(s3, tmp_path, {"anna": ""}) as net:
        net.start(*net.nodes)
        await net.begin()
        await net.window(1)
        for name in ("ben", "cyd"):
            await net.stop(name)
            # Whether it had begun the next epoch already is a matter of luck.
            shutil.rmtree(net.nodes[name].node.folder / "checkpoints", ignore_errors=True)
        await net.upload(2)
        await net.script.advance(CLOCK.upload_by(2))
        await net.seen(["ada"], "stage", stage="receipt", window=2)
        await net.script.advance(CLOCK.decide(2))
        await net.seen(["ada"], "window", window=2)
        await net.all(*(net.nodes[name].chain.has_read(CLOCK.decide(2)) for name in net.loops))
        assert {net.nodes[name].state.position.window for name in net.loops} == {1}
        assert net.agree()
        net.start("ben", "cyd")
        await net.window(3)
        assert net.agree()
        assert net.nodes["anna"].state.position.window == 3
        held = net.nodes["anna"].node.manifests[net.nodes["anna"].state.position.head]
        assert held.manifest.proposal.parent is not None
        assert held.manifest.proposal.parent.window == 1
        # What was made while they were away they have made since, and all name it.
        assert held.manifest.proposal.checkpoint.window == 1
        ballots = [e["objection"] for n in net.validators for e in net.nodes[n].told.of("ballot")]
        assert set(ballots) == {""}

"""Finding the run a subnet's owner put on chain, and refusing everything that does not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from node_kit import CONFIG, NETUID, RUN, store_of
from scripted_chain import OWNER, Keys, Script, ScriptedChain

from boltzmann.config import RunConfig
from boltzmann.errors import ConfigError
from boltzmann.node.objects import config_key
from boltzmann.node.runconfig import find_run, publish_run
from boltzmann.protocol.commitment import Commitment, Role
from boltzmann.store.s3 import S3Store


@pytest.fixture
def script() -> Script:
    return Script(height=1)


@pytest.fixture
def chain(script: Script) -> ScriptedChain:
    return ScriptedChain(script, Keys(OWNER).hotkey)


@pytest.fixture
def store(s3: str) -> S3Store:
    return store_of(s3, "owner")


async def found(chain: ScriptedChain, store: S3Store, pinned: str = "") -> RunConfig:
    await chain.script.advance(chain.script.height + 1)
    return await find_run(chain, store, NETUID, pinned, 5.0)


@pytest.mark.parametrize("pinned", ["", CONFIG.sha256, CONFIG.sha256.upper()])
async def test_the_owners_run_is_found_byte_for_byte(
    chain: ScriptedChain, store: S3Store, pinned: str
) -> None:
    await publish_run(chain, store, CONFIG)
    run = await found(chain, store, pinned)
    assert run == CONFIG
    assert run.encode() == CONFIG.encode()
    assert run.sha256 == CONFIG.sha256


async def test_the_newest_config_of_the_owner_counts(chain: ScriptedChain, store: S3Store) -> None:
    await publish_run(chain, store, CONFIG)
    await chain.script.advance(5)
    other = replace(CONFIG, run=replace(CONFIG.run, id="run-2"))
    await publish_run(chain, store, other)
    assert await found(chain, store) == other


async def test_without_an_owners_record_there_is_no_run(
    chain: ScriptedChain, store: S3Store
) -> None:
    stranger = ScriptedChain(chain.script, Keys("stranger").hotkey)
    await publish_run(stranger, store, CONFIG)
    with pytest.raises(ConfigError, match=r"netuid 220 has no Boltzmann run.*check --netuid"):
        await found(chain, store)
    chain.script.commit(chain.hotkey, Commitment(Role.VALIDATOR, RUN, store.address), 2)
    with pytest.raises(ConfigError, match="netuid 220 has no Boltzmann run"):
        await found(chain, store)


async def test_another_run_than_the_pinned_one_is_refused(
    chain: ScriptedChain, store: S3Store
) -> None:
    await publish_run(chain, store, CONFIG)
    with pytest.raises(ConfigError, match=f"sha256 {CONFIG.sha256}.* pins {'0' * 64}: update"):
        await found(chain, store, "0" * 64)


async def test_a_file_that_is_not_there_is_named(chain: ScriptedChain, store: S3Store) -> None:
    record = Commitment(Role.OWNER, RUN, store.address, config=CONFIG.sha256)
    await chain.commit(record.encode())
    with pytest.raises(ConfigError, match=f"cannot be read from .*{store.address}: absent"):
        await found(chain, store)


async def test_a_file_that_was_changed_is_refused(chain: ScriptedChain, store: S3Store) -> None:
    store.put(config_key(RUN), CONFIG.encode() + b"\n")
    record = Commitment(Role.OWNER, RUN, store.address, config=CONFIG.sha256)
    await chain.commit(record.encode())
    with pytest.raises(ConfigError, match="somebody changed the file"):
        await found(chain, store)


async def test_a_file_that_is_too_large_is_not_read(chain: ScriptedChain, store: S3Store) -> None:
    store.put(config_key(RUN), CONFIG.encode() + b"#" * (64 << 10))
    record = Commitment(Role.OWNER, RUN, store.address, config=CONFIG.sha256)
    await chain.commit(record.encode())
    with pytest.raises(ConfigError, match="wrong_size"):
        await found(chain, store)


@pytest.mark.parametrize("field", ["netuid", "id"])
async def test_a_config_of_another_subnet_or_run_is_refused(
    chain: ScriptedChain, store: S3Store, field: str
) -> None:
    change = {"netuid": 221} if field == "netuid" else {"id": "run-2"}
    other = replace(CONFIG, run=replace(CONFIG.run, **change))
    store.put(config_key(RUN), other.encode())
    record = Commitment(Role.OWNER, RUN, store.address, config=other.sha256)
    await chain.commit(record.encode())
    with pytest.raises(ConfigError, match=r"run\.toml is for run .* tell the subnet's owner"):
        await found(chain, store)


async def test_a_malformed_config_names_table_and_key(chain: ScriptedChain, store: S3Store) -> None:
    data = CONFIG.encode().replace(b"train_blocks = 2", b"train_blocks = 0")
    await publish_run(chain, store, replace(CONFIG, source=data))
    with pytest.raises(ConfigError, match=r"\[windows\]: train_blocks must be at least 1"):
        await found(chain, store)

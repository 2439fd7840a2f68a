"""The chain's file: a versioned key-value state in SQLite, written by many processes.

Every row says from which block on a storage item has a value, so a read as of any past block is
exact. WAL lets readers and the one writer work side by side; each change is one transaction, so a
process killed at any moment leaves the file as it was before or after it, never between.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boltzmann.chain.embedded.clock import Clock
from boltzmann.chain.embedded.rules import CallFailed
from boltzmann.errors import ConfigError

APPLICATION_ID = 0x424C5A32  # marks a SQLite file as one of these chains, in this layout
WRITE_WAIT_S = 30.0  # how long a transaction waits for another process's before it gives up

_SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
CREATE TABLE chain (
    only INTEGER PRIMARY KEY CHECK (only = 0),
    netuid INTEGER NOT NULL, seed BLOB NOT NULL, block_time_s REAL NOT NULL,
    start_block INTEGER NOT NULL, start_time REAL NOT NULL, held INTEGER NOT NULL,
    until INTEGER, stood TEXT NOT NULL, sealed INTEGER NOT NULL
);
CREATE TABLE state (
    module TEXT NOT NULL, item TEXT NOT NULL, key TEXT NOT NULL, block INTEGER NOT NULL,
    value TEXT, PRIMARY KEY (module, item, key, block)
) WITHOUT ROWID;
CREATE TABLE extrinsic (
    block INTEGER NOT NULL, position INTEGER NOT NULL, hash TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL, failure TEXT, events TEXT NOT NULL, PRIMARY KEY (block, position)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class ChainRow:
    """What the chain is and how far it has come: blocks up to `sealed` can never change."""

    netuid: int
    clock: Clock
    sealed: int


@dataclass(frozen=True)
class Included:
    """One extrinsic in a block. `failure` is (pallet, error name), None when its call succeeded."""

    block: int
    position: int
    hash: str
    body: str
    failure: tuple[str, str] | None
    events: tuple[dict[str, Any], ...]


class Storage:
    """One connection to the chain's file; use it from one thread."""

    def __init__(self, path: Path) -> None:
        """Raises: ConfigError when `path` is not the file of an embedded chain."""
        if not path.is_file():
            raise ConfigError(
                f"there is no embedded chain at {path}; start one with `boltzmann local`"
            )
        self._db = _connect(path)
        try:
            (mark,) = self._db.execute("PRAGMA application_id").fetchone()
            # In WAL mode a killed process loses nothing with NORMAL; a power failure may drop the
            # newest transactions, and the file stays consistent even then.
            self._db.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.OperationalError:
            self._db.close()
            raise
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise _not_a_chain(path) from error
        if mark != APPLICATION_ID:
            self._db.close()
            raise _not_a_chain(path)

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One snapshot for several reads."""
        with self._db:
            self._db.execute("BEGIN")
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One change: the only writer from here to the end, all of it kept or nothing."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            yield

    @contextmanager
    def dispatching(self) -> Iterator[None]:
        """Within `writing`: undo what is put here when the call fails, keep the rest."""
        self._db.execute("SAVEPOINT call")
        try:
            yield
        except CallFailed:
            self._db.execute("ROLLBACK TO call")
            raise
        finally:
            self._db.execute("RELEASE call")

    def chain(self) -> ChainRow:
        row = self._db.execute(
            "SELECT netuid, sealed, seed, block_time_s, start_block, start_time, held, until, stood"
            " FROM chain"
        ).fetchone()
        netuid, sealed, seed, block_time_s, start_block, start_time, held, until, text = row
        stood = tuple((int(block), float(seconds)) for block, seconds in json.loads(text))
        clock = Clock(seed, block_time_s, start_block, start_time, bool(held), until, stood)
        return ChainRow(netuid, clock, sealed)

    def seal(self, block: int) -> None:
        self._db.execute("UPDATE chain SET sealed = ?", (block,))

    def set_clock(self, clock: Clock) -> None:
        """Change when the chain runs; its seed, its pace and its first block stay."""
        self._db.execute(
            "UPDATE chain SET start_time = ?, held = ?, until = ?, stood = ?",
            (clock.start_time, int(clock.held), clock.until, _text(clock.stood)),
        )

    def get(self, module: str, item: str, key: Sequence[Any], block: int) -> Any:
        """The value as of `block`, None where there is none."""
        row = self._db.execute(
            "SELECT value FROM state WHERE module = ? AND item = ? AND key = ? AND block <= ?"
            " ORDER BY block DESC LIMIT 1",
            (module, item, _text(list(key)), block),
        ).fetchone()
        return None if row is None or row[0] is None else json.loads(row[0])

    def entries(
        self, module: str, item: str, prefix: Sequence[Any], block: int
    ) -> list[tuple[list[Any], Any]]:
        """(whole key, value) of every entry under `prefix` as of `block`, in key order."""
        # A key is a JSON array: all keys under a prefix start with its text and a comma. "-" is the
        # character after the comma, "\\" the one after the bracket that every key starts with.
        stem = _text(list(prefix))[:-1]
        low, high = (stem + ",", stem + "-") if prefix else ("[", "\\")
        rows = self._db.execute(
            # SQLite takes `value` from the row that holds the maximum.
            "SELECT key, value, MAX(block) FROM state WHERE module = ? AND item = ?"
            " AND key >= ? AND key < ? AND block <= ? GROUP BY key",
            (module, item, low, high, block),
        ).fetchall()
        return sorted(
            (json.loads(key), json.loads(value)) for key, value, _ in rows if value is not None
        )

    def put(self, module: str, item: str, key: Sequence[Any], block: int, value: Any) -> None:
        """Let the value count from `block` on; None removes the entry."""
        self._db.execute(
            "INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?, ?)",
            (module, item, _text(list(key)), block, None if value is None else _text(value)),
        )

    def extrinsics(self, block: int) -> list[Included]:
        """The block's extrinsics in their order."""
        rows = self._db.execute(
            "SELECT block, position, hash, body, failure, events FROM extrinsic"
            " WHERE block = ? ORDER BY position",
            (block,),
        ).fetchall()
        return [
            Included(at, position, hash_, body, _failure(failure), tuple(json.loads(events)))
            for at, position, hash_, body, failure, events in rows
        ]

    def next_position(self, block: int) -> int:
        (count,) = self._db.execute(
            "SELECT COUNT(*) FROM extrinsic WHERE block = ?", (block,)
        ).fetchone()
        return int(count)

    def append(self, included: Included) -> None:
        failure = None if included.failure is None else _text(list(included.failure))
        self._db.execute(
            "INSERT INTO extrinsic VALUES (?, ?, ?, ?, ?, ?)",
            (
                included.block,
                included.position,
                included.hash,
                included.body,
                failure,
                _text(list(included.events)),
            ),
        )


@dataclass(frozen=True)
class View:
    """The state as of the end of `block`; what is put counts from that block on."""

    storage: Storage
    block: int

    def get(self, module: str, item: str, *key: Any) -> Any:
        return self.storage.get(module, item, key, self.block)

    def entries(self, module: str, item: str, *prefix: Any) -> list[tuple[list[Any], Any]]:
        return self.storage.entries(module, item, prefix, self.block)

    def put(self, module: str, item: str, *key: Any, value: Any) -> None:
        self.storage.put(module, item, key, self.block, value)


def lay_out(path: Path, chain: ChainRow) -> Storage:
    """A new file at `path` with the tables and the chain's row, in WAL mode."""
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.executescript(_SCHEMA)
        clock = chain.clock
        db.execute(
            "INSERT INTO chain VALUES (0, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                chain.netuid,
                clock.seed,
                clock.block_time_s,
                clock.start_block,
                clock.start_time,
                int(clock.held),
                clock.until,
                _text(clock.stood),
                chain.sealed,
            ),
        )
        db.execute("PRAGMA journal_mode = WAL")
    finally:
        db.close()
    return Storage(path)


def _connect(path: Path) -> sqlite3.Connection:
    # mode=rw: opening must never create a file; the thread check would forbid closing from another
    # thread after the one that used the connection has ended.
    uri = path.resolve().as_uri() + "?mode=rw"
    return sqlite3.connect(
        uri, uri=True, isolation_level=None, timeout=WRITE_WAIT_S, check_same_thread=False
    )


def _not_a_chain(path: Path) -> ConfigError:
    return ConfigError(
        f"{path} is not the file of an embedded chain, or its creation was cut short; remove it and"
        " start a new chain"
    )


def _failure(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    pallet, name = json.loads(text)
    return pallet, name


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))

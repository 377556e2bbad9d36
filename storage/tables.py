"""The tables of a store, and the rows of `meta` that say what wrote it: its format, its engine.

All of them are made in one transaction, and opened together or not at all: a store is whole, of a
version that this code knows, or refused.
"""

from __future__ import annotations

from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

import lmdb

from ksmp.types import Epoch
from storage.errors import StoreCorruptError, StoreIncompatibleError
from storage.keys import FORMAT_VERSION, TABLES, check_of, with_check, without_check

ENGINE: Final = b"lmdb 0.9"

META_FORMAT: Final = b"format"
META_ENGINE: Final = b"engine"
META_EPOCH: Final = b"epoch"
META_JOURNAL_KEY: Final = b"journal_key"
META_FOLDED: Final = b"folded"
META_CHECK: Final = b"check"
META_ROWS: Final = frozenset(
    (META_FORMAT, META_ENGINE, META_EPOCH, META_JOURNAL_KEY, META_FOLDED, META_CHECK)
)

UPGRADABLE: Final = frozenset((1, 2))
"""The format versions that `storage.upgrade` starts from."""

Tables = dict[bytes, lmdb._Database]  # noqa: SLF001 - the stub's name of a public type


class Folded(NamedTuple):
    """How far the tables have come: they have every frame of the journal up to `number`.

    A store that is `whole` has no journal: all that was ever committed is in the tables.
    """

    number: int
    is_whole: bool


_folded: Final = Struct("!Q?")


def create_tables(env: lmdb.Environment, epoch: Epoch, journal_key: bytes) -> tuple[Tables, Epoch]:
    """All of it in one transaction: a store either is one, or is still new at the next start."""
    with env.begin(write=True) as transaction:
        tables = {name: env.open_db(name, txn=transaction) for name in TABLES}
        meta = tables[b"meta"]
        transaction.put(META_FORMAT, FORMAT_VERSION.to_bytes(2, "big"), db=meta)
        transaction.put(META_ENGINE, ENGINE, db=meta)
        transaction.put(META_EPOCH, epoch.encode(), db=meta)
        begin_journal(transaction, tables, journal_key)
        put_check(transaction, tables)
    return tables, epoch


def begin_journal(transaction: lmdb.Transaction[bytes], tables: Tables, key: bytes) -> None:
    """The rows of a store that has none yet, and is whole."""
    transaction.put(META_JOURNAL_KEY, key, db=tables[b"meta"])
    put_folded(transaction, tables, Folded(0, True))


def put_folded(transaction: lmdb.Transaction[bytes], tables: Tables, folded: Folded) -> None:
    """From the commit of `transaction` on, the tables have come so far."""
    row = with_check(_folded.pack(*folded))
    transaction.put(META_FOLDED, row, db=tables[b"meta"])


def put_check(transaction: lmdb.Transaction[bytes], tables: Tables) -> None:
    """The epoch and the key of the journal are what they are now, and no bit of them flips."""
    check = _check(transaction, tables)
    transaction.put(META_CHECK, check, db=tables[b"meta"])


def _check(transaction: lmdb.Transaction[bytes], tables: Tables) -> bytes:
    epoch, key = (
        transaction.get(row, db=tables[b"meta"]) for row in (META_EPOCH, META_JOURNAL_KEY)
    )
    return check_of((epoch or b"") + b"\0" + (key or b""))


def read_folded(
    path: Path, transaction: lmdb.Transaction[bytes], tables: Tables
) -> tuple[Folded, bytes]:
    """How far the tables have come, and the key of the journal's checks.

    Raises:
        StoreCorruptError: it is not told.
    """
    row = transaction.get(META_FOLDED, db=tables[b"meta"])
    key = transaction.get(META_JOURNAL_KEY, db=tables[b"meta"])
    try:
        folded = without_check(row or b"", _folded.size)
    except ValueError:
        folded = b""
    if len(folded) != _folded.size or not key:
        raise corrupt(path, "it does not tell which part of its journal is in the tables")
    return Folded(*_folded.unpack(folded)), key


def open_tables(
    path: Path,
    env: lmdb.Environment,
    transaction: lmdb.Transaction[bytes],
    versions: frozenset[int] = frozenset((FORMAT_VERSION,)),
) -> Tables:
    """Every table of a store of one of these format versions.

    Raises:
        StoreIncompatibleError: it is of another format version or engine, or no store at all.
    """
    try:
        meta = env.open_db(b"meta", txn=transaction, create=False)
    except lmdb.NotFoundError:
        raise incompatible(path, "it is an LMDB file of some other program") from None
    version = int.from_bytes(transaction.get(META_FORMAT, db=meta) or b"", "big")
    if version not in versions:
        raise incompatible(
            path,
            f"its format version is not {FORMAT_VERSION}",
            "Start the relay on it once, which upgrades it." if version in UPGRADABLE else None,
        )
    if transaction.get(META_ENGINE, db=meta) != ENGINE:
        raise incompatible(path, "another storage engine wrote it")
    try:
        return {name: env.open_db(name, txn=transaction, create=False) for name in TABLES}
    except lmdb.NotFoundError:
        raise corrupt(path, "one of its tables is missing") from None


def read_epoch(path: Path, transaction: lmdb.Transaction[bytes], tables: Tables) -> Epoch:
    """The identity of the store's unbroken history.

    Raises:
        StoreCorruptError: it has none, or its rows of `meta` are not those that were stored.
    """
    meta = tables[b"meta"]
    epoch, check = transaction.get(META_EPOCH, db=meta), transaction.get(META_CHECK, db=meta)
    if not epoch:
        raise corrupt(path, "it has no epoch")
    names = set(transaction.cursor(meta).iternext(values=False))
    if names - META_ROWS or check not in (None, _check(transaction, tables)):
        raise corrupt(path, "its epoch or the key of its journal is not the one that was stored")
    return Epoch(epoch.decode("ascii", "replace"))


def corrupt(path: Path, why: str) -> StoreCorruptError:
    """The store contradicts itself."""
    return StoreCorruptError(
        f"the store {path} is damaged",
        why,
        "Run `ksmp-relay verify` to see where; restore a backup, then `ksmp-relay new-epoch`.",
    )


def incompatible(path: Path, why: str, what_to_do: str | None = None) -> StoreIncompatibleError:
    """The store is one of another version, of another engine, or none."""
    return StoreIncompatibleError(
        f"the store {path} cannot be read by this version",
        why,
        what_to_do or "Start the version of the relay that wrote it, or choose another directory.",
    )

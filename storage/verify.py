"""The offline check: is this store what the relay would have written, row by row and all together.

    structure       pages, trees, free pages                                  `storage.structure`
    names           numbers 1..N, each with one name, and the way back   `storage.verify_log`
    log             per conversation 1..N; every chain value; heads; keys   `storage.verify_log`
    inboxes         per user dense; every record once, in order, at each   `storage.verify_inboxes`
    bytes           what quotas count, counted again                       `storage.verify_inboxes`
    reads           no further than the head; the index says the same   `storage.verify_inboxes`

Read-only and streaming: memory grows with the number of users and conversations, not of records.
Problems are told in numbers. What clients have chosen (names, keys, ciphertexts) is never shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import lmdb

from storage.directory import DATA_FILE, DirectoryLock, missing, unavailable
from storage.engine import explain, open_read_only
from storage.environment import find_unfolded, unfolded_rows
from storage.errors import StoreCorruptError
from storage.rows import View
from storage.snapshot import Snapshot
from storage.structure import structure_problems
from storage.tables import open_tables, read_epoch, read_folded
from storage.verify_inboxes import check_bytes, check_inboxes, check_reads
from storage.verify_log import check_log, check_names


@dataclass(frozen=True, slots=True)
class Verification:
    """What was examined, and what is wrong: `ok` means nothing is."""

    ok: bool
    records: int
    conversations: int
    inboxes: int
    problems: list[str]


def verify(path: Path) -> Verification:
    """Examine the store at `path`, which no process may have open; nothing is written.

    Raises:
        StorageError: there is no store, a process has it open, this version cannot read it, or
            the operating system refuses. Damage is not raised: it is in the result.
    """
    if not (path / DATA_FILE).exists():
        raise missing(path)
    lock = DirectoryLock(path, shared=True, create=False)
    try:
        problems = structure_problems(path / DATA_FILE)
        if problems:
            # The engine trusts what it maps: a broken file is not handed to it.
            return _damaged([f"structure: {problem}" for problem in problems])
        return _verify_content(path)
    finally:
        lock.release()


def _verify_content(path: Path) -> Verification:
    try:
        env = open_read_only(path)
        try:
            with env.begin() as transaction:
                tables = open_tables(path, env, transaction)
                read_epoch(path, transaction, tables)
                found = find_unfolded(path, *read_folded(path, transaction, tables))
                generations = unfolded_rows(path, found).generations
                return _verify_rows(Snapshot(View(generations, transaction, tables)))
        finally:
            env.close()
    except StoreCorruptError as error:
        return _damaged([error.why])
    except lmdb.Error as error:
        raise explain(path, error) from error
    except OSError as error:
        raise unavailable(path, error) from error


def _verify_rows(snapshot: Snapshot) -> Verification:
    check_names(snapshot)
    conversations = check_log(snapshot)
    check_inboxes(snapshot, conversations)
    check_bytes(snapshot, conversations)
    check_reads(snapshot, conversations)
    return Verification(
        ok=not snapshot.problems,
        records=snapshot.count(b"log"),
        conversations=snapshot.count(b"conversation_names"),
        inboxes=snapshot.count(b"inboxes"),
        problems=snapshot.problems,
    )


def _damaged(problems: list[str]) -> Verification:
    return Verification(False, 0, 0, 0, problems)

"""What LMDB alone is measured on is what the relay's own writer puts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import count, islice
from pathlib import Path

import pytest

from bench.lmdb_alone import commit_for
from bench.lmdb_rows import TransactionRows, transactions
from ksmp.chain import chain_payload
from ksmp.codec import decode_recorded
from ksmp.events import Envelope
from ksmp.types import Epoch, ServerSeq, TimeMs, conversation_key
from storage.environment import Environment, open_environment
from storage.keys import payload_digest, unpack_record
from storage.log import Append, Appended, NewRecord
from storage.transaction import Writer
from tests.wire.relay_process import REPOSITORY


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    made = store(tmp_path / "store")
    yield made
    made.close()


def store(path: Path) -> Environment:
    return open_environment(path, new_epoch=lambda: Epoch("test"), map_lock=nullcontext())


def sizes(environment: Environment) -> dict[bytes, list[tuple[bytes, int]]]:
    """Of every table but `meta`: each key, and how long its value is."""
    with environment.reading() as transaction:
        return {
            table: [(key, len(row)) for key, row in transaction.cursor(database)]
            for table, database in environment.tables.items()
            if table != b"meta"
        }


def as_appends(rows: TransactionRows) -> list[Append]:
    """What the relay would hand to its writer so that these records are stored."""
    records: defaultdict[object, list[NewRecord]] = defaultdict(list)
    for _, row in rows[b"log"]:
        chain, recorded = unpack_record(row)
        sent = decode_recorded(recorded)
        key = conversation_key(sent.conversation_id, sent.sender_user_id, sent.recipient_user_id)
        envelope = Envelope(*(getattr(sent, name) for name in Envelope.__struct_fields__))
        records[key].append(
            NewRecord(
                ServerSeq(sent.server_seq),
                TimeMs(sent.server_received_at_ms),
                sent.sender_user_id,
                sent.idempotency_key,
                payload_digest(chain_payload(envelope)),
                chain,
                recorded,
            )
        )
    return [
        Append(key, ServerSeq(of_key[0].server_seq - 1), of_key)  # type: ignore[arg-type]
        for key, of_key in records.items()
    ]


def test_the_rows_are_those_of_the_relays_own_writer(
    tmp_path: Path, environment: Environment
) -> None:
    other = store(tmp_path / "other")
    writer = Writer(other, lambda: 1 << 40)
    ticks = count()
    # As many seconds as transactions: a clock that goes on by one between begin and end.
    report = commit_for(environment, 10, 4, 300, 5.0, lambda: float(next(ticks)))
    for rows in islice(transactions(10, 4, 300), 5):
        outcomes = writer.transact(as_appends(rows))
        assert all(isinstance(outcome, Appended) for outcome in outcomes)

    assert sizes(environment) == sizes(other)
    assert (report.commits, report.messages_per_s) == (5, 10.0)
    other.close()


def test_a_row_counts_wherever_it_is_put(environment: Environment) -> None:
    ticks = count()

    report = commit_for(environment, 8, 4, 10, 2.0, lambda: float(next(ticks)))

    # Each record: log, key, two inboxes. Each conversation: its head, two inboxes' states. Once,
    # two rows for the conversation and for each of its users.
    each_time = 8 * 4 + 4 * 3
    assert report.rows_per_s == (2 * each_time + 4 * 6) / 2


def test_it_runs_in_a_process_of_its_own() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "bench.lmdb_alone", "--seconds", "0.1", "--json"],
        cwd=REPOSITORY,
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert finished.returncode == 0, finished.stderr
    report = json.loads(finished.stdout)
    assert report["commits"] >= 1
    assert report["rows_per_s"] > 4 * report["messages_per_s"] > 0

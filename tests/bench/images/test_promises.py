"""What was promised is asked for: what is lost, changed or invented is named."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from bench.images.letters import Letter, append_of, head_after, rows_of, talk
from bench.images.marks import Appended as AppendedMark
from bench.images.marks import Found, Mark, Marked, Offered, Opened, decode_mark, encode_mark
from bench.images.promises import BrokenPromiseError, Promises
from ksmp.chain import chain_base
from ksmp.types import Epoch, ServerSeq, TimeMs, UserId
from storage.environment import open_environment
from storage.keys import Marks, pack_marks, pack_pair, pack_side
from storage.log import Appended, ConversationHead, MarkRead
from storage.rows import ROW_TABLES
from storage.transaction import Writer

KEY = talk("ann", "bob")
BASE = ConversationHead(ServerSeq(0), chain_base(*KEY))
FIRST = append_of(KEY, BASE, [Letter(UserId("ann"), "k1", b"1"), Letter(UserId("bob"), "k2", b"2")])
SECOND = append_of(KEY, head_after(FIRST), [Letter(UserId("ann"), "k3", b"3")])
OTHER_SECOND = append_of(KEY, head_after(FIRST), [Letter(UserId("ann"), "k4", b"4")])

OFFERS: Sequence[Mark] = [
    Opened("epoch"),
    Offered(KEY, BASE.chain, rows_of(FIRST)),
    Offered(KEY, head_after(FIRST).chain, rows_of(SECOND)),
]
ACKED = AppendedMark(KEY, *head_after(SECOND), {"ann": {3: 3}, "bob": {3: 3}})
READ = Marked(KEY, "bob", 2, 2)


@pytest.fixture
def content(tmp_path: Path) -> dict[bytes, dict[bytes, bytes]]:
    """Of a store with both appends, of which `bob` has read two records."""
    environment = open_environment(
        tmp_path / "store", new_epoch=lambda: Epoch("epoch"), new_lock=nullcontext
    )
    outcomes = Writer(environment, lambda: 1 << 40).transact(
        [FIRST, SECOND, MarkRead(KEY, UserId("bob"), ServerSeq(2), False, TimeMs(5))]
    )
    assert isinstance(outcomes[0], Appended)
    with environment.reading() as view:
        found = {table: dict(view.range(table)) for table in ROW_TABLES}
    environment.close()
    return found


def promises(*marks: Mark) -> Promises:
    made = Promises()
    for mark in marks:
        made.take(decode_mark(encode_mark(mark)))
    return made


def test_a_store_that_has_what_it_promised_breaks_nothing(content) -> None:
    assert list(promises(*OFFERS, ACKED, READ).broken(content)) == []
    assert list(promises(*OFFERS).broken(content)) == []  # more than it promised


def test_a_record_that_is_lost_or_changed_is_named(content) -> None:
    kept = promises(*OFFERS, ACKED)
    log = content[b"log"]

    lost = content | {
        b"log": {place: row for place, row in log.items() if place != pack_pair(1, 2)}
    }
    changed = content | {b"log": log | {pack_pair(1, 2): log[pack_pair(1, 2)] + b"x"}}

    assert list(kept.broken(lost)) == ["lost: record 2 of conversation 1"]
    assert "changed: record 2 of conversation 1" in list(kept.broken(changed))


def test_an_acknowledged_record_vouches_for_those_before_it(content) -> None:
    assert promises(*OFFERS, ACKED).conversations == {KEY: 3}
    assert promises(*OFFERS, Found(KEY, *head_after(FIRST))).conversations == {KEY: 2}
    nothing: dict[bytes, dict[bytes, bytes]] = {table: {} for table in content}
    broken = promises(*OFFERS, ACKED).broken(nothing)
    assert next(broken) == "lost: a conversation of 3 records"


def test_a_record_that_nobody_offered_is_invented(content) -> None:
    assert list(promises(*OFFERS[:2]).broken(content)) == ["invented: record 3 of conversation 1"]


def test_a_row_of_an_inbox_keeps_its_number(content) -> None:
    moved = content | {b"inbox": content[b"inbox"] | {pack_pair(1, 3): pack_pair(1, 2)}}

    assert list(promises(*OFFERS, ACKED).broken(moved)) == ["lost or changed: row 3 of inbox 1"]


def test_a_read_position_does_not_go_back(content) -> None:
    (key,) = content[b"reads"]
    assert key == pack_side(1, 1)
    back = content | {b"reads": {key: pack_marks(Marks())}}

    assert list(promises(*OFFERS, ACKED, READ).broken(back)) == [
        "lost: a read position of conversation 1"
    ]


@pytest.mark.parametrize(
    "marks",
    [
        [ACKED, Found(KEY, *head_after(FIRST))],
        [
            ACKED,
            Offered(KEY, head_after(FIRST).chain, rows_of(OTHER_SECOND)),
            Found(KEY, *head_after(OTHER_SECOND)),
        ],
        [Opened("another")],
        [READ, Marked(KEY, "bob", 1, 1)],
    ],
    ids=["head goes back", "another past", "another epoch", "read position goes back"],
)
def test_a_process_that_is_told_otherwise_later_was_lied_to(marks: list[Mark]) -> None:
    with pytest.raises(BrokenPromiseError):
        promises(*OFFERS, *marks)

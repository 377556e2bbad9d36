"""Quotas of stored bytes: kept to the byte, durable, and nobody else's matter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.environment import Environment
from storage.keys import InboxState, pack_number, record_bytes, unpack_inbox_state
from storage.limits import StoreLimits
from storage.log import Append, Appended, Full, KnownKeys, MarkRead, Operation, Outcome, OverQuota
from storage.transaction import Writer
from tests.storage.world import (
    PLENTY,
    Sent,
    append,
    base,
    conversation,
    head_after,
    mark,
    opened,
)

ANN_BOB = conversation("ann", "bob")
ANN_CARL = conversation("ann", "carl")
BOB_CARL = conversation("bob", "carl")
ANN_ANN = conversation("ann", "ann")
ANN, BOB, CARL = 1, 2, 3
"""The numbers of users, where they appear in this order."""


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    with opened(tmp_path / "store") as environment:
        yield environment


def transact(
    environment: Environment, *operations: Operation, sender: int = 0, inbox: int = 0
) -> list[Outcome]:
    """What a writer with these quotas makes of the operations, in one transaction."""
    limits = StoreLimits(stored_bytes_per_sender=sender, stored_bytes_per_inbox=inbox)
    return Writer(environment, lambda: PLENTY, limits).transact(operations)


def sizes(new: Append) -> list[int]:
    return [record_bytes(record.recorded) for record in new.records]


def state(environment: Environment, user: int) -> InboxState:
    with environment.reading() as view:
        row = view.get(b"inboxes", pack_number(user))
    return unpack_inbox_state(row or b"")


# ── what is counted ──────────────────────────────────────────────────────────────────────────


def test_a_record_counts_with_its_row_for_its_sender_and_in_both_inboxes(
    environment: Environment,
) -> None:
    new = append(ANN_BOB, base(ANN_BOB), [Sent("ann", "k1"), Sent("bob", "k2", bytes(1_000))])
    to_carl = append(ANN_CARL, base(ANN_CARL), [Sent("carl", "k3", bytes(50))])

    transact(environment, new, to_carl)

    small, large = sizes(new)
    (third,) = sizes(to_carl)
    with environment.reading() as view:
        assert [len(row) for _, row in view.range(b"log")] == [small, large, third]
    assert state(environment, ANN) == (3, 0, small + large + third, small)
    assert state(environment, BOB) == (2, 0, small + large, large)
    assert state(environment, CARL) == (1, 0, third, third)


def test_a_record_to_oneself_counts_once_in_the_one_inbox(environment: Environment) -> None:
    new = append(ANN_ANN, base(ANN_ANN), [Sent("ann", "k1"), Sent("ann", "k2")])

    transact(environment, new)

    assert state(environment, ANN) == (2, 0, sum(sizes(new)), sum(sizes(new)))


def test_reads_and_refused_sends_count_for_nothing(environment: Environment) -> None:
    first = append(ANN_BOB, base(ANN_BOB), [Sent("ann", "k1")])
    transact(environment, first)
    before = [state(environment, user) for user in (ANN, BOB)]

    outcomes = transact(
        environment,
        append(ANN_BOB, head_after(first), [Sent("ann", "k1")]),
        append(ANN_BOB, head_after(first), [Sent("ann", "k2", bytes(500))]),
        mark(ANN_BOB, "bob", 1),
        sender=400,
    )

    assert [type(outcome) for outcome in outcomes[:2]] == [KnownKeys, OverQuota]
    assert [state(environment, user) for user in (ANN, BOB)] == before


# ── at the limit, and one past it ────────────────────────────────────────────────────────────


@pytest.mark.parametrize("quota", ["sender", "inbox"])
def test_what_fits_to_the_byte_is_stored_and_one_byte_more_is_not(
    environment: Environment, quota: str
) -> None:
    new = append(ANN_BOB, base(ANN_BOB), [Sent("ann", "k1"), Sent("ann", "k2")])
    whole = sum(sizes(new))

    refused = transact(environment, new, **{quota: whole - 1})
    stored = transact(environment, new, **{quota: whole})

    assert refused == [OverQuota(frozenset({1}))]
    assert [type(outcome) for outcome in stored] == [Appended]
    more = append(ANN_BOB, head_after(new), [Sent("ann", "k3", b"x")])
    assert transact(environment, more, **{quota: whole}) == [OverQuota(frozenset({0}))]


def test_nothing_of_a_new_conversation_is_left_where_its_first_record_is_too_much(
    environment: Environment,
) -> None:
    new = append(ANN_BOB, base(ANN_BOB), [Sent("ann", "k1", bytes(1_000))])

    outcomes = transact(environment, new, inbox=900)

    assert outcomes == [OverQuota(frozenset({0}))]
    with environment.reading() as view:
        for table in (b"users", b"conversations", b"inboxes", b"log", b"keys"):
            assert view.count(table) == 0


def test_each_record_is_judged_after_those_before_it_that_fit(environment: Environment) -> None:
    sends = [
        Sent("ann", "k1", bytes(100)),
        Sent("ann", "k2", bytes(500)),
        Sent("ann", "k3", bytes(100)),
        Sent("ann", "k4", bytes(100)),
    ]
    new = append(ANN_BOB, base(ANN_BOB), sends)
    room = sizes(new)[0] + sizes(new)[2]

    (outcome,) = transact(environment, new, sender=room)

    assert outcome == OverQuota(frozenset({1, 3}))
    rest = append(ANN_BOB, base(ANN_BOB), [sends[0], sends[2]])
    assert [type(one) for one in transact(environment, rest, sender=room)] == [Appended]


def test_appends_of_one_transaction_are_judged_in_their_order(environment: Environment) -> None:
    first = append(ANN_BOB, base(ANN_BOB), [Sent("ann", "k1")])
    second = append(ANN_CARL, base(ANN_CARL), [Sent("ann", "k2")])
    third = append(BOB_CARL, base(BOB_CARL), [Sent("bob", "k3")])
    (size,) = sizes(first)

    outcomes = transact(environment, first, second, third, sender=size + 5)

    assert [type(outcome) for outcome in outcomes] == [Appended, OverQuota, Appended]


# ── whose quota it is ────────────────────────────────────────────────────────────────────────


def test_what_others_send_fills_the_inbox_and_not_the_senders_quota(
    environment: Environment,
) -> None:
    new = append(ANN_BOB, base(ANN_BOB), [Sent("bob", f"k{n}") for n in range(5)])
    size = sizes(new)[0]
    transact(environment, new)
    answer = append(ANN_BOB, head_after(new), [Sent("ann", "k9")])

    assert transact(environment, answer, inbox=5 * size) == [OverQuota(frozenset({0}))]
    assert [type(one) for one in transact(environment, answer, sender=size + 5)] == [Appended]


@pytest.mark.parametrize("sender", ["bob", "carl"])
def test_one_full_inbox_stops_sends_of_both_and_leaves_third_people_alone(
    environment: Environment, sender: str
) -> None:
    filling = append(ANN_BOB, base(ANN_BOB), [Sent("ann", f"k{n}") for n in range(4)])
    quota = sum(sizes(filling)) + 10
    transact(environment, filling)

    outcomes = transact(
        environment,
        append(BOB_CARL, base(BOB_CARL), [Sent(sender, "k")]),
        append(
            conversation("carl", "dora"), base(conversation("carl", "dora")), [Sent("dora", "k")]
        ),
        inbox=quota,
    )

    assert outcomes[0] == OverQuota(frozenset({0}))
    assert isinstance(outcomes[1], Appended)


# ── what goes on, and what lasts ─────────────────────────────────────────────────────────────


def test_known_keys_are_answered_and_reads_are_stored_though_everything_is_over_quota(
    environment: Environment,
) -> None:
    new = append(ANN_BOB, base(ANN_BOB), [Sent("ann", "k1"), Sent("ann", "k2")])
    transact(environment, new)
    mixed = append(ANN_BOB, head_after(new), [Sent("ann", "k3"), Sent("ann", "k2")])
    read: MarkRead = mark(ANN_BOB, "bob", 2)

    outcomes = transact(environment, mixed, read, sender=1, inbox=1)

    assert isinstance(outcomes[0], KnownKeys)
    assert list(outcomes[0].known) == [1]
    assert getattr(outcomes[1], "own_rose", False)


def test_quotas_count_what_was_stored_while_they_were_off_and_before_a_restart(
    tmp_path: Path,
) -> None:
    new = append(ANN_BOB, base(ANN_BOB), [Sent("ann", "k1"), Sent("ann", "k2")])
    more = append(ANN_BOB, head_after(new), [Sent("ann", "k3")])
    with opened(tmp_path / "store") as environment:
        transact(environment, new)

    with opened(tmp_path / "store") as environment:
        assert transact(environment, more, sender=sum(sizes(new))) == [OverQuota(frozenset({0}))]


def test_adopted_limits_hold_from_the_next_transaction_on(environment: Environment) -> None:
    writer = Writer(environment, lambda: 10)
    new = append(ANN_BOB, base(ANN_BOB), [Sent("ann", "k1")])
    seen = [type(writer.transact([new])[0])]

    writer.adopt(StoreLimits(min_free_bytes=10, stored_bytes_per_sender=1))
    seen.append(type(writer.transact([new])[0]))
    writer.adopt(StoreLimits(min_free_bytes=10))
    seen.append(type(writer.transact([new])[0]))

    assert seen == [Full, OverQuota, Appended]

"""Numbers follow real time and the order on a connection, and never the wall clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from bench.checker.describing import answer_line, sent_line
from bench.checker.index import Index
from bench.checker.story import Outcome, Story
from bench.checker.verdict import Examination, Invariant


class _Start(NamedTuple):
    """A send that was stored, when it could first have been."""

    conversation: int
    at: int
    attempt: int
    seq: int


class _Ack(NamedTuple):
    """The first ack of a record."""

    conversation: int
    at: int
    attempt: int
    seq: int
    received_ms: int


class _Earlier(NamedTuple):
    """Of all that was acked before a send began: the highest number, the latest wall clock."""

    highest: _Ack
    latest_received_ms: int


def _starts(story: Story, index: Index) -> list[_Start]:
    attempts, seqs = story.attempts, index.seq
    starts = []
    for attempt, (offer, at) in enumerate(zip(attempts.offer, attempts.at, strict=True)):
        # Of the attempts at one instant only the first began it; more would do no harm.
        if index.begun_at[offer] == at and seqs[offer]:
            starts.append(_Start(story.offers.conversation[offer], at, attempt, seqs[offer]))
    starts.sort()
    return starts


def _acks(story: Story) -> list[_Ack]:
    attempts, conversations = story.attempts, story.offers.conversation
    columns = (attempts.outcome, attempts.offer, attempts.settled_at)
    acks = [
        _Ack(
            conversations[offer],
            at,
            attempt,
            attempts.server_seq[attempt],
            attempts.received_ms[attempt],
        )
        for attempt, (outcome, offer, at) in enumerate(zip(*columns, strict=True))
        if outcome == Outcome.OK
    ]
    acks.sort()
    return acks


def _after_acks(story: Story, index: Index) -> Iterator[tuple[_Start, _Earlier]]:
    """Each send that began after an ack in its conversation, with what was acked by then."""
    acks = _acks(story)
    position, conversation = 0, -1
    earlier: _Earlier | None = None
    for start in _starts(story, index):
        if start.conversation != conversation:
            conversation, earlier = start.conversation, None
        while position < len(acks) and acks[position][:2] < (conversation, start.at):
            ack = acks[position]
            position += 1
            if ack.conversation == conversation:
                earlier = _with(earlier, ack)
        if earlier is not None:
            yield start, earlier


def _with(earlier: _Earlier | None, ack: _Ack) -> _Earlier:
    if earlier is None:
        return _Earlier(ack, ack.received_ms)
    highest = ack if ack.seq > earlier.highest.seq else earlier.highest
    return _Earlier(highest, max(earlier.latest_received_ms, ack.received_ms))


def _real_time(story: Story, index: Index, examination: Examination) -> None:
    for start, earlier in _after_acks(story, index):
        examination.examined += 1
        if start.seq < earlier.highest.seq:
            _show_pair(story, examination, earlier.highest.attempt, start.attempt)


def _not_by_the_wall_clock(story: Story, index: Index, examination: Examination) -> None:
    for start, earlier in _after_acks(story, index):
        row = index.log[start.conversation].get(start.seq)
        received = _received(story, start, row)
        if received is None or received >= earlier.latest_received_ms:
            continue
        examination.examined += 1  # the wall clock says other than real time
        if start.seq < earlier.highest.seq and received < earlier.highest.received_ms:
            _show_pair(story, examination, earlier.highest.attempt, start.attempt)


def _received(story: Story, start: _Start, row: int | None) -> int | None:
    if row is not None:
        return story.frames.received_ms[row]
    attempts = story.attempts
    acked = attempts.outcome[start.attempt] == Outcome.OK
    return attempts.received_ms[start.attempt] if acked else None


def _show_pair(story: Story, examination: Examination, before: int, after: int) -> None:
    def show() -> list[str]:
        return [
            answer_line(story, before),
            sent_line(story, after),
            answer_line(story, after),
        ]

    examination.violated(show)


def _connection_order(story: Story, index: Index, examination: Examination) -> None:
    attempts, offers = story.attempts, story.offers
    latest: dict[tuple[int, int], int] = {}
    for attempt, outcome in enumerate(attempts.outcome):
        offer = attempts.offer[attempt]
        # A retry has the place of its first time, on whatever connection that was.
        if outcome != Outcome.OK or index.begun_at[offer] != attempts.at[attempt]:
            continue
        place = (attempts.connection[attempt], offers.conversation[offer])
        before = latest.get(place)
        latest[place] = attempt
        if before is None or attempts.offer[before] == offer:
            continue
        examination.examined += 1
        if attempts.server_seq[attempt] <= attempts.server_seq[before]:

            def show(before: int = before, attempt: int = attempt) -> list[str]:
                return [
                    line(story, number)
                    for line in (sent_line, answer_line)
                    for number in (before, attempt)
                ]

            examination.violated(show)


I7: Final = Invariant(
    "I7",
    "What was acked before another send of the conversation began has the lower number.",
    _real_time,
)
I8: Final = Invariant(
    "I8",
    "The accepted sends of one connection to one conversation keep their order.",
    _connection_order,
)
I21: Final = Invariant(
    "I21",
    "Where the wall clock goes back, numbers still follow real time.",
    _not_by_the_wall_clock,
)

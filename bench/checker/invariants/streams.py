"""What one connection is sent: everything after its cursor, once, linked, as everybody else."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import accumulate
from typing import Final

from bench.checker.describing import connection_name, frame_line, line_at
from bench.checker.index import Index, base_of, first_allowed, good_resume
from bench.checker.story import Asked, Connection, Outcome, Story
from bench.checker.verdict import Examination, Invariant


def _exactly_once(story: Story, index: Index, examination: Examination) -> None:
    for connection in story.connections:
        examination.examined += len(connection.rows)
        asked = good_resume(connection.asked)
        first = len(connection.rows) if asked is None else first_allowed(asked)
        for row in connection.rows[:first]:
            _show_unasked(story, examination, row)
        if asked is not None and first < len(connection.rows):
            _follow(story, connection, asked, first, examination)


def _show_unasked(story: Story, examination: Examination, row: int) -> None:
    def show() -> list[str]:
        words = "but has not resumed from a cursor by then"
        return [frame_line(story, row), line_at(story.frames.at[row], words)]

    examination.violated(show)


def _follow(
    story: Story, connection: Connection, asked: Asked, first: int, examination: Examination
) -> None:
    """The client's rule, and that the links leave nothing out."""
    numbers, links = story.frames.global_inbox_seq, story.frames.previous
    cursor, before = base_of(asked), -1
    jumps = sorted(connection.jumps, reverse=True)
    for position in range(first, len(connection.rows)):
        row = connection.rows[position]
        while jumps and jumps[-1][0] <= position:
            cursor, before = max(cursor, jumps.pop()[1]), -1
        number, link = numbers[row], links[row]
        # The first link may name a record below a cursor that is no record's number.
        if not link <= cursor < number or (before >= 0 and link != cursor):
            _show_break(story, examination, before, row, cursor)
        cursor, before = max(cursor, number), row


def _show_break(story: Story, examination: Examination, before: int, row: int, cursor: int) -> None:
    def show() -> list[str]:
        words = f"while everything through {cursor} had been sent"
        earlier = [frame_line(story, before)] if before >= 0 else []
        return [*earlier, frame_line(story, row), line_at(story.frames.at[row], words)]

    examination.violated(show)


def _replay_is_complete_and_equal(story: Story, index: Index, examination: Examination) -> None:
    _everybody_is_sent_the_same(story, examination)
    acked = _acked_heads(story)
    for number, connection in enumerate(story.connections):
        asked = good_resume(connection.asked)
        if asked is None:
            continue
        for at, head, _ in asked.completed[1:]:
            words = f"{connection_name(story, number)}: resume complete a second time, {head}"
            _show_answer(examination, [line_at(at, words)])
        for answer in asked.completed[:1]:
            examination.examined += 1
            at, head, position = answer
            told = line_at(at, f"{connection_name(story, number)}: resume complete, {head}")
            reached = _reached(story, connection, asked, position, head)
            if reached != head:
                seen = line_at(at, f"but it was sent everything through {reached} only")
                _show_answer(examination, [told, seen])
            times, heads = acked.get(connection.user, (array("q"), array("q")))
            known = bisect_left(times, asked.at)
            if known and heads[known - 1] > head:
                words = f"asked when frame {heads[known - 1]} had been acked to its sender"
                _show_answer(examination, [line_at(asked.at, words), told])


def _reached(story: Story, connection: Connection, asked: Asked, position: int, head: int) -> int:
    """The number through which a connection had everything when its resume was complete."""
    if asked.cursor is None:
        return head
    rows = connection.rows[asked.position : position]
    jumped = [through for where, through in connection.jumps if where <= position]
    sent = story.frames.global_inbox_seq[rows[-1]] if rows else 0
    return max(asked.cursor, sent, *jumped) if jumped else max(asked.cursor, sent)


def _show_answer(examination: Examination, lines: list[str]) -> None:
    examination.violated(lambda: lines)


def _acked_heads(story: Story) -> dict[int, tuple[array[int], array[int]]]:
    """User → when sends were acked, and the highest number in that inbox acked by then."""
    attempts, offers = story.attempts, story.offers
    numbers = _numbers(story)
    acked: dict[int, list[tuple[int, int]]] = {}
    for attempt, outcome in enumerate(attempts.outcome):
        if outcome != Outcome.OK:
            continue
        payload = offers.payload[attempts.offer[attempt]]
        conversation = story.conversations[offers.conversation[attempts.offer[attempt]]]
        for user in set(conversation.users):
            number = numbers[user].get(payload)
            if number is not None:
                acked.setdefault(user, []).append((attempts.settled_at[attempt], number))
    heads = {}
    for user, pairs in acked.items():
        pairs.sort()
        times = array("q", [at for at, _ in pairs])
        heads[user] = times, array("q", accumulate((one for _, one in pairs), max))
    return heads


def _numbers(story: Story) -> list[dict[int, int]]:
    """User → payload → its number in that inbox, as it was first seen."""
    numbers: list[dict[int, int]] = [{} for _ in story.users]
    frames = story.frames
    users = [connection.user for connection in story.connections]
    for on, payload, number in zip(
        frames.connection, frames.payload, frames.global_inbox_seq, strict=True
    ):
        numbers[users[on]].setdefault(payload, number)
    return numbers


def _everybody_is_sent_the_same(story: Story, examination: Examination) -> None:
    frames = story.frames
    numbers, raws, on = frames.global_inbox_seq, frames.raw, frames.connection
    first_of: dict[tuple[int, str], dict[int, int]] = {}
    firsts = [
        first_of.setdefault((connection.user, connection.subprotocol), {})
        for connection in story.connections
    ]
    for row, (number, raw, connection) in enumerate(zip(numbers, raws, on, strict=True)):
        first = firsts[connection].setdefault(number, row)
        if first == row:
            continue
        examination.examined += 1
        if raw != raws[first]:

            def show(first: int = first, row: int = row) -> list[str]:
                marks = f"bytes {raws[first]:016x} at first, {raws[row]:016x} now"
                return [
                    frame_line(story, first),
                    frame_line(story, row),
                    line_at(frames.at[row], marks),
                ]

            examination.violated(show)


I9: Final = Invariant(
    "I9",
    "A connection is sent every record after its cursor once, in order, links unbroken.",
    _exactly_once,
)
I10: Final = Invariant(
    "I10",
    "A replay is complete up to a head that covers all acked before, and equal to live.",
    _replay_is_complete_and_equal,
)

"""What stands in the log: all that was acked, nothing else, once, at one number, on the chain."""

from __future__ import annotations

from typing import Final

from bench.checker.describing import (
    answer_line,
    conversation_name,
    frame_line,
    line_at,
    record_name,
    sent_line,
)
from bench.checker.digests import chain_after, chain_base, start_of
from bench.checker.index import Index
from bench.checker.story import Outcome, Story
from bench.checker.verdict import Examination, Invariant


def _acked_is_stored(story: Story, index: Index, examination: Examination) -> None:
    attempts, offers, frames = story.attempts, story.offers, story.frames
    for attempt, outcome in enumerate(attempts.outcome):
        if outcome != Outcome.OK:
            continue
        offer = attempts.offer[attempt]
        conversation = offers.conversation[offer]
        users = story.conversations[conversation].users
        finals = [index.finals[user] for user in users if user in index.finals]
        if not any(final.asked_at > attempts.settled_at[attempt] for final in finals):
            continue
        examination.examined += 1
        seq = attempts.server_seq[attempt]
        row = index.stored[conversation].get(seq)
        if row is None:
            lost = f"nothing is at {record_name(story, conversation, seq)} in the final read"

            def show(attempt: int = attempt, lost: str = lost) -> list[str]:
                return [answer_line(story, attempt), line_at(story.ended_at, lost)]

            examination.violated(show)
        elif (frames.payload[row], frames.chain[row], frames.received_ms[row]) != (
            offers.payload[offer],
            attempts.chain[attempt],
            attempts.received_ms[attempt],
        ):

            def show_other(attempt: int = attempt, row: int = row) -> list[str]:
                sent, answer = sent_line(story, attempt), answer_line(story, attempt)
                return [sent, answer, frame_line(story, row)]

            examination.violated(show_other)


def _read_was_sent(story: Story, index: Index, examination: Examination) -> None:
    frames = story.frames
    for row, (conversation, seq, payload) in enumerate(
        zip(frames.conversation, frames.server_seq, frames.payload, strict=True)
    ):
        first = index.log[conversation][seq]
        is_known = row != first and payload == frames.payload[first]
        # In a conversation from before, others may write whom nobody has recorded.
        if is_known or not story.conversations[conversation].is_new:
            continue
        examination.examined += 1
        offer = story.offer_of_payload.get(payload)
        begun_at = -1 if offer is None else index.begun_at[offer]
        if not 0 <= begun_at <= frames.at[row]:

            def show(row: int = row, offer: int | None = offer) -> list[str]:
                return [*_attempts_at(story, offer), frame_line(story, row)]

            examination.violated(show)


def _attempts_at(story: Story, offer: int | None) -> list[str]:
    """Everything that became of an envelope."""
    if offer is None:
        return []
    attempts = [number for number, one in enumerate(story.attempts.offer) if one == offer]
    return [line(story, number) for number in attempts for line in (sent_line, answer_line)]


def _one_number_one_message(story: Story, index: Index, examination: Examination) -> None:
    examination.examined = sum(map(len, index.log))
    _frames_agree(story, index, examination)
    _acks_agree(story, index, examination)
    _chains_follow(story, index, examination)


def _frames_agree(story: Story, index: Index, examination: Examination) -> None:
    frames, log = story.frames, index.log
    payloads, chains, times = frames.payload, frames.chain, frames.received_ms
    for row, (conversation, seq, payload, chain, received) in enumerate(
        zip(frames.conversation, frames.server_seq, payloads, chains, times, strict=True)
    ):
        first = log[conversation][seq]
        if payload != payloads[first] or chain != chains[first] or received != times[first]:

            def show(first: int = first, row: int = row) -> list[str]:
                return [frame_line(story, first), frame_line(story, row)]

            examination.violated(show)


def _acks_agree(story: Story, index: Index, examination: Examination) -> None:
    attempts, offers, frames = story.attempts, story.offers, story.frames
    for attempt, outcome in enumerate(attempts.outcome):
        if outcome != Outcome.OK:
            continue
        offer = attempts.offer[attempt]
        row = index.log[offers.conversation[offer]].get(attempts.server_seq[attempt])
        if row is None:
            continue
        acked = (offers.payload[offer], attempts.chain[attempt], attempts.received_ms[attempt])
        if acked != (frames.payload[row], frames.chain[row], frames.received_ms[row]):

            def show(attempt: int = attempt, row: int = row) -> list[str]:
                return [answer_line(story, attempt), frame_line(story, row)]

            examination.violated(show)


def _chains_follow(story: Story, index: Index, examination: Examination) -> None:
    """From each conversation's base on, until a record is missing or unknown."""
    for number, (conversation, log) in enumerate(zip(story.conversations, index.log, strict=True)):
        if not conversation.is_new:
            continue
        one, other = (story.users[user].user_id for user in conversation.users)
        chain = chain_base(conversation.conversation_id, one, other)
        for seq in range(1, len(log) + 1):
            after = _link(story, index, number, seq, chain)
            if after is None:
                break
            row, chain = log[seq], after
            if story.frames.chain[row] != start_of(chain):
                expected = f"but its chain is {start_of(chain):016x}"

                def show(row: int = row, expected: str = expected) -> list[str]:
                    return [frame_line(story, row), line_at(story.frames.at[row], expected)]

                examination.violated(show)
                break


def _link(story: Story, index: Index, conversation: int, seq: int, chain: bytes) -> bytes | None:
    row = index.log[conversation].get(seq)
    offer = None if row is None else story.offer_of_payload.get(story.frames.payload[row])
    if row is None or offer is None:
        return None
    received = story.frames.received_ms[row] + story.header.wall_began_ms
    return (
        None if received < 0 else chain_after(chain, seq, received, story.payload_of_offer(offer))
    )


def _one_record_for_a_key(story: Story, index: Index, examination: Examination) -> None:
    keys, payloads = story.offers.key, story.frames.payload
    for log in index.log:
        first_row: dict[int, int] = {}
        for row in log.values():
            offer = story.offer_of_payload.get(payloads[row])
            if offer is None:
                continue
            first = first_row.setdefault(keys[offer], row)
            if first != row:

                def show(first: int = first, row: int = row) -> list[str]:
                    return [frame_line(story, first), frame_line(story, row)]

                examination.violated(show)
        examination.examined += len(first_row)


def _log_has_no_hole(story: Story, index: Index, examination: Examination) -> None:
    for number, (conversation, stored) in enumerate(
        zip(story.conversations, index.stored, strict=True)
    ):
        if not any(user in index.finals for user in conversation.users):
            continue
        last = max(stored, default=0)
        last = max(last, story.heads.get(number, last))
        if not last:
            continue
        examination.examined += 1
        first = 1 if conversation.is_new else min(stored, default=last)
        if len(stored) != last - first + 1:
            missing = next(seq for seq in range(first, last + 1) if seq not in stored)

            def show(number: int = number, missing: int = missing, last: int = last) -> list[str]:
                name = conversation_name(story, number)
                words = f"{name} goes to {last}, but in the final read there is no {missing}"
                near = (index.stored[number].get(seq) for seq in (missing - 1, missing + 1))
                shown = [frame_line(story, row) for row in near if row is not None]
                return [*shown, line_at(story.ended_at, words)]

            examination.violated(show)


I1: Final = Invariant(
    "I1",
    "Every acked send is in the final read at its number, with the same bytes.",
    _acked_is_stored,
)
I2: Final = Invariant(
    "I2", "Nothing is read that was not sent before, or whose send failed.", _read_was_sent
)
I3: Final = Invariant(
    "I3",
    "One number is one message for everybody, over all restarts, and the chain follows.",
    _one_number_one_message,
)
I4: Final = Invariant(
    "I4", "A sender's key in a conversation has at most one record.", _one_record_for_a_key
)
I6: Final = Invariant("I6", "The log of a conversation is 1 … N.", _log_has_no_hole)

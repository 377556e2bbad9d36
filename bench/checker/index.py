"""What several promises are judged by, worked out once from the story.

log        conversation → serverSeq → the first frame that was seen of it
finals     user → the one complete read of the inbox at the end
stored     conversation → serverSeq → a frame of some final read
begun_at   offer → when it could first have been stored (−1: never)
seq        offer → its number, from its ack or a frame (0: none)
acked_at   offer → its first ack (−1: none)
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from bench.checker.story import Asked, Outcome, Story


@dataclass(slots=True, frozen=True)
class FinalRead:
    """One user's whole inbox after the base, as read at the end."""

    asked_at: int
    head: int
    rows: array[int]
    number_of: dict[int, int]
    """`place_of` a record → its number in this inbox."""


@dataclass(slots=True, frozen=True, eq=False)
class Index:
    """See the head of this file."""

    log: list[dict[int, int]]
    finals: dict[int, FinalRead]
    stored: list[dict[int, int]]
    begun_at: array[int]
    seq: array[int]
    acked_at: array[int]


def place_of(conversation: int, server_seq: int) -> int:
    """One number for a record."""
    return conversation << 53 | server_seq


def build(story: Story) -> Index:
    """Go through the story once for everybody."""
    log = _log(story)
    finals = dict(_finals(story))
    return Index(
        log,
        finals,
        _stored(story, finals),
        _begun_at(story),
        _seq(story, log),
        acked_at_of(story),
    )


def _log(story: Story) -> list[dict[int, int]]:
    log: list[dict[int, int]] = [{} for _ in story.conversations]
    frames = story.frames
    for row, (conversation, seq) in enumerate(
        zip(frames.conversation, frames.server_seq, strict=True)
    ):
        log[conversation].setdefault(seq, row)
    return log


def _finals(story: Story) -> Iterator[tuple[int, FinalRead]]:
    """The last complete final read of each user wins."""
    frames = story.frames
    for connection in story.connections:
        for asked in connection.asked:
            if not (asked.is_final and asked.completed):
                continue
            _, head, end = asked.completed[0]
            rows = connection.rows[asked.position : end]
            number_of: dict[int, int] = {}
            for row in rows:
                place = place_of(frames.conversation[row], frames.server_seq[row])
                number_of.setdefault(place, frames.global_inbox_seq[row])
            yield connection.user, FinalRead(asked.at, head, rows, number_of)


def _stored(story: Story, finals: dict[int, FinalRead]) -> list[dict[int, int]]:
    stored: list[dict[int, int]] = [{} for _ in story.conversations]
    frames = story.frames
    for final in finals.values():
        for row in final.rows:
            stored[frames.conversation[row]].setdefault(frames.server_seq[row], row)
    return stored


def _begun_at(story: Story) -> array[int]:
    """An attempt that was refused for good cannot be the one that was stored."""
    attempts = story.attempts
    begun = array("q", [-1]) * len(story.offers.conversation)
    for offer, at, outcome in zip(attempts.offer, attempts.at, attempts.outcome, strict=True):
        if begun[offer] < 0 and outcome != Outcome.FAIL:
            begun[offer] = at
    return begun


def _seq(story: Story, log: list[dict[int, int]]) -> array[int]:
    attempts, payloads = story.attempts, story.frames.payload
    seqs = array("q", [0]) * len(story.offers.conversation)
    for numbers in log:
        for seq, row in numbers.items():
            offer = story.offer_of_payload.get(payloads[row])
            if offer is not None and not seqs[offer]:
                seqs[offer] = seq
    for offer, outcome, seq in zip(
        attempts.offer, attempts.outcome, attempts.server_seq, strict=True
    ):
        if outcome == Outcome.OK:
            seqs[offer] = seq
    return seqs


def acked_at_of(story: Story) -> array[int]:
    """Offer → its first ack (−1: none)."""
    attempts = story.attempts
    acked = array("q", [-1]) * len(story.offers.conversation)
    for offer, outcome, at in zip(
        attempts.offer, attempts.outcome, attempts.settled_at, strict=True
    ):
        if outcome == Outcome.OK and acked[offer] < 0:
            acked[offer] = at
    return acked


def good_resume(asked: list[Asked]) -> Asked | None:
    """The one that frames answer: the first that was not refused."""
    return next((one for one in asked if not one.was_refused), None)


def first_allowed(asked: Asked) -> int:
    """The position of the first frame that may come; after null none comes before the answer."""
    if asked.cursor is None and asked.completed:
        return asked.completed[0][2]
    return asked.position


def base_of(asked: Asked) -> int:
    """The number after which the stream of a resume begins."""
    if asked.cursor is not None:
        return asked.cursor
    return asked.completed[0][1] if asked.completed else 0

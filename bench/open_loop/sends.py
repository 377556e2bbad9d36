"""Every send of an open loop, out of its history: when it was meant, acked and delivered."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator
from typing import NamedTuple

from bench.checker.bystanders import first_attempts
from bench.checker.index import acked_at_of
from bench.checker.story import Story


class SendSeen(NamedTuple):
    """One message. Times in nanoseconds of the history; −1 where that never happened."""

    meant_at: int
    offer: int
    acked_at: int
    delivered_at: int


def sends_of(story: Story) -> Iterator[SendSeen]:
    """All of them, in the order in which they were meant to be sent.

    A send is acked by the first ack, retries included, and delivered when the recipient's
    connection was first sent it.
    """
    first_of, acked_at, delivered_at = first_attempts(story), acked_at_of(story), _delivered(story)
    attempts = story.attempts
    for meant_at, offer in sorted(
        (attempts.at[attempt] - attempts.late[attempt], offer)
        for offer, attempt in enumerate(first_of)
        if attempt >= 0
    ):
        yield SendSeen(meant_at, offer, acked_at[offer], delivered_at[offer])


def _delivered(story: Story) -> array[int]:
    """Offer → when its recipient was first sent it (−1: never), the final read not counted."""
    delivered = array("q", [-1]) * len(story.offers.conversation)
    recipients = _recipients(story)
    finals = _final_connections(story)
    connections, frames, offers = story.connections, story.frames, story.offer_of_payload
    for at, connection, payload in zip(frames.at, frames.connection, frames.payload, strict=True):
        offer = offers.get(payload, -1)
        if offer < 0 or delivered[offer] >= 0 or connection in finals:
            continue
        if connections[connection].user == recipients[offer]:
            delivered[offer] = at
    return delivered


def _recipients(story: Story) -> array[int]:
    conversations = story.conversations
    return array(
        "q",
        (
            conversations[conversation].peer_of(sender)
            for conversation, sender in zip(
                story.offers.conversation, story.offers.sender, strict=True
            )
        ),
    )


def _final_connections(story: Story) -> Collection[int]:
    return frozenset(
        number
        for number, connection in enumerate(story.connections)
        if any(asked.is_final for asked in connection.asked)
    )

"""Whose inbox a record is in: those of its conversation's people, once each, and no other."""

from __future__ import annotations

from typing import Final

from bench.checker.describing import connection_name, conversation_name, frame_line, line_at
from bench.checker.index import FinalRead, Index, place_of
from bench.checker.story import Story
from bench.checker.verdict import Examination, Invariant


def _in_both_inboxes(story: Story, index: Index, examination: Examination) -> None:
    for user, final in index.finals.items():
        _once_each(story, final, examination)
        for row in final.rows:
            conversation = story.frames.conversation[row]
            people = story.conversations[conversation]
            peer = index.finals.get(people.peer_of(user))
            if peer is None or user not in people.users:
                continue
            examination.examined += 1
            place = place_of(conversation, story.frames.server_seq[row])
            if place not in peer.number_of and _was_known(story, index, row, peer.asked_at):
                _show_missing(story, examination, people.peer_of(user), row)


def _once_each(story: Story, final: FinalRead, examination: Examination) -> None:
    if len(final.number_of) == len(final.rows):
        return
    frames = story.frames
    first_row: dict[int, int] = {}
    for row in final.rows:
        place = place_of(frames.conversation[row], frames.server_seq[row])
        first = first_row.setdefault(place, row)
        if first != row:

            def show(first: int = first, row: int = row) -> list[str]:
                return [frame_line(story, first), frame_line(story, row)]

            examination.violated(show)


def _was_known(story: Story, index: Index, row: int, asked_at: int) -> bool:
    """Whether the record existed for sure when the other inbox was read for the last time."""
    frames = story.frames
    first = index.log[frames.conversation[row]][frames.server_seq[row]]
    if frames.at[first] < asked_at:
        return True
    offer = story.offer_of_payload.get(frames.payload[row])
    return offer is not None and 0 <= index.acked_at[offer] < asked_at


def _show_missing(story: Story, examination: Examination, user: int, row: int) -> None:
    def show() -> list[str]:
        words = f"but the final read of {story.users[user].user_id}'s inbox does not have it"
        return [frame_line(story, row), line_at(story.ended_at, words)]

    examination.violated(show)


def _to_participants_only(story: Story, index: Index, examination: Examination) -> None:
    frames = story.frames
    people = [conversation.users for conversation in story.conversations]
    users = [connection.user for connection in story.connections]
    examination.examined = len(frames.at) + len(story.positions)
    for row, (on, conversation) in enumerate(
        zip(frames.connection, frames.conversation, strict=True)
    ):
        if users[on] not in people[conversation]:

            def show(row: int = row) -> list[str]:
                name = conversation_name(story, frames.conversation[row])
                return [frame_line(story, row), line_at(frames.at[row], f"this is {name}")]

            examination.violated(show)
    for seen in story.positions:
        if users[seen.connection] not in people[seen.conversation]:
            who = connection_name(story, seen.connection)
            name = conversation_name(story, seen.conversation)
            line = line_at(seen.at, f"{who} is shown how far {name} was read")
            examination.violated(lambda line=line: [line])  # type: ignore[misc]  # bound now


I12: Final = Invariant(
    "I12",
    "A record is in the log exactly if it is once in the inbox of each participant.",
    _in_both_inboxes,
)
I14: Final = Invariant(
    "I14", "Nobody sees anything of a conversation that is not theirs.", _to_participants_only
)

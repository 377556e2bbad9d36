"""What restarts must not undo: the head of an inbox, the cursors given out, the epoch."""

from __future__ import annotations

from typing import Final

from bench.checker.describing import connection_name, line_at
from bench.checker.index import Index
from bench.checker.story import Story
from bench.checker.verdict import Examination, Invariant


class _Heads:
    """Sweeps over time: how far each inbox is known to have come."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._row = 0
        self._users = [connection.user for connection in story.connections]
        self._told = sorted(
            (at, connection.user, head)
            for connection in story.connections
            for at, head in (
                (connection.at, connection.head),
                *((at, head) for one in connection.asked for at, head, _ in one.completed),
            )
        )
        self._next = 0
        self.known: dict[int, tuple[int, int]] = {}
        """User → the highest number, and when it was first known."""

    def advance(self, at: int) -> None:
        """Take everything that was seen before this time."""
        frames = self._story.frames
        while self._row < len(frames.at) and frames.at[self._row] < at:
            user = self._users[frames.connection[self._row]]
            self._note(user, frames.global_inbox_seq[self._row], frames.at[self._row])
            self._row += 1
        while self._next < len(self._told) and self._told[self._next][0] < at:
            when, user, head = self._told[self._next]
            self._note(user, head, when)
            self._next += 1

    def _note(self, user: int, number: int, at: int) -> None:
        known = self.known.get(user)
        if known is None or number > known[0]:
            self.known[user] = number, at


def _nothing_goes_back(story: Story, index: Index, examination: Examination) -> None:
    heads = _Heads(story)
    first_down = story.downs[0][0] if story.downs else None
    asked = [(one.opened_at, number, -1) for number, one in enumerate(story.connections)]
    refused = [(one.at, one.connection, number) for number, one in enumerate(story.cursors_refused)]
    for at, number, refusal in sorted(asked + refused):
        heads.advance(at)
        connection = story.connections[number]
        known, known_at = heads.known.get(connection.user, (0, at))
        # Only what lies on both sides of a restart says anything about restarts.
        if first_down is not None and first_down < at and known:
            examination.examined += 1
        if refusal >= 0:
            _judge_refusal(story, examination, refusal, known, known_at)
        elif connection.head < known:
            who = connection_name(story, number)
            lines = [
                line_at(known_at, f"the inbox of {who} has come to {known}"),
                line_at(connection.at, f"{who} is told that its head is {connection.head}"),
            ]
            _tell(examination, lines)
    _judge_epochs(story, examination)


def _judge_refusal(
    story: Story, examination: Examination, refusal: int, known: int, known_at: int
) -> None:
    refused = story.cursors_refused[refusal]
    is_ours = refused.cursor is not None and refused.cursor <= known
    if refused.code == "epoch_changed" or (refused.code == "cursor_ahead" and is_ours):
        who = connection_name(story, refused.connection)
        lines = [
            line_at(known_at, f"the inbox of {who} has come to {known}"),
            line_at(refused.at, f"{who} may not resume after {refused.cursor}: {refused.code}"),
        ]
        _tell(examination, lines)


def _judge_epochs(story: Story, examination: Examination) -> None:
    for number, connection in enumerate(story.connections[1:], 1):
        before = story.connections[number - 1]
        if connection.epoch != before.epoch:
            lines = [
                line_at(one.at, f"{connection_name(story, which)}: the epoch is {one.epoch}")
                for which, one in ((number - 1, before), (number, connection))
            ]
            _tell(examination, lines)


def _tell(examination: Examination, lines: list[str]) -> None:
    examination.violated(lambda: lines)


I11: Final = Invariant(
    "I11", "Nothing goes back over a restart: heads, cursors, epoch.", _nothing_goes_back
)

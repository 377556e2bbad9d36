"""How far somebody has read: the maximum of what was acknowledged, and never more."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from itertools import accumulate
from typing import Final

from bench.checker.describing import conversation_name, line_at
from bench.checker.index import Index
from bench.checker.story import ReadAsked, Story
from bench.checker.verdict import Examination, Invariant


class _Maxima:
    """The highest of some numbers by any time."""

    def __init__(self, pairs: list[tuple[int, int]]) -> None:
        pairs.sort()
        self._times = [at for at, _ in pairs]
        self._highest = list(accumulate((number for _, number in pairs), max))

    def before(self, at: int) -> int:
        """The highest one of earlier than this; 0 for none."""
        position = bisect_left(self._times, at)
        return self._highest[position - 1] if position else 0


class _Reader:
    """One reader of one conversation: what was asked by when, and what was answered by when."""

    def __init__(self, reads: list[ReadAsked]) -> None:
        answered = [read for read in reads if read.answered_at >= 0]
        public = [read for read in reads if not read.private]
        self.asked = _Maxima([(read.at, read.server_seq) for read in reads])
        self.asked_publicly = _Maxima([(read.at, read.server_seq) for read in public])
        self.acked = _Maxima(
            [(read.answered_at, max(read.server_seq, read.answer)) for read in answered]
        )
        self.acked_publicly = _Maxima(
            [(read.answered_at, read.server_seq) for read in answered if not read.private]
        )


_NOBODY: Final = _Reader([])


def _maximum_of_the_acked(story: Story, index: Index, examination: Examination) -> None:
    reads: defaultdict[tuple[int, int], list[ReadAsked]] = defaultdict(list)
    for read in story.reads:
        reads[read.conversation, read.reader].append(read)
    readers = {place: _Reader(asked) for place, asked in reads.items()}
    _judge_answers(story, readers, examination)
    _judge_positions(story, readers, examination)
    _judge_finals(story, index, readers, examination)


def _judge_answers(
    story: Story, readers: dict[tuple[int, int], _Reader], examination: Examination
) -> None:
    for read in story.reads:
        if read.answered_at < 0:
            continue
        examination.examined += 1
        reader = readers[read.conversation, read.reader]
        low = max(read.server_seq, reader.acked.before(read.at))
        high = reader.asked.before(read.answered_at)
        is_new = story.conversations[read.conversation].is_new
        if read.answer < low or (read.answer > high and is_new):
            _tell(story, examination, read.answered_at, read.conversation, read.answer, low, high)


def _judge_positions(
    story: Story, readers: dict[tuple[int, int], _Reader], examination: Examination
) -> None:
    for seen in story.positions:
        examination.examined += 1
        reader = readers.get((seen.conversation, seen.reader), _NOBODY)
        is_own = story.connections[seen.connection].user == seen.reader
        asked = reader.asked if is_own else reader.asked_publicly
        high = asked.before(seen.at)
        if seen.server_seq > high and story.conversations[seen.conversation].is_new:
            _tell(story, examination, seen.at, seen.conversation, seen.server_seq, 0, high)


def _judge_finals(
    story: Story,
    index: Index,
    readers: dict[tuple[int, int], _Reader],
    examination: Examination,
) -> None:
    """What the final read of an inbox shows of each reader of its conversations."""
    shown: dict[tuple[int, int, int], int] = {}
    for seen in story.positions:
        place = (story.connections[seen.connection].user, seen.conversation, seen.reader)
        final = index.finals.get(place[0])
        if final is not None and seen.at >= final.asked_at:
            shown[place] = max(shown.get(place, 0), seen.server_seq)
    for (conversation, user), reader in readers.items():
        for viewer in set(story.conversations[conversation].users):
            final = index.finals.get(viewer)
            if final is None:
                continue
            acked = reader.acked if viewer == user else reader.acked_publicly
            low = acked.before(final.asked_at)
            if not low:
                continue
            examination.examined += 1
            value = shown.get((viewer, conversation, user), 0)
            if value < low:
                high = reader.asked.before(story.ended_at)
                _tell(story, examination, story.ended_at, conversation, value, low, high)


def _tell(
    story: Story,
    examination: Examination,
    at: int,
    conversation: int,
    value: int,
    low: int,
    high: int,
) -> None:
    def show() -> list[str]:
        name = conversation_name(story, conversation)
        return [
            line_at(at, f"{name}: read up to {value} is shown"),
            line_at(at, f"but {low} was acknowledged, and no more than {high} was asked for"),
        ]

    examination.violated(show)


I13: Final = Invariant(
    "I13", "A read position is the maximum of those acknowledged.", _maximum_of_the_acked
)

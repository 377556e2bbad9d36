"""The images of one recording: a round of them has one for every moment; there is no last round.

A moment is a number of events. Where marks follow each other, only the last is one, since more is
promised there and the files are the same. Every image follows from the recording, the round and the
moment alone, so that it can be had again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.images.calls import Told
from bench.images.disk import Disk
from bench.images.examination import examine
from bench.images.marks import decode_mark
from bench.images.promises import Promises
from bench.images.recording import Recording
from bench.images.store_files import Files


class Examined(NamedTuple):
    """One image and what it was found to be."""

    round: int
    moment: int
    """How many events it is after."""

    problem: str | None
    """What is wrong; None when all is well."""


def moments_of(recording: Recording) -> list[int]:
    """Those that have images, in order."""
    events = recording.events
    return [
        moment
        for moment in range(1, len(events) + 1)
        if moment == len(events) or not isinstance(events[moment], Told)
    ]


def examine_images(recording: Recording, begin: int, end: int, place: Path) -> Iterator[Examined]:
    """Examine images `begin` to `end` - 1, counted over all rounds, in a store at `place`."""
    moments = moments_of(recording)
    number = begin
    while number < end:
        round_, first = divmod(number, len(moments))
        last = min(len(moments), first + end - number)
        for moment, disk, promises in _at(recording, moments[first:last]):
            chance = _chance(recording, round_, moment)
            files = disk.image(chance)
            problem = examine(place, files, promises, recording.segment_bytes, chance)
            yield Examined(round_, moment, problem)
        number += last - first


def examine_one(
    recording: Recording, round_: int, moment: int, place: Path
) -> tuple[Files, Examined]:
    """The image of that round and moment, as the crash has left it, and what it was found to be."""
    ((_, disk, promises),) = _at(recording, [moment])
    chance = _chance(recording, round_, moment)
    files = disk.image(chance)
    problem = examine(place, files, promises, recording.segment_bytes, chance)
    return files, Examined(round_, moment, problem)


def _at(recording: Recording, moments: list[int]) -> Iterator[tuple[int, Disk, Promises]]:
    """The disk and what is promised at each of these moments."""
    disk, promises = Disk(), Promises()
    due = iter(moments)
    moment = next(due, 0)
    for number, event in enumerate(recording.events, 1):
        disk.take(event)
        if isinstance(event, Told):
            promises.take(decode_mark(event.mark))
        if number == moment:
            yield moment, disk, promises
            moment = next(due, 0)
            if not moment:
                return


def _chance(recording: Recording, round_: int, moment: int) -> random.Random:
    return random.Random(f"image {recording.seed} {round_} {moment}")

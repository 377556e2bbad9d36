"""A store's files at one moment of a recording, and what a crash at that moment may leave of them.

Each sector of 512 bytes that was written since the last sync of its file is old or new, as chance
has it; so are lengths; and so are names, until the directory is synced. A sync covers the calls
that had returned when it began. A call under way may have had its effect, none, or a part of it.

Sectors are written whole or not at all, as disks do it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import NamedTuple, assert_never

from bench.images.calls import (
    Began,
    Call,
    Create,
    Died,
    Ended,
    Event,
    PowerLost,
    Remove,
    Rename,
    Reserve,
    Resize,
    Sync,
    SyncNames,
    Told,
    Write,
)
from bench.images.pending import Crash, PendingFile, PendingNames
from bench.images.store_files import Files


class MismatchError(Exception):
    """The files are not what the recorded calls have made of them: something was not recorded."""


class _UnderWay(NamedTuple):
    """A call that has not returned."""

    stamp: int
    call: Call
    beside: frozenset[int]
    """The stamps of those that were under way when it began."""


class Disk:
    """Takes the events of a recording in order; at any moment it may crash, in many ways."""

    def __init__(self) -> None:
        self._names = PendingNames({})
        self._stamp = 0
        self._under_way: dict[int, _UnderWay] = {}

    @property
    def cached(self) -> Files:
        """What a process that starts now would read."""
        return {name: bytes(file.cached) for name, file in self._names.cached.items()}

    def take(self, event: Event) -> None:
        """`event` happens.

        Raises:
            MismatchError: the files are not those that the calls so far have made.
        """
        match event:
            case Began(thread, call):
                beside = self._stamps_under_way()
                self._stamp += 1
                self._under_way[thread] = _UnderWay(self._stamp, call, beside)
                self._begin(call)
            case Ended(thread):
                self._end(self._under_way.pop(thread))
            case Died(files):
                self._die(files)
            case PowerLost(files):
                self._under_way.clear()
                files_left = {name: PendingFile(content) for name, content in files.items()}
                self._names = PendingNames(files_left)
            case Told():
                pass
            case _:
                assert_never(event)

    @property
    def writes_under_way(self) -> list[Write]:
        """Those that have not returned. What they write may be cached already, or a part of it."""
        return [one.call for one in self._under_way.values() if isinstance(one.call, Write)]

    def image(self, chance: random.Random) -> Files:
        """The files after a crash at this moment, one of the ways it can be.

        In two of five, the order of writing is kept: by the end of the process alone, with which
        the machine lives on, or by a disk that loses the last writes and no others.
        """
        under_way = self._stamps_under_way()
        match chance.randrange(5):
            case 0:
                crash = Crash(chance, self._stamp, True, under_way)
            case 1:
                crash = Crash(chance, self._any_stamp(chance), True, under_way)
            case _:
                crash = Crash(chance, self._stamp, False, under_way)
        return {name: file.left(crash) for name, file in self._names.left(crash).items()}

    def _any_stamp(self, chance: random.Random) -> int:
        """One of those that are pending, or what was before them."""
        pending = {stamp for file in self._names.files for stamp in file.stamps}
        return chance.choice([min(pending, default=self._stamp) - 1, *sorted(pending)])

    def _stamps_under_way(self) -> frozenset[int]:
        return frozenset(one.stamp for one in self._under_way.values())

    # ── what a call does ─────────────────────────────────────────────────────────────────────

    def _begin(self, call: Call) -> None:
        names, stamp = self._names, self._stamp
        match call:
            case Write(file, offset, content):
                self._file(file).write(stamp, offset, content)
            case Resize(file, size):
                self._file(file).resize(stamp, size)
            case Reserve(file, size):
                one = self._file(file)
                one.resize(stamp, max(size, len(one.cached)))
            case Create(file):
                if file not in names.cached:
                    names.change(stamp, {file: PendingFile(b"")})
            case Remove(file):
                names.change(stamp, {file: None})
            case Rename(old, new):
                names.change(stamp, {old: None, new: self._file(old)})
            case Sync() | SyncNames():
                pass
            case _:
                assert_never(call)

    def _end(self, ended: _UnderWay) -> None:
        match ended.call:
            case Write(file, is_synced=True):
                self._file(file).settle(lambda stamp: stamp == ended.stamp)
            case Sync(file):
                self._file(file).settle(lambda stamp: _is_covered(ended, stamp))
            case SyncNames():
                self._names.settle(lambda stamp: _is_covered(ended, stamp))

    def _file(self, name: str) -> PendingFile:
        if name not in self._names.cached:
            raise MismatchError(f"{name} is written to, but was never made")
        return self._names.cached[name]

    # ── the end of a process ─────────────────────────────────────────────────────────────────

    def _die(self, files: Mapping[str, bytes]) -> None:
        """Of the calls under way, what shows has happened, and nothing else."""
        self._stamp += 1
        unsure = self._stamps_under_way()
        touched = {name for one in self._under_way.values() for name in _names_of(one.call)}
        self._under_way.clear()
        self._names.forget(unsure)
        for name in touched & (self._names.cached.keys() ^ files.keys()):
            is_there = name in files
            self._names.change(self._stamp, {name: PendingFile(b"") if is_there else None})
        if self._names.cached.keys() != files.keys():
            raise MismatchError("there are other files than the recorded calls have made")
        for name, file in self._names.cached.items():
            if name in touched:
                file.forget(unsure)
                file.replace(self._stamp, files[name])
            elif file.cached != files[name]:
                raise MismatchError(f"{name} is not what the recorded calls have made it")


def _is_covered(sync: _UnderWay, stamp: int) -> bool:
    return stamp < sync.stamp and stamp not in sync.beside


def _names_of(call: Call) -> tuple[str, ...]:
    match call:
        case SyncNames():
            return ()
        case Rename(old, new):
            return old, new
        case _:
            return (call.file,)

"""What happened to the files of a store, in the order in which it happened.

A call takes time, and others may begin meanwhile. So it is two events: from the first on it may
have had its effect, from the second on it has had it. What a sync covers is what ended before it
began.
"""

from __future__ import annotations

from msgspec import Struct


class Write(Struct, frozen=True, tag=True):
    """`content` goes to `offset` of the file; with `is_synced` (O_DSYNC), to the disk too."""

    file: str
    offset: int
    content: bytes
    is_synced: bool


class Resize(Struct, frozen=True, tag=True):
    """The file is `size` bytes long: cut off, or longer by zeros."""

    file: str
    size: int


class Reserve(Struct, frozen=True, tag=True):
    """The file is at least `size` bytes long."""

    file: str
    size: int


class Sync(Struct, frozen=True, tag=True):
    """At the end, all that was written to the file before is on disk, and its length."""

    file: str


class SyncNames(Struct, frozen=True, tag=True):
    """At the end, the names in the directory are those from before it began."""


class Create(Struct, frozen=True, tag=True):
    """There is a file of that name, empty if there was none."""

    file: str


class Remove(Struct, frozen=True, tag=True):
    """There is no file of that name."""

    file: str


class Rename(Struct, frozen=True, tag=True):
    """What was `old` is `new`, in one step."""

    old: str
    new: str


Call = Write | Resize | Reserve | Sync | SyncNames | Create | Remove | Rename


class Began(Struct, frozen=True, tag=True):
    """A thread has asked for it. Threads have numbers; each has one call under way at a time."""

    thread: int
    call: Call


class Ended(Struct, frozen=True, tag=True):
    """The call of that thread has returned."""

    thread: int


class Told(Struct, frozen=True, tag=True):
    """The process has said something: see `bench.images.marks`."""

    mark: bytes


class Died(Struct, frozen=True, tag=True):
    """The process has ended, perhaps in the middle of calls; the system has `files` in memory."""

    files: dict[str, bytes]


class PowerLost(Struct, frozen=True, tag=True):
    """The machine has stopped, and this is what its disk has."""

    files: dict[str, bytes]


Event = Began | Ended | Told | Died | PowerLost

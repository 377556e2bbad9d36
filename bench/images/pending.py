"""A file and the names in a directory, as they are and as a crash may leave them.

    cached      what a process that starts now would read
    settled     what was synced: surely on the disk
    pending     every version in between: of each sector, of the length, of a name

Every change has a stamp, greater than those before it. A crash leaves, of each thing by itself, the
settled version or one of the pending ones; `Crash` says which come into question.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final, NamedTuple, TypeVar

SECTOR: Final = 512
"""The least that a disk writes, and writes whole or not at all."""

SHARES: Final = (0.0, 0.1, 0.5, 0.9, 1.0)
"""Of what is pending in a file, how much has reached a disk that writes in no order."""

NEWEST: Final = 0.8
"""How often that is the newest version, where there are several."""

IsCovered = Callable[[int], bool]
"""Whether a sync vouches for the change of that stamp."""

T = TypeVar("T")
_Versions = list[tuple[int, T]]


class Crash(NamedTuple):
    """What a crash does to changes that are pending."""

    chance: random.Random
    last: int
    """Later changes are lost."""

    is_ordered: bool
    """The others have all reached the disk; else chance decides for each."""

    under_way: Collection[int]
    """Changes in whose middle the crash comes."""

    def leaves(self, settled: T, versions: _Versions[T], share: float) -> T:
        """What is on the disk of one thing: with a likelihood of `share` it is not `settled`."""
        reached = [version for stamp, version in versions if stamp <= self.last]
        if not reached or (not self.is_ordered and self.chance.random() >= share):
            return settled
        if self.is_ordered or len(reached) == 1 or self.chance.random() < NEWEST:
            return reached[-1]
        return self.chance.choice(reached)


class PendingFile:
    """The content of one file."""

    def __init__(self, content: bytes) -> None:
        self.cached = bytearray(content)
        self._settled = bytearray(content)  # what is behind the end is zeros, or of no meaning
        self._settled_size = len(content)
        self._sectors: dict[int, _Versions[bytes]] = {}
        self._sizes: _Versions[int] = []

    @property
    def stamps(self) -> Iterator[int]:
        """Of all that is pending."""
        for versions in self._sectors.values():
            yield from (stamp for stamp, _ in versions)
        yield from (stamp for stamp, _ in self._sizes)

    # ── what happens ─────────────────────────────────────────────────────────────────────────

    def write(self, stamp: int, offset: int, content: bytes) -> None:
        """`content` is cached at `offset`, which may be beyond the end."""
        end = offset + len(content)
        if end > len(self.cached):
            self.resize(stamp, end)
        self.cached[offset:end] = content
        self._changed(stamp, offset, end)

    def resize(self, stamp: int, size: int) -> None:
        """The file is cut off, or made longer by zeros."""
        before = len(self.cached)
        if size == before:
            return
        self._sizes.append((stamp, size))
        if size > before:
            self.cached.extend(bytes(size - before))
        else:
            del self.cached[size:]
            self._changed(stamp, size, before)

    def replace(self, stamp: int, content: bytes) -> None:
        """The file is found to hold `content`, whatever was thought to have happened to it."""
        size = self._sizes[-1][1] if self._sizes else self._settled_size
        if size != len(content):
            self._sizes.append((stamp, len(content)))
        longest = max(len(content), len(self._settled), len(self.cached))
        self.cached[:] = content
        for sector in range(-(-longest // SECTOR)):
            versions = self._sectors.get(sector)
            latest = versions[-1][1] if versions else _sector(self._settled, sector)
            if latest != _sector(self.cached, sector):
                self._changed(stamp, sector * SECTOR, sector * SECTOR + 1)

    def forget(self, stamps: Collection[int]) -> None:
        """These changes have not happened; what is cached is to be replaced."""
        self._keep(lambda stamp: stamp not in stamps)

    def _changed(self, stamp: int, begin: int, end: int) -> None:
        for sector in range(begin // SECTOR, -(-end // SECTOR)):
            versions = self._sectors.setdefault(sector, [])
            versions.append((stamp, _sector(self.cached, sector)))

    def _keep(self, is_kept: Callable[[int], bool]) -> None:
        self._sizes = [one for one in self._sizes if is_kept(one[0])]
        kept = {
            sector: [one for one in versions if is_kept(one[0])]
            for sector, versions in self._sectors.items()
        }
        self._sectors = {sector: versions for sector, versions in kept.items() if versions}

    # ── what is sure ─────────────────────────────────────────────────────────────────────────

    def settle(self, is_covered: IsCovered) -> None:
        """The newest version of each sector that is covered is on the disk, and none before it."""
        for sector, versions in list(self._sectors.items()):
            content, later = _newest_covered(versions, is_covered)
            if content is not None:
                self._put(sector, content)
                self._sectors[sector] = later
                if not later:
                    del self._sectors[sector]
        size, self._sizes = _newest_covered(self._sizes, is_covered)
        if size is not None:
            self._settled_size = size

    def _put(self, sector: int, content: bytes) -> None:
        begin = sector * SECTOR
        missing = begin + SECTOR - len(self._settled)
        if missing > 0:
            self._settled.extend(bytes(missing))
        self._settled[begin : begin + SECTOR] = content

    # ── what a crash leaves ──────────────────────────────────────────────────────────────────

    def left(self, crash: Crash) -> bytes:
        """The content after the crash: one of those that may be."""
        chance = crash.chance
        share = chance.choice(SHARES)
        size = crash.leaves(self._settled_size, self._sizes, chance.choice(SHARES))
        content = self._settled[:size].ljust(size, b"\0")
        cut = self._cut(crash) if crash.is_ordered else {}
        for sector, versions in self._sectors.items():
            begin = sector * SECTOR
            if begin >= size:
                continue
            written = [one for one in versions if sector < cut.get(one[0], sector + 1)]
            new = crash.leaves(_sector(self._settled, sector), written, share)
            end = min(begin + SECTOR, size)
            content[begin:end] = new[: end - begin]
        return bytes(content)

    def _cut(self, crash: Crash) -> dict[int, int]:
        """Of each write under way, the sector before which it ends."""
        cut = {}
        for stamp in sorted(crash.under_way):
            written = [
                sector
                for sector, versions in self._sectors.items()
                if any(one[0] == stamp for one in versions)
            ]
            if written:
                cut[stamp] = crash.chance.randint(min(written), max(written) + 1)
        return cut


class PendingNames:
    """Which file has which name in a directory."""

    def __init__(self, files: Mapping[str, PendingFile]) -> None:
        self.cached = dict(files)
        self._settled = dict(files)
        self._changes: _Versions[Mapping[str, PendingFile | None]] = []

    @property
    def files(self) -> Iterator[PendingFile]:
        """Every file that has a name, or may have one after a crash."""
        every = [*self._settled.values(), *self.cached.values()]
        yield from {id(file): file for file in every}.values()

    def change(self, stamp: int, names: Mapping[str, PendingFile | None]) -> None:
        """In one step, these names lead to these files, or to none."""
        self._changes.append((stamp, names))
        _apply(self.cached, names)

    def forget(self, stamps: Collection[int]) -> None:
        """These changes have not happened."""
        self._changes = [one for one in self._changes if one[0] not in stamps]
        self.cached = dict(self._settled)
        for _, names in self._changes:
            _apply(self.cached, names)

    def settle(self, is_covered: IsCovered) -> None:
        """Changes that are covered will survive."""
        for stamp, names in self._changes:
            if is_covered(stamp):
                _apply(self._settled, names)
        self._changes = [one for one in self._changes if not is_covered(one[0])]

    def left(self, crash: Crash) -> dict[str, PendingFile]:
        """The names after the crash: some of those that may be."""
        left = dict(self._settled)
        share = crash.chance.choice(SHARES)
        for stamp, names in self._changes:
            is_sure = crash.is_ordered and stamp not in crash.under_way
            if stamp <= crash.last and (is_sure or crash.chance.random() < share):
                _apply(left, names)
        return left


def _apply(names: dict[str, PendingFile], changes: Mapping[str, PendingFile | None]) -> None:
    for name, file in changes.items():
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file


def _newest_covered(versions: _Versions[T], is_covered: IsCovered) -> tuple[T | None, _Versions[T]]:
    """The newest version that is covered, if any is, and those behind it."""
    for place in range(len(versions) - 1, -1, -1):
        if is_covered(versions[place][0]):
            return versions[place][1], versions[place + 1 :]
    return None, versions


def _sector(content: bytearray, sector: int) -> bytes:
    return bytes(content[sector * SECTOR : (sector + 1) * SECTOR].ljust(SECTOR, b"\0"))

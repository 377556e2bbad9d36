"""The journal: what a commit waits for. One write and one sync, to a file that is there already.

LMDB writes every page that a transaction changes, and each message changes pages far apart: of its
conversation, of its idempotency key, of two inboxes. The journal takes the same rows in one piece.
They stay here until a checkpoint has moved them into the tables; a start reads what is left.

    journal-0  │ frame 1 │ frame 2 │ frame 3 │ … zeros or frames of long ago
    journal-1  │ frame 4 │ frame 5 │ …

Two files, used in turns. A file is written again from its beginning once a checkpoint has all of
it; that it has is told by a row of `meta`, so nothing needs to be erased. A frame begins at a
multiple of 512 bytes, the least that disks write, so that writing one never touches another:

    magic, 4 bytes │ length of the payload, u32 │ number, u64 │ check, 16 bytes │ payload │ zeros

Numbers are 1, 2, 3 … over the life of the store. The check is BLAKE2b of all the rest, keyed with a
secret of this store, so that nothing a client has chosen can ever look like a frame.

Frame n + 1 is written when frame n is on the disk. So of the frames that a start finds, those
behind the checkpoint must follow each other without a gap: a last one that is torn was never
acknowledged, and where one is missing *before* another, the disk has lost what it had promised.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

from storage.directory import FILE_MODE, sync_directory
from storage.errors import NO_SPACE, NoSpaceError

JOURNAL_FILES: Final = ("journal-0", "journal-1")

SEGMENT_BYTES: Final = 8 << 20
"""A file is left for the other once it holds so much; one frame always fits an empty file.

More would cost memory and time at a start, less would give a checkpoint fewer rows to a page.
"""

FRAME_ALIGNMENT: Final = 512
EXTEND_BYTES: Final = 1 << 20
"""A file grows to twice its length, but by no more than this at a time: with zeros, and synced, so
that most commits change no metadata.
"""

FIRST_BYTES: Final = 1 << 16

MOST_CHECKED: Final = 8
"""Times its length that a file is hashed at a start. All that is new lies at its beginning, one
after the other, and takes one; the rest is for a frame behind one that the disk has lost. Without
a bound, a torn frame full of what looks like headers, of a client's choice, takes hours.
"""

_MAGIC: Final = b"KSJ1"
_CHECK_BYTES: Final = 16
_header: Final = Struct(f"!4sIQ{_CHECK_BYTES}s")
_numbered: Final = Struct("!IQ")


class Frame(NamedTuple):
    """One committed transaction, as a file has it."""

    number: int
    payload: bytes
    end: int
    """The offset in its file from which the next frame is written."""


class Found(NamedTuple):
    """What a start finds in the files and not in the tables, in order of number."""

    which: int
    """Which file is written to."""

    current: Sequence[Frame]
    """Those in that file."""

    other: Sequence[Frame]
    """Those before them, in the other."""


NOTHING_FOUND: Final = Found(0, (), ())


class GapError(Exception):
    """A frame is missing, and a later one is there; or a file is."""


def find_frames(path: Path, key: bytes, folded: int) -> Found:
    """All frames behind the number `folded`, in the store at `path` that was written to since.

    Raises:
        GapError: what it promised to keep is not all there.
        OSError: a file cannot be read.
    """
    if not all((path / name).exists() for name in JOURNAL_FILES):
        raise GapError  # they are there before the first frame counts
    files = [_frames(path / name, key, folded) for name in JOURNAL_FILES]
    which = int(_last(files[1]) > _last(files[0]))
    found = Found(which, files[which], files[1 - which])
    numbers = [frame.number for frame in (*found.other, *found.current)]
    if numbers != list(range(folded + 1, folded + 1 + len(numbers))):
        raise GapError
    return found


class Journal:
    """Appends frames and finds them again. Belongs to the storage thread."""

    def __init__(
        self,
        path: Path,
        key: bytes,
        folded: int,
        found: Found,
        segment_bytes: int,
    ) -> None:
        """Frames up to the number `folded` are in the tables, `found` are behind it."""
        self._path = path
        self._key = key
        self._segment_bytes = segment_bytes
        self._files: list[int] = []
        self._sizes = [0, 0]
        self._which = found.which
        self._end = found.current[-1].end if found.current else 0
        self.folding_number = found.other[-1].number if found.other else folded
        """Of the last frame that is not in the present file."""

        self.number = found.current[-1].number if found.current else self.folding_number
        """Of the last frame."""

        self._unsure: Frame | None = found.current[-1] if found.current else None

    @property
    def file_bytes(self) -> int:
        """How long the files are that were written to. For any thread."""
        return sum(self._sizes)

    @property
    def filled(self) -> float:
        """How much of the present file is used: 1.0 or more is all of it."""
        return self._end / self._segment_bytes

    def has_room(self, payload: bytes) -> bool:
        """Whether a frame of `payload` belongs into the present file, or else into the other."""
        return not self._end or self._end + _frame_bytes(payload) <= self._segment_bytes

    def turn(self) -> None:
        """Write to the other file from now on, over what it holds."""
        self._which = 1 - self._which
        self._end = 0
        self.folding_number = self.number

    def append(self, payload: bytes) -> None:
        """Commit `payload`: at return it is on the disk.

        Raises:
            NoSpaceError: the file cannot grow; nothing was committed.
            OSError: the outcome is unknown.
        """
        frame = _frame(self.number + 1, payload, self._key)
        end = self._end + len(frame)
        file = self._ready(end)
        # From here on, whatever goes wrong leaves the outcome unknown: it may all be there.
        _write(file, frame, self._end)
        os.fdatasync(file)
        self._end = end
        self.number += 1

    def open(self) -> None:
        """Have both files open, so that a commit never needs a descriptor, and synced.

        A process that was killed may have left its last frame in the system's memory only, and one
        whose sync failed may have left it where no later sync writes it. So it is written again.

        Raises:
            OSError: the system refuses.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        if not self._files:
            for name in JOURNAL_FILES:
                self._files.append(os.open(self._path / name, flags, FILE_MODE))
            self._sizes = [os.fstat(file).st_size for file in self._files]
            sync_directory(self._path)
            self._write_again()

    def _write_again(self) -> None:
        if self._unsure is not None:
            number, payload, end = self._unsure
            frame = _frame(number, payload, self._key)
            _write(self._files[self._which], frame, end - len(frame))
            os.fsync(self._files[self._which])
            self._unsure = None

    def empty(self) -> None:
        """Whatever the files hold is of no use: the next frame is the first in them.

        Raises:
            OSError: the system refuses.
        """
        for file in self._files:
            os.ftruncate(file, 0)
            os.fsync(file)
        self._which = self._end = 0
        self._sizes = [0, 0]
        self.folding_number = self.number

    def remove(self) -> None:
        """Everything is in the tables: the files are not needed."""
        self.close()
        for name in JOURNAL_FILES:
            (self._path / name).unlink(missing_ok=True)
        self._which = self._end = 0

    def close(self) -> None:
        """Release the files. A second call changes nothing."""
        while self._files:
            os.close(self._files.pop())
        self._sizes = [0, 0]

    def _ready(self, end: int) -> int:
        """The present file, at least `end` bytes long, its length on the disk."""
        which = self._which
        file, size = self._files[which], self._sizes[which]
        if size < end:
            longer = max(end, FIRST_BYTES, size + min(size, EXTEND_BYTES))
            try:
                _write(file, bytes(longer - size), size)
                os.fsync(file)
            except OSError as error:
                if error.errno in NO_SPACE:
                    raise NoSpaceError from error
                raise
            self._sizes[which] = longer
        return file


def _write(file: int, content: bytes, offset: int) -> None:
    written = os.pwrite(file, content, offset)
    while written < len(content):  # the system may take less, and says why when asked again
        written += os.pwrite(file, content[written:], offset + written)


# ── frames ───────────────────────────────────────────────────────────────────────────────────


def _frame_bytes(payload: bytes) -> int:
    return -(-(_header.size + len(payload)) // FRAME_ALIGNMENT) * FRAME_ALIGNMENT


def _frame(number: int, payload: bytes, key: bytes) -> bytes:
    header = _header.pack(_MAGIC, len(payload), number, _check(number, payload, key))
    return (header + payload).ljust(_frame_bytes(payload), b"\0")


def _check(number: int, payload: bytes, key: bytes) -> bytes:
    check = blake2b(_numbered.pack(len(payload), number), digest_size=_CHECK_BYTES, key=key)
    check.update(payload)
    return check.digest()


def _frames(file: Path, key: bytes, folded: int) -> Sequence[Frame]:
    """The whole frames of `file` that are not in the tables, in order of number."""
    return sorted(_whole_frames(file.read_bytes(), key, folded))


def _whole_frames(content: bytes, key: bytes, folded: int) -> Iterator[Frame]:
    left = MOST_CHECKED * len(content)
    offset = content.find(_MAGIC)
    while 0 <= offset <= len(content) - _header.size:
        frame = None
        _, length, number, _ = _header.unpack_from(content, offset)
        fits = offset + _header.size + length <= len(content)
        if offset % FRAME_ALIGNMENT == 0 and number > folded and fits:
            left -= length
            if left < 0:
                return
            frame = _frame_at(content, offset, key)
        if frame is not None:
            yield frame
        offset = content.find(_MAGIC, offset + 1 if frame is None else frame.end)


def _frame_at(content: bytes, offset: int, key: bytes) -> Frame | None:
    _, length, number, check = _header.unpack_from(content, offset)
    begin = offset + _header.size
    payload = content[begin : begin + length]
    if _check(number, payload, key) != check:
        return None
    return Frame(number, payload, offset + _frame_bytes(payload))


def _last(frames: Sequence[Frame]) -> int:
    return frames[-1].number if frames else 0

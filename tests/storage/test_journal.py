"""The journal: what was synced is found again, what was torn is not, what is lost is noticed."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import journal as journals
from storage.errors import NoSpaceError
from storage.journal import (
    EXTEND_BYTES,
    FRAME_ALIGNMENT,
    JOURNAL_FILES,
    MOST_CHECKED,
    NOTHING_FOUND,
    Found,
    GapError,
    Journal,
    find_frames,
)

KEY = b"k" * 32
SEGMENT = 8 * FRAME_ALIGNMENT


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path


def new(directory: Path, found: Found = NOTHING_FOUND, folded: int = 0) -> Journal:
    journal = Journal(directory, KEY, folded, found, SEGMENT)
    journal.open()
    if found is NOTHING_FOUND:
        journal.empty()
    return journal


def payloads(directory: Path, folded: int = 0) -> list[bytes]:
    found = find_frames(directory, KEY, folded)
    return [frame.payload for frame in (*found.other, *found.current)]


def write(directory: Path, *contents: bytes) -> Journal:
    """Turns as a writer does whose checkpoints are always done."""
    journal = new(directory)
    for content in contents:
        if not journal.has_room(content):
            journal.turn()
        journal.append(content)
    return journal


# ── what was synced ──────────────────────────────────────────────────────────────────────────


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(0, 3 * FRAME_ALIGNMENT), min_size=1, max_size=12))
def test_what_was_appended_is_found_in_order_whatever_its_size(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    journal = new(directory)
    contents = [bytes((number,)) * size for number, size in enumerate(sizes)]
    kept: list[bytes] = []
    other: list[bytes] = []
    for content in contents:
        if not journal.has_room(content):
            journal.turn()
            kept, other = [], kept  # what was in the other file was folded
        journal.append(content)
        kept.append(content)
        folded = journal.number - len(kept) - len(other)

        assert payloads(directory, folded) == other + kept
    journal.close()


def test_a_start_goes_on_behind_the_last_frame_and_in_the_same_file(directory: Path) -> None:
    write(directory, b"one", b"two").close()

    journal = new(directory, find_frames(directory, KEY, 0))
    journal.append(b"three")
    journal.close()

    assert payloads(directory) == [b"one", b"two", b"three"]
    assert journal.number == 3


def test_a_start_writes_the_last_frame_again_and_syncs_it(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be in the memory of the system only, where a failed sync has given it up."""
    write(directory, b"one", b"two").close()
    file = directory / JOURNAL_FILES[0]
    whole = file.read_bytes()
    found = find_frames(directory, KEY, 0)
    file.write_bytes(whole[:FRAME_ALIGNMENT].ljust(len(whole), b"\0"))  # what the disk has
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(file.read_bytes()))

    new(directory, found).close()

    assert synced[-1] == whole


def test_frames_that_are_in_the_tables_are_not_found_again(directory: Path) -> None:
    write(directory, b"one", b"two", b"three").close()

    assert payloads(directory, folded=2) == [b"three"]
    assert payloads(directory, folded=3) == []


def test_a_file_that_is_written_again_hides_what_it_held(directory: Path) -> None:
    large = bytes(SEGMENT - FRAME_ALIGNMENT)
    journal = write(directory, large, b"one", b"two")  # one file, then the other
    assert journal.folding_number == 1
    journal.turn()  # the first again, over what it held
    journal.append(b"three")
    journal.close()

    assert payloads(directory, folded=1) == [b"one", b"two", b"three"]


def test_a_frame_larger_than_a_file_has_one_to_itself(directory: Path) -> None:
    huge = bytes(3 * EXTEND_BYTES)
    journal = write(directory, b"small", huge)

    assert payloads(directory) == [b"small", huge]
    assert not journal.has_room(b"x")
    journal.close()


# ── what was not synced, and what is lost ────────────────────────────────────────────────────


def sectors(directory: Path, contents: list[bytes]) -> Iterator[tuple[int, int]]:
    """(frame, offset of a sector of it in the first file)."""
    offset = 0
    for number, content in enumerate(contents, 1):
        frame = -(-(32 + len(content)) // FRAME_ALIGNMENT)
        for _ in range(frame):
            yield number, offset
            offset += FRAME_ALIGNMENT


@pytest.mark.parametrize("garbage", [bytes(FRAME_ALIGNMENT), b"\xff" * FRAME_ALIGNMENT])
def test_a_sector_lost_of_the_last_frame_loses_that_frame_and_of_another_is_damage(
    directory: Path, garbage: bytes
) -> None:
    contents = [b"a" * 900, b"b" * 40, b"c" * 1_400]
    write(directory, *contents).close()
    file = directory / JOURNAL_FILES[0]
    whole = file.read_bytes()

    for number, offset in sectors(directory, contents):
        file.write_bytes(whole[:offset] + garbage + whole[offset + FRAME_ALIGNMENT :])
        if number == len(contents):
            assert payloads(directory) == contents[:-1]
        else:
            with pytest.raises(GapError):
                payloads(directory)


def test_a_torn_frame_is_written_over_by_the_next(directory: Path) -> None:
    contents = [b"a" * 900, b"c" * 1_400]
    write(directory, *contents).close()
    file = directory / JOURNAL_FILES[0]
    whole = bytearray(file.read_bytes())
    whole[3 * FRAME_ALIGNMENT] ^= 1  # in the middle of the second
    file.write_bytes(whole)

    journal = new(directory, find_frames(directory, KEY, 0))
    journal.append(b"b")
    journal.append(b"d" * 2_000)
    journal.close()

    assert payloads(directory) == [contents[0], b"b", b"d" * 2_000]


def test_every_flipped_bit_is_noticed(directory: Path) -> None:
    write(directory, b"a" * 900, b"last").close()
    file = directory / JOURNAL_FILES[0]
    whole = file.read_bytes()

    for at in range(0, 932, 7):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        file.write_bytes(damaged)
        with pytest.raises(GapError):
            payloads(directory)


@pytest.mark.parametrize("which", [0, 1])
def test_a_lost_file_is_damage(directory: Path, which: int) -> None:
    write(directory, b"one").close()
    (directory / JOURNAL_FILES[which]).unlink()

    with pytest.raises(GapError):
        payloads(directory)


def test_what_a_client_has_chosen_never_looks_like_a_frame(directory: Path) -> None:
    """A frame of another store, at the right place in a payload, with the number that is next."""
    other = directory / "other"
    other.mkdir()
    journal = Journal(other, b"o" * 32, 1, NOTHING_FOUND, SEGMENT)
    journal.open()
    journal.append(b"planted")
    journal.close()
    planted = (other / JOURNAL_FILES[0]).read_bytes()[:FRAME_ALIGNMENT]
    write(directory, bytes(FRAME_ALIGNMENT - 32) + planted).close()
    file = directory / JOURNAL_FILES[0]
    whole = bytearray(file.read_bytes())
    whole[40] ^= 1  # the frame around it is torn, so that its inside is looked at

    file.write_bytes(whole)

    assert payloads(directory) == []


def test_a_torn_frame_of_a_client_that_imitates_headers_does_not_hold_up_a_start(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imitation = (b"KSJ1" + (40_000).to_bytes(4, "big") + (9).to_bytes(8, "big")) * 4_000
    write(directory, imitation, imitation, imitation).close()
    for name in JOURNAL_FILES:
        file = directory / name
        content = bytearray(file.read_bytes())
        at = content.find(imitation[:32])
        if at >= 0:
            content[at] ^= 1  # no frame any more, so that its inside is looked at
            file.write_bytes(content)
    hashed = 0

    def counting(content: bytes, **options: Any) -> Any:
        check = blake2b(content, **options)

        class Check:
            def update(self, more: bytes) -> None:
                nonlocal hashed
                hashed += len(more)
                check.update(more)

            def digest(self) -> bytes:
                return check.digest()

        return Check()

    monkeypatch.setattr(journals, "blake2b", counting)
    with suppress(GapError):
        payloads(directory)

    length = sum((directory / name).stat().st_size for name in JOURNAL_FILES)
    assert 0 < hashed <= MOST_CHECKED * length


# ── no room, and errors ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_file_that_cannot_grow_is_told_and_smaller_frames_still_fit(
    directory: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    journal = write(directory, b"one")
    pwrite = os.pwrite

    def half(file: int, content: bytes, offset: int) -> int:
        if offset > EXTEND_BYTES // 2:
            raise OSError(code, "planted")
        return pwrite(file, content[: len(content) // 2 + 1], offset)

    monkeypatch.setattr(os, "pwrite", half)
    with pytest.raises(NoSpaceError):
        journal.append(bytes(EXTEND_BYTES))
    monkeypatch.undo()

    assert payloads(directory) == [b"one"]
    journal.append(b"2")
    journal.close()
    assert payloads(directory) == [b"one", b"2"]


def test_a_frame_cut_short_may_be_whole_and_is_never_told_to_be_absent(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = write(directory, b"one")
    pwrite = os.pwrite

    def without_its_last_zeros(file: int, content: bytes, offset: int) -> int:
        if len(content) < 100:
            raise OSError(errno.ENOSPC, "planted")
        return pwrite(file, content[: len(content) - 50], offset)

    monkeypatch.setattr(os, "pwrite", without_its_last_zeros)
    with pytest.raises(OSError, match="planted"):
        journal.append(b"two")
    journal.close()

    assert payloads(directory) == [b"one", b"two"]


def test_a_frame_counts_only_once_it_is_synced(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = write(directory, b"one")

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "planted")

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(OSError, match="planted"):
        journal.append(b"two")

    assert journal.number == 1
    journal.close()


def test_no_frame_shares_a_sector_with_another(directory: Path) -> None:
    chance = random.Random(7)
    journal = new(directory)
    before = b""
    for _ in range(6):
        journal.append(chance.randbytes(chance.randrange(1, 900)))
        now = (directory / JOURNAL_FILES[0]).read_bytes()
        changed = [
            offset
            for offset in range(0, len(now), FRAME_ALIGNMENT)
            if now[offset : offset + FRAME_ALIGNMENT] != before[offset : offset + FRAME_ALIGNMENT]
        ]
        if before:
            assert all(not any(before[at : at + FRAME_ALIGNMENT]) for at in changed)
        before = now
    journal.close()

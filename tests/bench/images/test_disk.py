"""What a crash may leave, and what it may not: the model of a disk by itself."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

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
    Resize,
    Sync,
    SyncNames,
    Write,
)
from bench.images.disk import Disk, MismatchError
from bench.images.store_files import Files

A, B, C = (bytes((sign,)) * 512 for sign in b"abc")
ZEROS = bytes(512)


def done(*calls: Call) -> list[Event]:
    """One after the other, each to its end."""
    return [event for call in calls for event in (Began(1, call), Ended(1))]


def disk_after(events: Iterable[Event], files: Files | None = None) -> Disk:
    disk = Disk()
    disk.take(PowerLost(files or {}))
    for event in events:
        disk.take(event)
    return disk


def left(disk: Disk, name: str = "f") -> set[bytes | None]:
    """Everything that a crash may leave of the file; None is no file."""
    return {disk.image(random.Random(seed)).get(name) for seed in range(300)}


def test_what_is_synced_is_there_and_nothing_else() -> None:
    disk = disk_after(done(Write("f", 0, A + B, False), Sync("f")), {"f": b""})

    assert left(disk) == {A + B}


def test_each_sector_that_is_not_synced_is_old_or_new_by_itself() -> None:
    disk = disk_after(done(Write("f", 0, A + A, False)), {"f": B + B})

    assert left(disk) == {B + B, A + B, B + A, A + A}


def test_a_length_that_is_not_synced_is_old_or_new() -> None:
    disk = disk_after(done(Write("f", 512, A, False)), {"f": B})

    assert left(disk) == {B, B + ZEROS, B + A}


def test_a_file_that_is_cut_off_may_have_its_old_end_until_it_is_synced() -> None:
    cut = done(Resize("f", 512))

    assert {A + B, A} <= left(disk_after(cut, {"f": A + B}))
    assert left(disk_after([*cut, *done(Sync("f"))], {"f": A + B})) == {A}
    longer = [*cut, *done(Sync("f"), Resize("f", 1024), Sync("f"))]
    assert left(disk_after(longer, {"f": A + B})) == {A + ZEROS}


def test_a_sync_says_nothing_of_a_write_that_had_not_returned_when_it_began() -> None:
    beside: list[Event] = [
        Began(1, Write("f", 0, A, False)),
        Began(2, Sync("f")),
        Ended(1),
        Ended(2),
    ]

    assert left(disk_after(beside, {"f": B})) == {A, B}


def test_a_sync_says_nothing_before_its_end() -> None:
    disk = disk_after([*done(Write("f", 0, A, False)), Began(1, Sync("f"))], {"f": B})

    assert left(disk) == {A, B}


def test_a_write_through_is_on_the_disk_and_what_was_written_before_it_need_not_be() -> None:
    writes = done(Write("f", 0, A, False), Write("f", 512, A, True))

    assert left(disk_after(writes, {"f": B + B})) == {B + A, A + A}


def test_a_sector_that_is_written_twice_may_be_each_of_the_three() -> None:
    disk = disk_after(done(Write("f", 0, A, False), Write("f", 0, B, False)), {"f": C})

    assert left(disk) == {A, B, C}


def test_a_write_in_whose_middle_the_process_is_killed_may_be_cut_at_any_sector() -> None:
    disk = disk_after([Began(1, Write("f", 0, A + A + A, False))], {"f": B + B + B})

    assert {B + B + B, A + B + B, A + A + B, A + A + A} <= left(disk)


def test_a_name_is_sure_when_its_directory_is_synced() -> None:
    made = done(Create("f"), Write("f", 0, A, False), Sync("f"))

    assert left(disk_after(made)) == {None, A}
    assert left(disk_after([*made, *done(SyncNames())])) == {A}


def test_a_removed_file_may_come_back_and_one_made_again_may_be_either() -> None:
    again = done(Remove("f"), Create("f"), Write("f", 0, B, False), Sync("f"))

    assert left(disk_after(done(Remove("f")), {"f": A})) == {None, A}
    assert left(disk_after(again, {"f": A})) == {None, A, B}
    assert left(disk_after([*again, *done(SyncNames())], {"f": A})) == {B}


def test_a_renamed_file_has_one_name_or_the_other() -> None:
    disk = disk_after(done(Rename("draft", "f")), {"draft": A, "f": B})

    images = [disk.image(random.Random(seed)) for seed in range(100)]
    assert {tuple(sorted(image.items())) for image in images} == {
        (("draft", A), ("f", B)),
        (("f", A),),
    }


def test_a_write_that_a_kill_has_cut_is_taken_as_it_is_found() -> None:
    events: list[Event] = [Began(1, Write("f", 0, A + A, False)), Died({"f": A + B})]
    disk = disk_after(events, {"f": B + B})

    assert disk.cached == {"f": A + B}
    assert left(disk) == {A + B, B + B}


def test_a_length_that_came_of_a_call_that_was_killed_is_synced_like_any_other() -> None:
    killed: list[Event] = [Began(1, Write("f", 512, A, False)), Died({"f": B + A})]

    assert left(disk_after(killed, {"f": B})) == {B, B + ZEROS, B + A}
    assert left(disk_after([*killed, *done(Sync("f"))], {"f": B})) == {B + A}


def test_whatever_was_not_recorded_is_noticed() -> None:
    with pytest.raises(MismatchError):
        disk_after([Died({"f": B})], {"f": A})
    with pytest.raises(MismatchError):
        disk_after([Died({"f": A, "g": B})], {"f": A})
    with pytest.raises(MismatchError):
        disk_after(done(Write("f", 0, A, False)))

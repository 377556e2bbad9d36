"""strace's account is understood, or refused: nothing that writes to a store is passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.images.calls import (
    Began,
    Create,
    Ended,
    Event,
    Remove,
    Rename,
    Reserve,
    Resize,
    Sync,
    SyncNames,
    Told,
    Write,
)
from bench.images.parsing import UnknownCallError, events

STORE = Path("/s")
MARKS = Path("/m")


def coded(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


F = f"7<{coded('/s/f')}>"
DIRECTORY = f"8<{coded('/s')}>"
NAME = f'AT_FDCWD<{coded("/")}>, "{coded("/s/f")}"'


def read(*lines: str) -> list[Event]:
    return list(events([f"1 {line}\n" for line in lines], STORE, MARKS))


@pytest.mark.parametrize(
    ("line", "call"),
    [
        (f'pwrite64({F}, "{coded("ab")}", 2, 512) = 2', Write("f", 512, b"ab", False)),
        (
            f'pwritev({F}, [{{"{coded("ab")}", 2}}, {{"{coded("c")}", 1}}], 2, 512) = 3',
            Write("f", 512, b"abc", False),
        ),
        (f"fdatasync({F})            = 0", Sync("f")),
        (f"fsync({DIRECTORY}) = 0", SyncNames()),
        (f"ftruncate({F}, 7) = 0", Resize("f", 7)),
        (f"fallocate({F}, 0, 512, 1024) = 0", Reserve("f", 1536)),
        (f"openat({NAME}, O_RDWR|O_CREAT|O_CLOEXEC, 0600) = {F}", Create("f")),
        (f'unlink("{coded("/s/f")}") = 0', Remove("f")),
        (f'rename("{coded("/s/f")}", "{coded("/s/g")}") = 0', Rename("f", "g")),
    ],
)
def test_each_call_that_a_store_makes_is_understood(line: str, call: object) -> None:
    assert read(line) == [Began(1, call), Ended(1)]  # type: ignore[arg-type]


def test_calls_of_two_threads_begin_and_end_where_they_did() -> None:
    account = [
        f'1 pwrite64({F}, "{coded("a")}", 1, 0 <unfinished ...>\n',
        f"2 fdatasync({F} <unfinished ...>\n",
        "1 <... pwrite64 resumed>) = 1\n",
        "2 <... fdatasync resumed>) = 0\n",
    ]

    assert list(events(account, STORE, MARKS)) == [
        Began(1, Write("f", 0, b"a", False)),
        Began(2, Sync("f")),
        Ended(1),
        Ended(2),
    ]


def test_writes_without_a_place_are_where_the_file_stands() -> None:
    found = read(
        f"openat({NAME}, O_RDWR) = {F}",
        f"lseek({F}, 4096, SEEK_SET) = 4096",
        f'write({F}, "{coded("ab")}", 2) = 2',
        f'writev({F}, [{{iov_base="{coded("c")}", iov_len=1}}], 1) = 1',
    )

    calls = [event.call for event in found if isinstance(event, Began)]
    assert calls == [Write("f", 4096, b"ab", False), Write("f", 4098, b"c", False)]


def test_a_file_opened_so_is_written_through() -> None:
    found = read(
        f"openat({NAME}, O_WRONLY|O_DSYNC|O_CLOEXEC) = {F}",
        f'pwrite64({F}, "{coded("a")}", 1, 0) = 1',
        f"openat({NAME}, O_WRONLY|O_CLOEXEC) = {F}",
        f'pwrite64({F}, "{coded("a")}", 1, 0) = 1',
    )

    calls = [event.call for event in found if isinstance(event, Began)]
    assert calls == [Write("f", 0, b"a", True), Write("f", 0, b"a", False)]


def test_a_call_in_which_the_process_is_killed_has_no_end() -> None:
    begun = Began(1, Write("f", 0, b"ab", False))

    assert read(f'pwrite64({F}, "{coded("ab")}", 2, 0) = ?') == [begun]
    assert read(f'pwrite64({F}, "{coded("ab")}", 2, 0) = 1') == [begun]


def test_marks_are_in_their_place() -> None:
    found = read(f"fdatasync({F}) = 0", f'write(9<{coded("/m")}>, "{coded("x")}", 1) = 1')

    assert found == [Began(1, Sync("f")), Ended(1), Told(b"x")]


def test_what_is_not_of_the_store_is_passed_over() -> None:
    elsewhere = f"7<{coded('/elsewhere')}>"

    assert read(f'write({elsewhere}, "{coded("/s/f")}", 4) = 4') == []
    assert read(f"fsync(7<{coded('/s/lock.mdb')}>) = 0") == []


@pytest.mark.parametrize(
    "line",
    [
        f"mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, {F}, 0) = 0x7f00",
        f"fallocate({F}, FALLOC_FL_PUNCH_HOLE|FALLOC_FL_KEEP_SIZE, 0, 512) = 0",
        f"openat({NAME}, O_RDWR|O_TRUNC) = {F}",
        f"sync_file_range({F}, 0, 512, SYNC_FILE_RANGE_WRITE) = 0",
        f"copy_file_range({F}, NULL, {F}, NULL, 512, 0) = 512",
        f"fcntl({F}, F_DUPFD_CLOEXEC, 0) = 9",
        f'link("{coded("/s/f")}", "{coded("/s/g")}") = 0',
        "io_uring_setup(8, 0x7f00) = 9",
        "sync() = 0",
    ],
)
def test_what_could_write_to_the_store_unseen_is_an_error(line: str) -> None:
    with pytest.raises(UnknownCallError):
        read(line)


def test_a_call_that_did_not_do_all_it_was_asked_is_an_error() -> None:
    with pytest.raises(UnknownCallError):
        read(f'pwrite64({F}, "{coded("ab")}", 2, 0) = 1', f"fsync({F}) = 0")
    with pytest.raises(UnknownCallError):
        read(f"fsync({F}) = -1 EIO (Input/output error)", f"fsync({F}) = 0")

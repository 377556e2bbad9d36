r"""From strace's account of a process to the events of a recording.

    4711 pwrite64(7<path>, "\x4b…", 1024, 512) = 1024
    4711 fdatasync(7<path> <unfinished ...>
    4712 write(9<marks>, "…", 80)          = 80
    4711 <... fdatasync resumed>)          = 0

Strings and paths are in hexadecimal throughout. What is not about the store is passed over; what
is about it and not understood is an error, and so is whatever could write to it unseen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from bench.images.calls import (
    Began,
    Call,
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
from bench.images.store_files import OF_NO_WORTH

HARMLESS: Final = frozenset(("mkdir", "mkdirat", "close_range"))


class UnknownCallError(Exception):
    """The store was changed in a way that is not understood. Says which."""


class _Line(NamedTuple):
    """The beginning of a call, its end, or both."""

    thread: int
    name: str
    arguments: str | None
    """None where only the end is told."""

    result: int | None
    """None where the call has not returned in this line, and perhaps never."""


_HEX: Final = r"((?:\\x[0-9a-f]{2})*)"
_STRING: Final = re.compile(rf'"{_HEX}"')
_FILE: Final = re.compile(rf"(\d+)<{_HEX}>")
_CALL: Final = re.compile(r"(\d+) +(\w+)\((.*)$")
_RESUMED: Final = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)$")
_RESULT: Final = re.compile(r"\) += (-?\d+|0x[0-9a-f]+|\?)[^)]*(?:\([^)]*\))?$")
_UNFINISHED: Final = "<unfinished ...>"


def events(account: Iterable[str], store: Path, marks: Path) -> Iterator[Event]:
    """What the process did to the files in `store`, and the marks that it wrote to `marks`.

    Raises:
        UnknownCallError: something was done that is not understood.
    """
    reading = _Reading(store, marks)
    for text in account:
        line = _parse(text.rstrip("\n"))
        if line is not None:
            yield from reading.take(line)


def _parse(text: str) -> _Line | None:
    if match := _RESUMED.match(text):
        return _Line(int(match[1]), match[2], None, _result(match[3]))
    if match := _CALL.match(text):
        return _Line(int(match[1]), match[2], match[3], _result(match[3]))
    return None  # of signals and ends


def _result(rest: str) -> int | None:
    match = None if rest.endswith(_UNFINISHED) else _RESULT.search(rest)
    return None if match is None or match[1] == "?" else int(match[1], 0)


class _Reading:
    """What is known of open files and of calls that have not returned."""

    def __init__(self, store: Path, marks: Path) -> None:
        self._place = str(store).encode()
        place = re.escape(_hex(str(store)))
        self._of_store = re.compile(rf"<{place}(?:\\x2f|>)")
        self._names_store = re.compile(rf'"{place}(?:\\x2f|")')
        self._marks = f"<{_hex(str(marks))}>"
        self._positions: dict[str, int] = {}  # by descriptor
        self._synced: set[str] = set()  # descriptors
        self._under_way: dict[int, tuple[str, Call | None]] = {}
        self._ends: dict[int, str] = {}  # threads that are to do nothing more

    def take(self, line: _Line) -> Iterator[Event]:
        if line.thread in self._ends:
            raise UnknownCallError(self._ends[line.thread])
        if line.arguments is not None:
            if self._marks in line.arguments and line.name == "write":
                yield Told(_strings(line.arguments)[0])
                return
            if line.name.startswith(("io_", "sync")) and line.name != "sync_file_range":
                raise UnknownCallError(line.name)
            if not self._is_of_store(line.name, line.arguments):
                return
            call = self._understand(line.name, line.arguments)
            self._under_way[line.thread] = (line.arguments, call)
            if call is not None:
                yield Began(line.thread, call)
        if line.result is not None and line.thread in self._under_way:
            arguments, call = self._under_way.pop(line.thread)
            if not self._has_succeeded(line, arguments, call):
                # Of a thread that is killed in a call, strace may tell some other's result.
                self._ends[line.thread] = f"{line.name}, which returned {line.result}"
            elif call is not None:
                yield Ended(line.thread)

    def _is_of_store(self, name: str, arguments: str) -> bool:
        """Whether the call has a file of the store open or, if it is no write, names one."""
        if self._of_store.search(arguments):
            return True
        return "write" not in name and self._names_store.search(arguments) is not None

    # ── the beginning of a call ──────────────────────────────────────────────────────────────

    def _understand(self, name: str, arguments: str) -> Call | None:
        """What the call does to the store; None where that is nothing."""
        if name in ("open", "openat", "unlink", "unlinkat", "rename", "renameat"):
            return self._understand_names(name, arguments)
        file = self._name_of_first(arguments)
        if file in OF_NO_WORTH or name in HARMLESS or name == "lseek":
            return None
        match name:
            case "write" | "writev" | "pwrite64" | "pwritev":
                return self._written(name, file, arguments)
            case "fsync" | "fdatasync":
                return Sync(file) if file else SyncNames()
            case "ftruncate":
                return Resize(file, _numbers(arguments)[0])
            case "fallocate" if "FALLOC" not in arguments:
                _, offset, length = _numbers(arguments)
                return Reserve(file, offset + length)
            case "mmap" if "PROT_WRITE" not in arguments or "MAP_PRIVATE" in arguments:
                return None
            case "fcntl" if "F_DUPFD" not in arguments:
                return None
        raise UnknownCallError(f"{name} of {file or 'the directory'}")

    def _understand_names(self, name: str, arguments: str) -> Call | None:
        paths = [self._name_of(path) for path in _strings(arguments)]
        if OF_NO_WORTH.issuperset(paths):
            return None
        match name, paths:
            case (("open" | "openat"), [file]):
                if "O_TRUNC" in arguments:
                    raise UnknownCallError(f"{name} of {file}, cutting it off")
                return Create(file) if "O_CREAT" in arguments else None
            case (("unlink" | "unlinkat"), [file]):
                return Remove(file)
            case (("rename" | "renameat"), [old, new]):
                return Rename(old, new)
        raise UnknownCallError(f"{name} of {paths}")

    def _written(self, name: str, file: str, arguments: str) -> Write:
        descriptor = _FILE.search(arguments)
        assert descriptor is not None, "a call on a descriptor"
        content = b"".join(_strings(arguments[descriptor.end() :]))
        at = _numbers(arguments)[-1] if name.startswith("p") else self._positions[descriptor[1]]
        return Write(file, at, content, descriptor[1] in self._synced)

    # ── its end ──────────────────────────────────────────────────────────────────────────────

    def _has_succeeded(self, line: _Line, arguments: str, call: Call | None) -> bool:
        """Whether the call did what it was asked, to the last byte."""
        result = line.result
        assert result is not None, "the call has returned"
        descriptor = arguments.partition("<")[0]
        match line.name:
            case "open" | "openat":
                self._opened(str(result), arguments)
                return result >= 0 or call is None
            case "lseek":
                self._positions[descriptor] = result
                return True
            case "write" | "writev" if isinstance(call, Write):
                self._positions[descriptor] += len(call.content)
        match call:
            case Write(content=content):
                return result == len(content)
            case None | Remove():
                return True  # what is not there need not be removed
            case _:
                return result == 0

    def _opened(self, descriptor: str, arguments: str) -> None:
        self._positions[descriptor] = 0
        self._synced.discard(descriptor)
        if "O_DSYNC" in arguments or "O_SYNC" in arguments:
            self._synced.add(descriptor)

    # ── names ────────────────────────────────────────────────────────────────────────────────

    def _name_of_first(self, arguments: str) -> str:
        match = _FILE.search(arguments)
        if match is not None:
            return self._name_of(bytes.fromhex(match[2].replace("\\x", "")))
        return self._name_of(_strings(arguments)[0])

    def _name_of(self, path: bytes) -> str:
        """Of a file in the store; empty for its directory."""
        if path == self._place:
            return ""
        if not path.startswith(self._place + b"/"):
            raise UnknownCallError(f"a path beside the store: {path!r}")
        return path[len(self._place) + 1 :].decode()


def _hex(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def _strings(arguments: str) -> list[bytes]:
    return [bytes.fromhex(match.replace("\\x", "")) for match in _STRING.findall(arguments)]


def _numbers(arguments: str) -> list[int]:
    """The arguments that are plain numbers, in their order, behind descriptors and strings."""
    plain = _STRING.sub("", _FILE.sub("", arguments)).partition(")")[0]
    plain = plain.replace(_UNFINISHED, "")
    return [int(one) for one in (part.strip() for part in plain.split(",")) if one.isdigit()]

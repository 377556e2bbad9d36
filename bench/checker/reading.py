"""A file becomes records, whichever of the two forms it has; never more than a piece in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import msgpack
import msgspec

from bench.checker.records import FORMAT, KINDS, Header, Record

PIECE_BYTES: Final = 1 << 20
RECORD_MAX_BYTES: Final = 64 << 20
"""One record is this large at most; what claims to be larger is no history."""

_decode_header: Final = msgspec.json.Decoder(Header).decode
_decode_record: Final = msgspec.json.Decoder(Record).decode


class HistoryError(Exception):
    """This is not a history; the message says where and why."""


class Opened(NamedTuple):
    """A history, its records still to come; `share` is how much of the file was read by now."""

    header: Header
    records: Iterator[Record]
    share: Callable[[], float]


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """The history in a file: JSON lines where it begins with `{`, else a MessagePack stream.

    Raises:
        HistoryError: on opening or while records are read.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        first = file.read(1)
        file.seek(0)
        size = path.stat().st_size

        def share() -> float:
            return min(1.0, file.tell() / max(1, size))  # a file that is written to may grow

        read = _json_lines if first == b"{" else _msgpack_stream
        yield Opened(*read(file), share)


def _json_lines(file: BinaryIO) -> tuple[Header, Iterator[Record]]:
    def records() -> Iterator[Record]:
        for number, line in enumerate(file, 2):
            try:
                yield _decode_record(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise HistoryError(f"line {number}: {error}") from None

    try:
        header = _decode_header(file.readline(RECORD_MAX_BYTES))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise HistoryError(f"line 1 is not a header: {error}") from None
    return _known(header), records()


def _msgpack_stream(file: BinaryIO) -> tuple[Header, Iterator[Record]]:
    unpacker = msgpack.Unpacker(
        file, read_size=PIECE_BYTES, max_buffer_size=RECORD_MAX_BYTES, strict_map_key=True
    )

    def records() -> Iterator[Record]:
        number = 1
        try:
            for number, item in enumerate(unpacker, 2):  # noqa: B007 - named in the error
                yield msgspec.convert(item, _kind_of(item))
        except (msgspec.MsgspecError, msgpack.UnpackException, ValueError) as error:
            raise HistoryError(f"record {number}: {error}") from None
        if unpacker.tell() != file.tell():
            raise HistoryError(f"the last record, {number + 1}, is cut off")

    try:
        header = msgspec.convert(unpacker.unpack(), Header)
    except (msgspec.MsgspecError, msgpack.UnpackException, ValueError) as error:
        raise HistoryError(f"it does not begin with a header: {error}") from None
    return _known(header), records()


def _kind_of(item: object) -> type[Record]:
    """Looked up here, since converting to a union costs ten times as much."""
    kind = item[0] if isinstance(item, list) and item else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError("it is of no known kind")
    return KINDS[kind]


def _known(header: Header) -> Header:
    if header.history != FORMAT:
        raise HistoryError(f"it is of format {header.history}; this is a checker of {FORMAT}")
    return header

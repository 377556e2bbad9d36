"""A recording: everything that happened to the files of one store, in a file of its own."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from bench.images.calls import Event

SUFFIX: Final = ".recording"

_encoder: Final = msgspec.msgpack.Encoder()


class Recording(Struct, frozen=True):
    """It begins with no store."""

    seed: int
    segment_bytes: int
    """At which the store turned to the other file of its journal."""

    events: list[Event]


_decoder: Final = msgspec.msgpack.Decoder(Recording)


def write_recording(recording: Recording, file: Path) -> None:
    """`file` is whole, or not there."""
    draft = file.with_suffix(".draft")
    draft.write_bytes(zlib.compress(_encoder.encode(recording)))
    draft.replace(file)


def read_recording(file: Path) -> Recording:
    """The recording in `file`.

    Raises:
        OSError: it cannot be read.
        zlib.error, msgspec.MsgspecError: it is none.
    """
    return _decoder.decode(zlib.decompress(file.read_bytes()))

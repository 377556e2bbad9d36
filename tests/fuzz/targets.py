"""The four targets: plain functions that take any bytes and raise only when a promise is broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.fuzz.codec_target import codec_target
from tests.fuzz.connection_target import connection_target
from tests.fuzz.frames_target import frames_target
from tests.fuzz.handshake_target import handshake_target

HERE: Final = Path(__file__).parent


@dataclass(frozen=True)
class Target:
    """A function to fuzz, and how long its inputs may get."""

    name: str
    take: Callable[[bytes], None]
    most_bytes: int

    @property
    def corpus(self) -> Path:
        """The inputs that are kept."""
        return HERE / "corpus" / self.name

    @property
    def dictionary(self) -> Path:
        """Words that its inputs are made of."""
        return HERE / "dictionaries" / f"{self.name}.dict"


TARGETS: Final = {
    target.name: target
    for target in (
        Target("codec", codec_target, 4_096),
        Target("handshake", handshake_target, 4_096),
        Target("frames", frames_target, 2_048),
        Target("connection", connection_target, 400),
    )
}

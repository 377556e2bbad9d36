"""The limits that the front and the transports keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict


class FrameLimits(TypedDict):
    """What a peer's frames are judged by, in the words of whoever judges them."""

    is_text: bool
    max_frame_bytes: int
    max_fragments: int
    control_frames_per_second: int


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """What a peer may cost before and below the protocol's events."""

    max_frame_bytes: int
    handshakes: int = 1_000
    handshake_seconds: float = 5.0
    write_seconds: float = 10.0
    control_frames_per_second: int = 20
    fragments_per_frame: int = 64

    def of_frames(self, *, is_text: bool) -> FrameLimits:
        """Those of one connection, on which messages are all text or all binary."""
        return FrameLimits(
            is_text=is_text,
            max_frame_bytes=self.max_frame_bytes,
            max_fragments=self.fragments_per_frame,
            control_frames_per_second=self.control_frames_per_second,
        )

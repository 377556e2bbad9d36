"""The limits that the front and the transports keep."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """What a peer may cost before and below the protocol's events."""

    max_frame_bytes: int
    handshakes: int = 1_000
    handshake_seconds: float = 5.0
    write_seconds: float = 10.0
    control_frames_per_second: int = 20
    fragments_per_frame: int = 64

"""What has gone through all connections since the start, as plain numbers.

Connections count where they act, which costs an addition; whoever wants to know reads. The numbers
only grow, and nothing in them says who.
"""

from __future__ import annotations

from collections import Counter


class Traffic:
    """One for all connections. Bytes are those of whole WebSocket messages."""

    __slots__ = (
        "acks",
        "errors",
        "frames",
        "frames_bytes",
        "received",
        "received_bytes",
        "sends",
    )

    def __init__(self) -> None:
        self.received = 0  # messages of clients, of whatever kind
        self.received_bytes = 0
        self.sends = 0  # handed to their conversation
        self.acks = 0
        self.frames = 0
        self.frames_bytes = 0
        self.errors: Counter[str] = Counter()  # by code

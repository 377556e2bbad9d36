"""The seam between a connection actor and the WebSocket it speaks through.

The actor sees whole messages in and whole messages out. Framing, masking, fragments, pings and
TLS stay on the other side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class PeerGoneError(Exception):
    """The WebSocket has ended, by a close from either side, a reset, or silence on the line.

    Nothing can be received or sent any more.
    """


class SlowPeerError(PeerGoneError):
    """The peer took less than one piece within the write-progress limit."""


AtOnce = Callable[[list[bytes | bytearray]], bool]
"""Takes messages out of the list, from the front; whether it has taken all and may get more."""


def leave(_messages: list[bytes | bytearray]) -> bool:
    """Take nothing at once: an `AtOnce` for whoever wants all as the result of `receive`."""
    return False


class Transport(Protocol):
    """One upgraded WebSocket. One task receives; sending is synchronous and never waits.

    What a peer does wrong on this level (RFC 6455: masks, reserved bits, sizes, text that is
    binary, floods of control frames) is answered here with the close code it earns, after which
    `receive` raises `PeerGoneError`.
    """

    @property
    def queued_bytes(self) -> int:
        """Bytes accepted by `send` that the operating system has not taken yet."""

    @property
    def last_heard(self) -> float:
        """When the last byte arrived, on Trio's clock."""

    @property
    def close_code(self) -> int | None:
        """The code in our close frame; None where there was none."""

    async def receive(self, at_once: AtOnce = leave) -> Sequence[bytes | bytearray]:
        """Every message completed by the next read, in order; perhaps none.

        While this waits, what arrives may be given to `at_once` by whoever finds it, for as long
        as that takes all of it, and without waking the caller; then this returns what it has left.
        What `at_once` raises is raised here.

        Raises:
            PeerGoneError: there will be no more.
        """

    def send(self, message: bytes) -> None:
        """Queue one message. After `close` it is dropped."""

    def ping(self) -> None:
        """Queue a WebSocket ping."""

    def note_control(self) -> bool:
        """Count one control event of the application (`ksmpv3.ping`) with the control frames.

        False when that is one too many: flooding, for the caller to close with 4429.
        """

    def flush(self) -> bool:
        """Give the operating system what it takes at once; True when nothing is left.

        Never raises: a broken line shows in `receive`.
        """

    async def drain(self) -> None:
        """Write all that is queued, piece by piece, each within the write-progress limit.

        Raises:
            SlowPeerError: a piece was not taken in time; the connection is beyond saving.
            PeerGoneError: the line is broken.
        """

    def close(self, code: int) -> None:
        """Queue a close frame behind what is queued. Later calls change nothing."""

    async def aclose(self) -> None:
        """Finish: write the rest, wait briefly for the peer's close, release the socket."""

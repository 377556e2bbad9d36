"""What an actor may say about itself, and the seam through which it says it.

Events have stable names and declared fields, all of them registered in one place by whoever
implements `Telemetry`. A field is a number, a flag, a short code of our own, or an identifier
wrapped in `Hashed`; text that a client chose has no way in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from ksmp.types import ConversationKey

HashedKind = Literal["user", "device", "connection", "conversation", "message", "key", "token"]


@dataclass(frozen=True, slots=True)
class Hashed:
    """An identifier that leaves the process only as a keyed hash.

    The hash is made where the line is written, so wrapping costs nothing when the level is off.
    Equal kind and parts give equal hashes for as long as the process lives, and never after.
    """

    kind: HashedKind
    parts: tuple[str, ...]

    def __repr__(self) -> str:
        """The kind only: a wrapped identifier must not reappear in a traceback."""
        return f"Hashed({self.kind})"


def hashed(kind: HashedKind, identifier: str) -> Hashed:
    """`identifier`, fit to be a field. The kind keeps a user apart from a device of that name."""
    return Hashed(kind, (identifier,))


def hashed_conversation(key: ConversationKey) -> Hashed:
    """A conversation, fit to be a field: the same id between another pair is another hash."""
    return Hashed("conversation", key)


Field = int | float | str | bool | None | Hashed


class Telemetry(Protocol):
    """Where events go. Every method returns at once and never raises in production.

    In a hot path ask `is_debug` before building fields; a `debug` call that is off is cheap too.
    """

    @property
    def is_debug(self) -> bool:
        """Whether `debug` writes anything."""

    def debug(self, event: str, **fields: Field) -> None:
        """One step in the life of a message or a connection."""

    def info(self, event: str, **fields: Field) -> None:
        """Something an operator wants to find later."""

    def warning(self, event: str, **fields: Field) -> None:
        """Something went wrong and was contained."""

    def error(self, event: str, **fields: Field) -> None:
        """Something went wrong that an operator must act on."""

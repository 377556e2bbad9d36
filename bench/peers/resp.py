"""RESP2, what a Redis server and its clients say to each other: commands out, replies in."""

from __future__ import annotations

from typing import TypeAlias

Reply: TypeAlias = "bytes | int | ReplyError | list[Reply] | None"
"""A simple or bulk string, an integer, an error, nothing (`$-1`, `*-1`), or an array of these."""


class ReplyError(Exception):
    """The server refused a command. As it is a reply, it is returned, not raised."""


class NotRespError(Exception):
    """What came is no RESP2."""


def command(*words: bytes) -> bytes:
    """A command: an array of bulk strings."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


class Replies:
    """Splits a stream of bytes into replies, wherever it was cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[Reply]:
        """Every reply that is whole by now, in order.

        Raises:
            NotRespError: the stream cannot be understood.
        """
        buffer = self._rest + chunk if self._rest else chunk
        replies: list[Reply] = []
        position = 0
        while (found := _reply_at(buffer, position)) is not None:
            reply, position = found
            replies.append(reply)
        self._rest = buffer[position:]
        return replies


def _reply_at(buffer: bytes, start: int) -> tuple[Reply, int] | None:
    """The reply that begins at `start` and where the next begins; None if it is not whole."""
    end = buffer.find(b"\r\n", start)
    if end < 0:
        return None
    kind, line, after = buffer[start : start + 1], buffer[start + 1 : end], end + 2
    if kind == b"+":
        return line, after
    if kind == b"-":
        return ReplyError(line.partition(b" ")[0].decode(errors="replace")), after
    if kind not in (b":", b"$", b"*"):
        raise NotRespError("a reply of no known type")
    try:
        number = int(line)
    except ValueError:
        raise NotRespError("a length that is no number") from None
    if kind == b":":
        return number, after
    if number < 0:
        return None, after
    return _bulk(buffer, after, number) if kind == b"$" else _array(buffer, after, number)


def _bulk(buffer: bytes, start: int, length: int) -> tuple[Reply, int] | None:
    after = start + length + 2
    return (buffer[start : after - 2], after) if after <= len(buffer) else None


def _array(buffer: bytes, position: int, length: int) -> tuple[Reply, int] | None:
    items: list[Reply] = []
    for _ in range(length):
        found = _reply_at(buffer, position)
        if found is None:
            return None
        item, position = found
        items.append(item)
    return items, position

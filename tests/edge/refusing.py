"""Rows whose input is a message that is not one valid event, and the error that must answer it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from tests.edge.answers import goes_on
from tests.edge.case import Case
from tests.edge.relays import CANARY
from tests.edge.stage import Stage
from tests.wire.codecs import JSON, MSGPACK, Codec, Event, RawFrame
from tests.wire.messages import envelope

EVENTS: Final = "Events and how they are written"
"""The section of the protocol that says what an event is."""

TOLERATED_STRIKES: Final = 3

BOTH: Final = (JSON, MSGPACK)

IDS: Final[dict[str, tuple[str, ...]]] = {
    "ksmpv3.send": ("conversationId", "recipientUserId", "messageId", "idempotencyKey"),
    "ksmpv3.ack.read": ("conversationId",),
    "ksmpv3.resume": (),
    "ksmpv3.ping": (),
    "ksmpv3.auth": (),
}
"""Every event that a client may send, and the ids that name it in an error."""

_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9._~:@+=/-]{1,128}", re.ASCII)


class Bad(NamedTuple):
    """A message, and what the error that answers it is about; None: it does not say."""

    frame: RawFrame
    about: Event | None


def about(event: Event) -> Event | None:
    """How an error names this event: its type, if known, and those of its ids that are valid."""
    kind = event.get("type")
    if not isinstance(kind, str) or kind not in IDS:
        return None
    source = event.get("envelope") if kind == "ksmpv3.send" else event
    ids = source if isinstance(source, dict) else {}
    return {"type": kind} | {name: ids[name] for name in IDS[kind] if _is_identifier(ids.get(name))}


def _is_identifier(value: object) -> bool:
    return isinstance(value, str) and _IDENTIFIER.fullmatch(value) is not None


def canary_envelope(**fields: object) -> Event:
    """An envelope that would be good but for `fields`; every string in it is a canary."""
    strings = ("conversationId", "messageId", "senderUserId", "recipientUserId", "idempotencyKey")
    marked = {name: f"{CANARY}-{name}" for name in strings}
    return envelope("", "", **(marked | {"ciphertext": CANARY.encode()} | fields))


def without(event: Event, field: str) -> Event:
    """The event but for one field."""
    return {name: value for name, value in event.items() if name != field}


def bad_events(group: str, name: str, events: Sequence[Event], code: str = "malformed") -> Case:
    """A row of events that are each refused with `code`, in either subprotocol."""
    return _row(
        group,
        name,
        code,
        {codec: [Bad(codec.encode(each), about(each)) for each in events] for codec in BOTH},
    )


def bad_json(group: str, name: str, *messages: str | Bad, code: str = "malformed") -> Case:
    """A row of texts that are each refused with `code`; a bare text names no event."""
    return _row(group, f"{name} (JSON)", code, {JSON: list(_as_bad(messages))})


def bad_msgpack(group: str, name: str, *messages: bytes | Bad, code: str = "malformed") -> Case:
    """The same for MessagePack."""
    return _row(group, f"{name} (MessagePack)", code, {MSGPACK: list(_as_bad(messages))})


def _as_bad(messages: Iterable[RawFrame | Bad]) -> Iterator[Bad]:
    for message in messages:
        yield message if isinstance(message, Bad) else Bad(message, None)


def _row(group: str, name: str, code: str, inputs: dict[Codec, list[Bad]]) -> Case:
    assert all(inputs.values()), name

    async def act(stage: Stage) -> None:
        for codec, bad in inputs.items():
            # One more within ten seconds and the connection would end.
            for start in range(0, len(bad), TOLERATED_STRIKES):
                few = bad[start : start + TOLERATED_STRIKES]
                await _assert_refused(stage, codec, few, code)

    return Case(group, name, EVENTS, goes_on(code), act)


async def _assert_refused(stage: Stage, codec: Codec, few: Iterable[Bad], code: str) -> None:
    async with stage.connect(codec) as connection:
        for bad in few:
            await connection.tell_raw(bad.frame)
            await connection.error(code, bad.about)
        await connection.still_works()

"""Ids: what may name something, in every field that names something, and what may not."""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Sequence
from typing import Final

from tests.edge.case import Case
from tests.edge.connection import Connection
from tests.edge.refusing import BOTH, EVENTS, bad_events, canary_envelope
from tests.edge.relays import CANARY
from tests.edge.stage import Stage
from tests.wire.codecs import Codec, Event
from tests.wire.messages import ack_read, ping, resume, send

IDS: Final = "Ids"
ALPHABET: Final = string.ascii_letters + string.digits + "._~:@+=/-"
MAX_LENGTH: Final = 128
_FOREIGN: Final = sorted(set(string.punctuation) - set(ALPHABET))


def _everywhere(identifier: str) -> list[Event]:
    """Every field of every event that takes an identifier, each alone in an event."""
    named = ("conversationId", "messageId", "senderUserId", "recipientUserId", "idempotencyKey")
    return [
        *(send(canary_envelope(**{field: identifier})) for field in named),
        ack_read(identifier, f"{CANARY}-peer", 1),
        ack_read(f"{CANARY}-talk", identifier, 1),
        resume(0, epoch=identifier),
        ping(identifier),
    ]


def _bad(name: str, first: str, *others: str) -> Case:
    """A row of strings that name nothing: the first in each field, its like in one."""
    events = [*_everywhere(first), *map(ping, others)]
    return bad_events(IDS, f"{name}, in each field", events)


BAD: Final = [
    _bad("an empty string", ""),
    _bad("129 characters", (CANARY * 13)[: MAX_LENGTH + 1]),
    _bad("300,000 characters", CANARY * 30_000),
    _bad("a NUL", f"{CANARY}\0", f"\0{CANARY}"),
    _bad("a space, in the middle or at an end", f"{CANARY} x", f" {CANARY}", f"{CANARY} "),
    _bad("a tab, DEL, a bell", f"{CANARY}\t", f"{CANARY}\x7f\x07"),
    _bad("CR LF, a line feed at the end", f"{CANARY}\r\nx", f"{CANARY}\n"),
    _bad("an ANSI escape sequence", f"\x1b[31m{CANARY}\x1b[0m"),
    _bad("`%00`, `%2e%2e%2f`", f"{CANARY}%00", f"%2e%2e%2f{CANARY}"),
    _bad("a backslash path", f"..\\{CANARY}"),
    _bad(
        "é, composed (NFC) and decomposed (NFD)",
        unicodedata.normalize("NFC", f"{CANARY}é"),
        unicodedata.normalize("NFD", f"{CANARY}é"),
    ),
    _bad("full-width digits and letters", f"{CANARY}１２", f"{CANARY}ａ"),
    _bad("digits of other scripts", f"{CANARY}٣", f"{CANARY}५"),
    _bad("a Cyrillic letter that looks like a Latin one", f"{CANARY}а"),
    _bad("a zero-width space or joiner", f"{CANARY}\u200b", f"{CANARY}\u200d"),
    _bad("a right-to-left override", f"{CANARY}\u202etxt"),
    _bad("an emoji, a character beyond Unicode's first plane", f"{CANARY}\U0001f4ac"),
    bad_events(
        IDS,
        "each ASCII punctuation mark that is not allowed",
        [ping(f"{CANARY}{mark}") for mark in _FOREIGN],
    ),
]


# ── what is good ─────────────────────────────────────────────────────────────────────────────


async def _assert_named(
    connection: Connection, talk: str, message_id: str, key: str, recipient: str
) -> Event:
    """A send under these names is acked under them; the ack."""
    envelope = connection.envelope(
        recipient, conversationId=talk, messageId=message_id, idempotencyKey=key
    )
    await connection.tell(send(envelope))
    return await connection.ack_of(envelope)


async def _assert_travels(stage: Stage, codec: Codec, name: str) -> None:
    """Under this name in every field, a record comes back as it was sent."""
    async with stage.connect(codec, user=stage.fresh("own")) as connection:
        if not connection.is_resumed:
            await connection.resume()
        user = connection.user
        await _assert_named(connection, name, name, name, user)
        while (event := await connection.inbox_frame())["envelope"]["idempotencyKey"] != name:
            pass
        envelope = event["envelope"]
        assert (envelope["conversationId"], envelope["messageId"]) == (name, name)
        await connection.tell(ping(name), ack_read(name, user, 1))
        events = [await connection.event() for _ in range(2)]
        events.sort(key=lambda event: str(event["type"]))
        assert (events[0]["type"], events[0]["nonce"]) == ("ksmpv3.pong", name)
        assert (events[1]["type"], events[1]["conversationId"]) == ("ksmpv3.read", name)
        # Whoever has such a name can be written to, and asked about.
        await _assert_named(connection, stage.fresh("talk"), name, stage.fresh("key"), name)
        await connection.still_works()


def _good(row: str, names: Sequence[str]) -> Case:
    """A row of names that are good in every field."""
    assert all(set(name) <= set(ALPHABET) for name in names)

    async def act(stage: Stage) -> None:
        for codec in BOTH:
            for name in names:
                await _assert_travels(stage, codec, name)

    return Case(IDS, row, EVENTS, "taken, and comes back unchanged", act)


async def _other_case(stage: Stage) -> None:
    talk, peer = stage.fresh("Talk"), stage.fresh("Peer")
    for codec in BOTH:
        # Of the same user: names that differ in anything are others, whatever they look like.
        async with stage.connect(codec) as connection:
            fresh = stage.fresh(f"{codec}")
            variants = (f"{fresh}/Talk", f"{fresh}/talk", f"{fresh}/talk/", f"{fresh}/./talk")
            for variant in variants:
                ack = await _assert_named(connection, variant, "m", "k", peer)
                assert ack["serverSeq"] == 1, ack
            for recipient in (peer.upper(), peer.lower()):
                ack = await _assert_named(connection, f"{fresh}/Talk", "m", "k", recipient)
                assert ack["serverSeq"] == 1, ack
            first = await _assert_named(connection, talk + fresh, "m", "Key", peer)
            second = await _assert_named(connection, talk + fresh, "m", "key", peer)
            assert second["serverSeq"] == first["serverSeq"] + 1
            await connection.still_works()


CASES: Final[list[Case]] = [
    *BAD,
    _good("128 characters", [(CANARY * 13)[:MAX_LENGTH]]),
    _good("every allowed character", [ALPHABET, ALPHABET[::-1]]),
    _good(
        "`../`, `/`, `.`, `-`, `~`: nothing but characters",
        [f"../../{CANARY}", f"/etc/{CANARY}", f"{CANARY}/.", ".", "..", "-", "~", "--help", "a:b"],
    ),
    Case(
        IDS,
        "ids that differ in case, or by a `/` or `./`",
        EVENTS,
        "other conversations, other people, other keys",
        _other_case,
    ),
]

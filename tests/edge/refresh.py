"""Auth: tokens on a connection that is open already, and what ends with them."""

from __future__ import annotations

import time
from typing import Final

import trio

from tests.edge import tokens
from tests.edge.answers import assert_error, closed, goes_on, refused
from tests.edge.case import Case
from tests.edge.connection import Connection
from tests.edge.refusing import BOTH
from tests.edge.relays import CANARY
from tests.edge.requests import gets_refused
from tests.edge.stage import Stage
from tests.edge.tokens import MakeToken
from tests.wire.codecs import Codec, Event
from tests.wire.messages import send

AUTH: Final = "Auth"
REFRESH: Final = "ksmpv3.auth"
ENDS: Final = "How a connection ends"
ABOUT_AUTH: Final[Event] = {"type": "ksmpv3.auth"}
REFRESH_SECONDS: Final = 10


def _auth(token: str) -> Event:
    return {"type": "ksmpv3.auth", "token": token}


def _refuse(name: str, *makes: MakeToken) -> Case:
    """A row of refreshes that end the connection; what was sent behind them is not taken."""

    async def act(stage: Stage) -> None:
        for codec in BOTH:
            for make in makes:
                async with stage.connect(codec) as connection:
                    late = connection.envelope()
                    await connection.tell(_auth(make(stage)), send(late))
                    await connection.error("unauthenticated", ABOUT_AUTH)
                    await connection.closes(4401)

    answer = f"`unauthenticated`; then {closed(4401)}"
    return Case(AUTH, f"a refresh with {name}", REFRESH, answer, act)


async def _refresh(connection: Connection, token: str, expires: int) -> None:
    """A good refresh, answered with its expiry."""
    await connection.tell(_auth(token))
    answer = await connection.event()
    assert answer == {"type": "ksmpv3.auth.ok", "tokenExpiresAtMs": expires * 1_000}


async def _twice(stage: Stage) -> None:
    for codec in BOTH:
        async with stage.connect(codec) as connection:
            expires = int(time.time()) + 100
            await _refresh(connection, stage.token(exp=expires), expires)
            for token in (stage.token(), stage.token(stage.fresh("other")), CANARY):
                await connection.tell(_auth(token))
                error = await connection.event()
                assert_error(error, "rate_limited", ABOUT_AUTH)
                assert 0 < error["retryAfterMs"] <= REFRESH_SECONDS * 1_000 + 1
            await connection.still_works()


async def _narrows(stage: Stage) -> None:
    for codec in BOTH:
        async with stage.connect(codec) as connection:
            friend = stage.fresh("friend")
            expires = int(time.time()) + 100
            await _refresh(connection, stage.token(exp=expires, peers=[friend]), expires)
            stranger, good = connection.envelope(), connection.envelope(friend)
            await connection.tell(send(stranger), send(good))
            assert (await connection.event())["code"] == "forbidden_recipient"
            await connection.ack_of(good)


async def _expires(stage: Stage) -> None:
    """Two connections wait for their end together, so that the row takes half the time."""
    async with trio.open_nursery() as nursery:
        for codec in BOTH:
            nursery.start_soon(_expires_on, stage, codec, stage.fresh("user"))


async def _expires_on(stage: Stage, codec: Codec, user: str) -> None:
    async with stage.connect(codec, user=user) as connection:
        # Two whole seconds: on a busy machine it must not be over before it is shown.
        expires = int(time.time()) + 2
        await _refresh(connection, stage.token(user, exp=expires), expires)
        await connection.still_works()
        await connection.error("token_expired")
        assert time.time() > expires - 0.05, "the token was still good"
        await connection.closes(4401)


async def _revoked(stage: Stage) -> None:
    user, first, second = (stage.fresh(name) for name in ("user", "device", "device"))
    async with (
        stage.connect(BOTH[0], user=user, device=first) as one,
        stage.connect_fresh(BOTH[1], user=user, device=second) as two,
    ):
        await _command(stage, "revoke", user)
        try:
            for connection in (one, two):
                await connection.error("unauthenticated")
                await connection.closes(4401)
            await gets_refused(stage, stage.request(stage.token(user, first)), "unauthenticated")
        finally:
            with trio.CancelScope(shield=True):  # the command has an end of its own
                await _command(stage, "revoke", user, "--lift")


async def _command(stage: Stage, *words: str) -> None:
    process = stage.relay.process
    arguments = (*words, "--data", str(process.data_directory))
    await trio.to_thread.run_sync(lambda: process.run(*arguments))


CASES: Final[list[Case]] = [
    _refuse("another device's token", lambda stage: stage.token(device=stage.fresh("device"))),
    _refuse("another user's token", lambda stage: stage.token(stage.fresh("other"))),
    _refuse(
        "an expired token, or one that is not valid yet",
        lambda stage: stage.token(exp=int(time.time()) - 31),
        lambda stage: stage.token(nbf=int(time.time()) + 60),
    ),
    _refuse(
        "a token of a stranger, a changed one, one with alg `none`",
        tokens.by_stranger(),
        tokens.changed_signature(lambda raw: bytes([raw[0] ^ 1]) + raw[1:]),
        lambda stage: tokens.signed_by(lambda _: b"", stage.claims(), alg="none"),
    ),
    _refuse(
        "what is no token: nothing, a word, NUL, é, an emoji",
        *(lambda _, text=text: text for text in ("", CANARY, "\0", "é.é.é", "\U0001f4ac")),  # type: ignore[misc]
    ),
    _refuse(
        "a token of 8,193 bytes, one of 300 KB",
        tokens.of_length(tokens.MAX_TOKEN_BYTES + 1),
        lambda _: CANARY * 30_000,
    ),
    Case(
        AUTH,
        "a second refresh within 10 s of a good one, whatever it holds",
        REFRESH,
        goes_on("rate_limited"),
        _twice,
    ),
    Case(
        AUTH,
        "a refresh that narrows `peers`",
        REFRESH,
        "taken; from then on `forbidden_recipient` for others",
        _narrows,
    ),
]

WAITING: Final[list[Case]] = [
    Case(
        AUTH,
        "a token that expires while connected",
        ENDS,
        f"`token_expired`; then {closed(4401)}",
        _expires,
    ),
    Case(
        AUTH,
        "a user who is revoked while connected",
        ENDS,
        f"`unauthenticated`; then {closed(4401)}; from then on {refused('unauthenticated')}",
        _revoked,
    ),
]
"""Rows that mostly wait: they are run side by side."""

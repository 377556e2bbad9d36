"""Rows whose input is the token of a handshake, and the one answer to all that are not good."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import trio

from relay.auth import FAILURE_SECONDS
from tests.edge.answers import assert_refused, refused
from tests.edge.case import Case
from tests.edge.relays import CANARY
from tests.edge.requests import SWITCHED, switched
from tests.edge.stage import Stage
from tests.edge.tokens import MakeToken
from tests.wire.raw import Headers

AUTH: Final = "Auth"
TOKEN: Final = "The token"
ALL_KINDS: Final[tuple[object, ...]] = (None, 5, 1.5, True, [], {}, [CANARY], {"x": CANARY})
"""Whatever JSON has, but for a string."""


async def _assert_401(stage: Stage, headers: Headers, reference: bytes, got: list[bytes]) -> None:
    """On a line of its own: the one answer, the same bytes as any other, after the same time."""
    async with stage.line() as line:
        sent = stage.request("", extra=headers)
        begun = time.perf_counter()
        await line.send(sent)
        response = await line.response()
        after = time.perf_counter() - begun
        assert_refused(response, "unauthenticated")
        assert after >= FAILURE_SECONDS, f"after {after} s: sooner than the slowest failure"
        assert await line.is_at_end()
        assert not reference or response.raw == reference
        got.append(response.raw)


async def all_get_401(stage: Stage, requests: Sequence[Headers]) -> None:
    """Handshakes with these headers in the place of a good token: each gets the one answer."""
    reference: list[bytes] = []
    await _assert_401(stage, [], b"", reference)  # the answer to no token at all
    async with trio.open_nursery() as nursery:
        for headers in requests:
            nursery.start_soon(_assert_401, stage, headers, reference[0], [])


def bearer(token: str) -> tuple[bytes, bytes]:
    """The header that shows a token."""
    return b"Authorization", b"Bearer " + token.encode()


def item(token: str) -> tuple[bytes, bytes]:
    """The header of a page in a browser that shows a token."""
    return b"Sec-WebSocket-Protocol", b"ksmpv3.bearer." + token.encode()


def refuse(name: str, *makes: MakeToken) -> Case:
    """A row of tokens that are refused, whichever way they are shown."""

    async def act(stage: Stage) -> None:
        shown = [make(stage) for make in makes]
        requests: list[Headers] = [[bearer(token)] for token in shown]
        requests += [[item(token)] for token in shown if token and "=" not in token]
        await all_get_401(stage, requests)

    return Case(AUTH, name, TOKEN, refused("unauthenticated"), act, is_handshake=True)


def accept(name: str, *makes: MakeToken) -> Case:
    """A row of tokens that are good."""

    async def act(stage: Stage) -> None:
        for make in makes:
            async with stage.line() as line:
                await line.send(stage.request(make(stage)))
                connection = await switched(stage, line)
                assert connection.connected["userId"] == stage.user
                await connection.still_works()

    return Case(AUTH, name, TOKEN, SWITCHED, act, is_handshake=True)

"""Handshakes that are good but for one thing, and the assertion of what each of them gets."""

from __future__ import annotations

from typing import Final

from tests.edge.answers import assert_refused, refused
from tests.edge.case import Act, Case, Profile
from tests.edge.connection import Connection
from tests.edge.line import Line
from tests.edge.relays import CANARY
from tests.edge.stage import Stage
from tests.wire.codecs import JSON
from tests.wire.raw import Headers

GROUP: Final = "Handshake"
REFUSALS: Final = "Refusals before the upgrade"
TARGET: Final = b"/ksmp/v3"
SWITCHED: Final = "101; the connection works"


def case(
    name: str,
    answer: str,
    act: Act,
    clause: str = REFUSALS,
    profile: Profile = Profile.PLAIN,
    deviation: str | None = None,
) -> Case:
    """A row of this group."""
    return Case(GROUP, name, clause, answer, act, profile, deviation, is_handshake=True)


def changed(
    stage: Stage,
    *,
    method: bytes = b"GET",
    target: bytes = TARGET,
    version: bytes = b"HTTP/1.1",
    without: tuple[bytes, ...] = (),
    extra: Headers | None = None,
    has_token: bool = True,
) -> bytes:
    """A good handshake of the row's user, but for what is named; `extra` headers come last."""
    line = b" ".join(filter(None, (method, target, version)))
    return stage.request(
        None if has_token else "",
        line=line,
        without=without,
        extra=[(b"X-Canary", CANARY.encode()), *(extra or [])],
    )


def refuse(
    name: str,
    code: str,
    *,
    method: bytes = b"GET",
    target: bytes = TARGET,
    version: bytes = b"HTTP/1.1",
    without: tuple[bytes, ...] = (),
    extra: Headers | None = None,
    has_token: bool = True,
    behind: bytes = b"",
    clause: str = REFUSALS,
) -> Case:
    """A handshake that is good but for what is named, `behind` sent with it: refused."""

    async def act(stage: Stage) -> None:
        request = changed(
            stage,
            method=method,
            target=target,
            version=version,
            without=without,
            extra=extra,
            has_token=has_token,
        )
        await gets_refused(stage, request + behind, code)

    return case(name, refused(code), act, clause)


def refuse_replaced(name: str, code: str, header: bytes, *values: bytes) -> Case:
    """A good handshake, but with these values for one of its headers: refused."""
    return refuse(name, code, without=(header,), extra=[(header, value) for value in values])


def refuse_bytes(name: str, code: str, sent: bytes) -> Case:
    """Something that is no handshake: refused."""

    async def act(stage: Stage) -> None:
        await gets_refused(stage, sent, code)

    return case(name, refused(code), act)


def accept(
    name: str,
    *,
    without: tuple[bytes, ...] = (),
    extra: Headers | None = None,
    clause: str = REFUSALS,
) -> Case:
    """A handshake on the good side of a limit: switched."""

    async def act(stage: Stage) -> None:
        async with stage.line() as line:
            await line.send(changed(stage, without=without, extra=extra))
            connection = await switched(stage, line)
            await connection.still_works()

    return case(name, SWITCHED, act, clause)


def refuse_sized(name: str, code: str, head_bytes: int) -> Case:
    """A handshake whose head is exactly this long: refused."""

    async def act(stage: Stage) -> None:
        await gets_refused(stage, _sized(stage, head_bytes), code)

    return case(name, refused(code), act)


def accept_sized(name: str, head_bytes: int) -> Case:
    """A handshake whose head is exactly this long: switched."""

    async def act(stage: Stage) -> None:
        async with stage.line() as line:
            await line.send(_sized(stage, head_bytes))
            connection = await switched(stage, line)
            await connection.still_works()

    return case(name, SWITCHED, act)


def _sized(stage: Stage, head_bytes: int) -> bytes:
    bare = len(changed(stage, extra=[(b"X-Long", b"")]))
    return changed(stage, extra=[(b"X-Long", b"x" * (head_bytes - bare))])


async def gets_refused(stage: Stage, sent: bytes, code: str) -> None:
    """On a line of its own: refused with `code`, and the line ended."""
    async with stage.line() as line:
        await line.send(sent)
        await is_refused(line, code)


async def is_refused(line: Line, code: str) -> None:
    """The answer is the refusal that `code` stands for; nothing of what was sent is in it."""
    response = await line.response()
    assert_refused(response, code)
    assert CANARY.encode() not in response.raw
    assert await line.is_at_end()


async def switched(stage: Stage, line: Line) -> Connection:
    """The answer is an upgrade, and `ksmpv3.connected` follows."""
    response = await line.response()
    assert response.status == 101, response
    assert CANARY.encode() not in response.raw
    device = f"{CANARY}-device"
    connection = Connection(line, JSON, stage.user, device, stage.fresh, stage.deviation)
    connection.connected = await connection.event()
    assert connection.connected["type"] == "ksmpv3.connected"
    return connection

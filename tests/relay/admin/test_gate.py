"""Whoever has no token sees two pages; whoever has one cannot take the relay's time either."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relay.admin.gate import ANSWER_SECONDS, AT_ONCE, BURST, PAUSE_SECONDS, Gate
from tests.relay.admin.asking import Answer, ask

TOKEN = b"a-token-of-the-operator"
BEARER = f"Bearer {TOKEN.decode()}"


class Inside:
    """An application that says yes, as slowly as it is told."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = trio.Event()
        self.may_answer.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})


def gate(inside: Inside) -> Gate:
    return Gate(inside, TOKEN, ["/open"])


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer wrong", BEARER[:-1], BEARER + "x", f"Basic {BEARER[7:]}"],
)
async def test_without_the_token_only_the_open_pages_answer(authorization: str) -> None:
    inside = Inside()
    closed = await ask(gate(inside), "/closed", authorization=authorization)
    unknown = await ask(gate(inside), "/no-such-page", authorization=authorization)

    assert (closed.status, unknown.status, inside.asked) == (401, 401, 0)
    assert closed.headers[b"www-authenticate"] == b"Bearer"
    assert closed.body == unknown.body
    assert (await ask(gate(inside), "/open", authorization=authorization)).status == 200


@pytest.mark.parametrize("authorization", [BEARER, BEARER.replace("Bearer", "bearer")])
async def test_the_token_opens_every_page(authorization: str) -> None:
    assert (await ask(gate(Inside()), "/closed", authorization=authorization)).body == b"inside"


async def test_strangers_who_ask_too_fast_are_refused_and_the_operator_is_not(
    autojump_clock: MockClock,
) -> None:
    one, refused = gate(Inside()), list[int]()
    for _ in range(int(BURST)):
        assert (await ask(one, "/open")).status == 200

    async def ask_too_fast() -> None:
        refused.append((await ask(one, "/open")).status)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask_too_fast)
        await wait_all_tasks_blocked()
        assert refused == [], "they have to wait for it"
        assert (await ask(one, "/closed", authorization=BEARER)).status == 200

    assert refused == [429] * 5
    assert trio.current_time() >= PAUSE_SECONDS
    assert (await ask(one, "/open")).status == 200


async def test_an_operator_who_asks_too_fast_is_told_when_to_come_back(
    autojump_clock: MockClock,
) -> None:
    one = gate(Inside())
    for _ in range(int(BURST)):
        assert (await ask(one, "/closed", authorization=BEARER)).status == 200
    refused = await ask(one, "/closed", authorization=BEARER)

    assert (refused.status, refused.headers[b"retry-after"]) == (429, b"1")


async def test_only_a_few_are_answered_at_once() -> None:
    inside = Inside()
    inside.may_answer = trio.Event()
    one = gate(inside)
    answers: list[Answer] = []

    async def ask_and_keep() -> None:
        answers.append(await ask(one, "/open"))

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE + 2):
            nursery.start_soon(ask_and_keep)
        await wait_all_tasks_blocked()
        assert [answer.status for answer in answers] == [503, 503]
        inside.may_answer.set()

    assert sorted(answer.status for answer in answers) == [200] * AT_ONCE + [503, 503]
    assert (await ask(one, "/open")).status == 200


async def test_strangers_who_read_no_answer_take_no_place_of_the_operator_s() -> None:
    inside = Inside()
    inside.may_answer = trio.Event()
    one = gate(inside)
    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(ask, one, "/open")
        await wait_all_tasks_blocked()
        assert (await ask(one, "/open")).status == 503
        nursery.start_soon(partial(ask, one, "/closed", authorization=BEARER))
        await wait_all_tasks_blocked()
        assert inside.asked == AT_ONCE + 1
        inside.may_answer.set()


async def test_an_answer_that_is_not_read_in_time_gives_up_its_place(
    autojump_clock: MockClock,
) -> None:
    inside = Inside()
    inside.may_answer = trio.Event()
    one = gate(inside)

    async def wait_in_vain() -> None:
        with pytest.raises(ValueError, match="not enough values"):  # there is no answer
            await ask(one, "/open")

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(wait_in_vain)
        await wait_all_tasks_blocked()
        assert (await ask(one, "/open")).status == 503
    assert trio.current_time() < 2 * ANSWER_SECONDS
    inside.may_answer.set()
    assert (await ask(one, "/open")).status == 200


@pytest.mark.parametrize("header", [{"content_length": "1"}, {"transfer_encoding": "chunked"}])
async def test_a_request_with_a_body_is_refused_and_not_read(header: dict[str, str]) -> None:
    inside = Inside()
    refused = await ask(gate(inside), "/x", method="POST", authorization=BEARER, **header)

    assert (refused.status, inside.asked) == (413, 0)
    empty = await ask(gate(inside), "/x", method="POST", authorization=BEARER, content_length="0")
    assert empty.status == 200


async def test_a_websocket_is_closed_and_not_let_in() -> None:
    inside, sent = Inside(), []

    async def send(message: Any) -> None:  # noqa: ASYNC124
        sent.append(message)

    await gate(inside)({"type": "websocket", "path": "/open"}, trio.sleep_forever, send)

    assert (sent, inside.asked) == ([{"type": "websocket.close"}], 0)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/takes", {"content_length": "100"}, 200),
        ("POST", "/takes", {"content_length": "101"}, 413),
        ("POST", "/takes", {"content_length": "1" * 30}, 413),
        ("POST", "/takes", {"content_length": "0" * 20 + "999"}, 413),
        ("POST", "/takes", {"content_length": "-1"}, 413),
        ("POST", "/takes", {"content_length": ""}, 413),
        ("POST", "/takes", {"transfer_encoding": "chunked"}, 413),
        ("POST", "/takes", {"transfer_encoding": "chunked", "content_length": "1"}, 413),
        ("DELETE", "/takes", {"content_length": "1"}, 413),
        ("POST", "/other", {"content_length": "1"}, 413),
        ("POST", "/other", {"content_length": "0"}, 200),
    ],
)
async def test_a_body_is_let_in_where_a_page_takes_one_of_a_length_that_is_said(
    method: str, path: str, headers: dict[str, str], status: int
) -> None:
    inside = Inside()
    takes = Gate(inside, TOKEN, [], {("POST", "/takes"): 100})
    answer = await ask(takes, path, method=method, authorization=BEARER, **headers)

    assert (answer.status, inside.asked) == (status, int(status == 200))
    assert (await ask(takes, "/takes", method="POST", content_length="1")).status == 401

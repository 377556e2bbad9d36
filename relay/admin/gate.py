"""Who may ask the admin listener, how often, and how much at once. What it lets in is harmless.

too fast                            429, after a pause: an answer takes time from the event loop
not a health page, and no token     401
a body                              413, but where a page takes one of that size
too many at once                    503
not read in time                    the answer is given up, and its place with it
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from hmac import compare_digest
from types import MappingProxyType
from typing import Final

import trio
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from actors.rates import TokenBucket

AT_ONCE: Final = 4
PER_SECOND: Final = 20.0
BURST: Final = 40.0
LONGEST_LENGTH: Final = 20  # digits of a Content-Length

PAUSE_SECONDS: Final = 1.0
"""Before whoever asks too fast is told so. A refusal costs as much as an answer: without a pause,
a few peers who ask as fast as they can would have as much of the event loop as they like."""

ANSWER_SECONDS: Final = 10.0
"""How long an answer may take, which is how long its peer may take to read it."""

_SCHEME: Final = b"bearer "


class Gate:
    """Answers what is not let in; the rest reaches `app`."""

    def __init__(
        self,
        app: ASGIApp,
        token: bytes,
        open_to_all: Collection[str],
        takes_body: Mapping[tuple[str, str], int] = MappingProxyType({}),
    ) -> None:
        """`open_to_all` are the paths that need no token; `takes_body`: method, path → bytes."""
        now = trio.current_time()
        self._app = app
        self._token = token
        self._open_to_all = frozenset(open_to_all)
        self._takes_body = takes_body
        # Whoever has no token cannot use up the turns, or the places, of those who have one.
        self._strangers = _Turns(TokenBucket(PER_SECOND, BURST, now))
        self._operators = _Turns(TokenBucket(PER_SECOND, BURST, now))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI scope."""
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        with trio.move_on_after(ANSWER_SECONDS):
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        has_token = self._is_good(headers.get(b"authorization", b""))
        turns = self._operators if has_token else self._strangers
        wait = turns.rate.take(trio.current_time())
        if wait:
            await trio.sleep(PAUSE_SECONDS)
            refusal = _refuse(429, "rate_limited", {"Retry-After": str(1 + int(wait))})
            await refusal(scope, receive, send)
        elif not has_token and scope["path"] not in self._open_to_all:
            refusal = _refuse(401, "unauthenticated", {"WWW-Authenticate": "Bearer"})
            await refusal(scope, receive, send)
        elif not self._fits(scope, headers):
            await _refuse(413, "too_large", {"Connection": "close"})(scope, receive, send)
        elif turns.under_way >= AT_ONCE:
            await _refuse(503, "overloaded", {"Retry-After": "1"})(scope, receive, send)
        else:
            with turns.take():
                await self._app(scope, receive, send)

    def _fits(self, scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
        """Whether there is no body, or one whose length is said, and taken."""
        most = self._takes_body.get((scope["method"], scope["path"]), 0)
        length = headers.get(b"content-length", b"0")
        is_number = length.isdigit() and len(length) < LONGEST_LENGTH
        return b"transfer-encoding" not in headers and is_number and int(length) <= most

    def _is_good(self, authorization: bytes) -> bool:
        scheme, token = authorization[: len(_SCHEME)], authorization[len(_SCHEME) :]
        return scheme.lower() == _SCHEME and compare_digest(token.strip(), self._token)


class _Turns:
    """Of those with the token, or of those without: how fast they ask, and how many at once."""

    __slots__ = ("rate", "under_way")

    def __init__(self, rate: TokenBucket) -> None:
        self.rate = rate
        self.under_way = 0

    @contextmanager
    def take(self) -> Iterator[None]:
        """One answer is under way while the block lasts."""
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1


def _refuse(status: int, code: str, headers: dict[str, str]) -> Response:
    return JSONResponse({"error": code}, status, headers)

"""Who may ask the admin listener, how often, and how much at once. What it lets in is harmless.

too fast                            429, after a pause: an answer takes time from the event loop
not a health page, and no token     401
a body                              413: nothing here takes one
too many at once                    503
not read in time                    the answer is given up, and its place with it
"""

from __future__ import annotations

from collections.abc import Collection
from hmac import compare_digest
from http import HTTPStatus
from typing import Final

import trio
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from actors.rates import TokenBucket

AT_ONCE: Final = 4
PER_SECOND: Final = 20.0
BURST: Final = 40.0

PAUSE_SECONDS: Final = 1.0
"""Before whoever asks too fast is told so. A refusal costs as much as an answer: without a pause,
a few peers who ask as fast as they can would have as much of the event loop as they like."""

ANSWER_SECONDS: Final = 10.0
"""How long an answer may take, which is how long its peer may take to read it."""

_SCHEME: Final = b"bearer "


class Gate:
    """Answers what is not let in; the rest reaches `app`."""

    def __init__(self, app: ASGIApp, token: bytes, open_to_all: Collection[str]) -> None:
        """`open_to_all` are the paths that need no token."""
        now = trio.current_time()
        self._app = app
        self._token = token
        self._open_to_all = frozenset(open_to_all)
        self._under_way = 0
        # Whoever has no token cannot use up the turns of those who have one.
        self._strangers = TokenBucket(PER_SECOND, BURST, now)
        self._operators = TokenBucket(PER_SECOND, BURST, now)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI scope."""
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        with trio.move_on_after(ANSWER_SECONDS):
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope)
        if refusal is not None:
            if refusal.status_code == HTTPStatus.TOO_MANY_REQUESTS:
                await trio.sleep(PAUSE_SECONDS)
            await refusal(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1

    def _refusal(self, scope: Scope) -> Response | None:
        headers = dict(scope["headers"])
        has_token = self._is_good(headers.get(b"authorization", b""))
        wait = (self._operators if has_token else self._strangers).take(trio.current_time())
        if wait:
            return _refuse(429, "rate_limited", {"Retry-After": str(1 + int(wait))})
        if not has_token and scope["path"] not in self._open_to_all:
            return _refuse(401, "unauthenticated", {"WWW-Authenticate": "Bearer"})
        if headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
            return _refuse(413, "too_large", {"Connection": "close"})
        if self._under_way >= AT_ONCE:
            return _refuse(503, "overloaded", {"Retry-After": "1"})
        return None

    def _is_good(self, authorization: bytes) -> bool:
        scheme, token = authorization[: len(_SCHEME)], authorization[len(_SCHEME) :]
        return scheme.lower() == _SCHEME and compare_digest(token.strip(), self._token)


def _refuse(status: int, code: str, headers: dict[str, str]) -> Response:
    return JSONResponse({"error": code}, status, headers)

"""Who may ask the admin listener, how often, and how much at once. What it lets in is harmless.

too fast                            429: an answer takes time from the event loop
not a health page, and no token     401
a body                              413, but where a page takes one of that size
too many at once                    503
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
        self._under_way = 0
        # Whoever has no token cannot use up the turns of those who have one.
        self._strangers = TokenBucket(PER_SECOND, BURST, now)
        self._operators = TokenBucket(PER_SECOND, BURST, now)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI scope."""
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope)
        if refusal is not None:
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
        if not self._fits(scope, headers):
            return _refuse(413, "too_large", {"Connection": "close"})
        if self._under_way >= AT_ONCE:
            return _refuse(503, "overloaded", {"Retry-After": "1"})
        return None

    def _fits(self, scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
        """Whether there is no body, or one whose length is said, and taken."""
        most = self._takes_body.get((scope["method"], scope["path"]), 0)
        length = headers.get(b"content-length", b"0")
        is_number = length.isdigit() and len(length) < LONGEST_LENGTH
        return b"transfer-encoding" not in headers and is_number and int(length) <= most

    def _is_good(self, authorization: bytes) -> bool:
        scheme, token = authorization[: len(_SCHEME)], authorization[len(_SCHEME) :]
        return scheme.lower() == _SCHEME and compare_digest(token.strip(), self._token)


def _refuse(status: int, code: str, headers: dict[str, str]) -> Response:
    return JSONResponse({"error": code}, status, headers)

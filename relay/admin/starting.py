"""What the admin listener answers while the store is still being opened: that it is."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from relay.admin.readiness import Phase


def starting_pages() -> ASGIApp:
    """The health pages tell; whatever else there will be is not there yet."""
    return Starlette(
        routes=[
            Route("/healthz", _health),
            Route("/readyz", _ready),
            Mount("/", _not_yet),
        ]
    )


async def _health(_request: Request) -> Response:  # noqa: ASYNC124 - as Starlette wants it
    return JSONResponse({"status": "ok"})


async def _ready(_request: Request) -> Response:  # noqa: ASYNC124 - as Starlette wants it
    return JSONResponse({"ready": False, "reasons": [Phase.STARTING.value]}, 503)


async def _not_yet(scope: Scope, receive: Receive, send: Send) -> None:
    answer = JSONResponse({"error": "starting"}, 503, {"Retry-After": "1"})
    await answer(scope, receive, send)

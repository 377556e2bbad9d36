"""What the admin listener answers. No answer holds anything that a client has chosen.

GET  /healthz                      the event loop turns
GET  /readyz                       200, or 503 with the reasons
GET  /metrics                      for Prometheus
GET  /conversations/quarantined    which are left alone, by the hash that the log shows
POST /conversations/{hash}/release let one live again
GET  /dead-letters                 the latest letters that crashed a turn of their own
     /failpoints                   see `relay.admin.failpoints`
"""

from __future__ import annotations

from itertools import islice
from typing import Final

import trio
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from actors.telemetry import Telemetry, hashed_conversation
from ksmp.types import ConversationKey
from relay.admin.failpoints import failpoint_routes
from relay.admin.metrics import render
from relay.admin.observed import Observed

OPEN_TO_ALL: Final = ("/healthz", "/readyz")
MOST_LISTED: Final = 256
HASHES_PER_TURN: Final = 256


class Pages:
    """One method for each; short, and waiting for nobody."""

    def __init__(self, observed: Observed, telemetry: Telemetry) -> None:
        self._observed = observed
        self._telemetry = telemetry

    def application(self) -> Starlette:
        """All of them, by path."""
        pages = Starlette(
            routes=[
                Route("/healthz", self.health),
                Route("/readyz", self.ready),
                Route("/metrics", self.metrics),
                Route("/conversations/quarantined", self.quarantined),
                Route("/conversations/{digest}/release", self.release, methods=["POST"]),
                Route("/dead-letters", self.dead_letters),
                *failpoint_routes(self._observed.lab),
            ],
            exception_handlers={HTTPException: _refuse},
        )
        pages.router.redirect_slashes = False  # a path with one more names no page, like any other
        return pages

    async def health(self, _request: Request) -> Response:
        """That this is answered says that the loop turns."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """Whether to send clients here."""
        observed = self._observed
        reasons = observed.readiness.reasons(observed.store.usage)
        return JSONResponse({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def metrics(self, _request: Request) -> Response:
        """Every number."""
        return Response(render(self._observed), media_type=CONTENT_TYPE_LATEST)

    async def quarantined(self, _request: Request) -> Response:
        """Which conversations are left alone, and for how long yet."""
        observed = self._observed
        quarantined = observed.router.quarantined
        listed = [
            {
                "conversation": observed.digest(hashed_conversation(one.key)),
                "seconds": round(one.seconds, 3),
                "times": one.times,
            }
            for one in islice(quarantined, MOST_LISTED)
        ]
        return JSONResponse({"total": len(quarantined), "quarantined": listed})

    async def release(self, request: Request) -> Response:
        """End one quarantine by hand."""
        key = await self._find(request.path_params["digest"])
        if key is None or not self._observed.router.end_quarantine(key):
            return JSONResponse({"error": "not_quarantined"}, 404)
        self._telemetry.info("conversation.released", conversation=hashed_conversation(key))
        return JSONResponse({"released": True})

    async def _find(self, digest: str) -> ConversationKey | None:
        observed = self._observed
        for looked_at, one in enumerate(observed.router.quarantined, 1):
            if observed.digest(hashed_conversation(one.key)) == digest:
                return one.key
            if looked_at % HASHES_PER_TURN == 0:
                await trio.lowlevel.checkpoint()
        return None

    async def dead_letters(self, _request: Request) -> Response:
        """The latest, the newest first."""
        observed = self._observed
        dead_letters = observed.router.dead_letters
        latest = [
            {
                "at_ms": one.at_ms,
                "kind": one.kind,
                "conversation": observed.digest(one.conversation),
                "error": one.error,
                "at": one.at,
            }
            for one in reversed(dead_letters.latest)
        ]
        return JSONResponse({"total": dead_letters.total, "latest": latest})


async def _refuse(_request: Request, refused: Exception) -> Response:  # noqa: ASYNC124 - as Starlette wants it
    """As every other refusal is said: there is no such page, or not by this method."""
    assert isinstance(refused, HTTPException)
    code = "method_not_allowed" if refused.status_code == 405 else "not_found"
    return JSONResponse({"error": code}, refused.status_code, refused.headers)

"""Ordering faults over the admin listener, in a relay that is a laboratory.

GET    /failpoints       the places, what each action does there, and the orders in force
POST   /failpoints       put one order in force: 201 and its number
DELETE /failpoints       take all of them back
DELETE /failpoints/{id}  take one back

Unlike other answers, these hold what the operator has written: the orders.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from relay.lab.effects import EFFECTS
from relay.lab.laboratory import Laboratory, TooManyOrdersError
from relay.lab.orders import MOST_ORDERS
from storage.failpoints import Standing
from storage.fault_orders import InvalidOrderError, decode_order

PATH: Final = "/failpoints"
LARGEST_ORDER_BYTES: Final = 512 * 1024
TAKES_BODY: Final[Mapping[tuple[str, str], int]] = {("POST", PATH): LARGEST_ORDER_BYTES}


def failpoint_routes(lab: Laboratory | None) -> tuple[Route, Route]:
    """The pages, by path. Without a laboratory they say so."""
    if lab is None:
        methods = ["GET", "POST", "DELETE"]
        return (
            Route(PATH, _refuse, methods=methods),
            Route(f"{PATH}/{{number}}", _refuse, methods=methods),
        )
    pages = FailpointPages(lab)
    return (
        Route(PATH, pages.all, methods=["GET", "POST", "DELETE"]),
        Route(f"{PATH}/{{number}}", pages.one, methods=["DELETE"]),
    )


class FailpointPages:
    """One method for each path; what it changes, it changes in one step."""

    def __init__(self, lab: Laboratory) -> None:
        self._lab = lab

    async def all(self, request: Request) -> Response:
        """List, order, or take all back."""
        match request.method:
            case "POST":
                return self._order(await request.body())
            case "DELETE":
                return JSONResponse({"cleared": self._lab.clear_all()})
            case _:
                return JSONResponse(self._listed())

    async def one(self, request: Request) -> Response:
        """Take one back."""
        number = request.path_params["number"]
        if number.isdecimal() and len(number) < 20 and self._lab.clear(int(number)):
            return JSONResponse({"cleared": 1})
        return _error(404, "no_such_order", "No order of this id is in force. GET lists them.")

    def _order(self, body: bytes) -> Response:
        try:
            number = self._lab.order(decode_order(body))
        except InvalidOrderError as invalid:
            why = str(invalid).rstrip(".")
            remedy = "Correct it; docs/failpoints.md has the format and examples."
            return _error(400, "malformed", f"This is no order: {why}. {remedy}")
        except TooManyOrdersError:
            remedy = f"DELETE {PATH}/ID takes one back, DELETE {PATH} all."
            return _error(409, "too_many_orders", f"{MOST_ORDERS} orders are in force. {remedy}")
        return JSONResponse({"id": number}, 201)

    def _listed(self) -> dict[str, object]:
        return {
            "places": [{"place": place, "does": EFFECTS[place]} for place in EFFECTS],
            "orders": [_described(standing) for standing in self._lab.orders],
        }


def _described(standing: Standing) -> dict[str, object]:
    order: dict[str, object] = msgspec.to_builtins(standing.order)
    return {"id": standing.number} | order | {"hits": standing.hits, "passed": standing.passed}


async def _refuse(_request: Request) -> Response:  # noqa: ASYNC124 - as pages are
    return _error(
        404,
        "not_a_lab",
        "Faults can be ordered only of a relay that was started with --lab."
        " Start one on a data directory of its own.",
    )


def _error(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": code, "message": message}, status)

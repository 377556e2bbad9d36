"""Orders faults of a relay that was started as a laboratory, over its admin listener.

Everything here waits for the answer, so that whoever asks knows when a fault is on and when it is
off; call it from a thread. docs/failpoints.md has the orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from typing import Final

import msgspec
from msgspec import Struct

from bench.relay_of_its_own import Admin
from storage.fault_orders import MOST_CONVERSATIONS, ConversationName, Order

ANSWER_SECONDS: Final = 10.0


class FailpointError(Exception):
    """The relay did not take an order; the message says why."""


class NoRelayError(FailpointError):
    """The relay is not there any more: whatever was ordered of it ended with it."""


def for_conversations(order: Order, conversations: Sequence[ConversationName]) -> list[Order]:
    """The same order for these, in as many as it takes."""
    return [
        msgspec.structs.replace(
            order, conversations=tuple(conversations[first : first + MOST_CONVERSATIONS])
        )
        for first in range(0, len(conversations), MOST_CONVERSATIONS)
    ]


class Failpoints:
    """The failpoints of one relay."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin

    def order(self, orders: Sequence[Order]) -> None:
        """All of these are on when this returns.

        Raises:
            FailpointError: one was refused, or the relay does not answer.
        """
        for order in orders:
            self._ask("POST", msgspec.json.encode(order), 201)

    def clear(self) -> None:
        """None is on any more.

        Raises:
            NoRelayError: the relay is gone.
            FailpointError: it does not answer.
        """
        self._ask("DELETE", None, 200)

    def _ask(self, method: str, body: bytes | None, expected: int) -> None:
        connection = HTTPConnection(self._admin.host, self._admin.port, timeout=ANSWER_SECONDS)
        headers = {"Authorization": f"Bearer {self._admin.token}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, "/failpoints", body, headers)
            answer = connection.getresponse()
            text = answer.read()
        except ConnectionError as error:  # refused, or cut off under way
            raise NoRelayError(f"the admin listener: {type(error).__name__}") from None
        except (OSError, HTTPException) as error:
            raise FailpointError(f"the admin listener: {type(error).__name__}") from None
        finally:
            connection.close()
        if not (answer.status == expected or expected == 200 <= answer.status < 300):
            raise FailpointError(f"the relay took no order: {answer.status} {_message(text)}")


class _Refusal(Struct):
    """What the relay says of an order that it does not take."""

    error: str = ""
    message: str = ""


def _message(text: bytes) -> str:
    try:
        refusal = msgspec.json.decode(text, type=_Refusal)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    return f"{refusal.error} {refusal.message}".strip()

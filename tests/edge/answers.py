"""What an answer must look like, field by field, and how the table names it.

Written from the protocol: the relay's own registry is not consulted.
"""

from __future__ import annotations

import json
from typing import Final

from tests.wire.codecs import Event
from tests.wire.raw import Response

ERROR_FIELDS: Final = ("type", "code", "message", "retryable", "retryAfterMs", "action")
MORE_FIELDS: Final = ("about", "epoch", "headGlobalInboxSeq", "truncatedThrough")

HINTS: Final[dict[str, tuple[bool, str]]] = {
    "malformed": (False, "fix"),
    "unknown_event": (False, "fix"),
    "too_large": (False, "fix"),
    "forbidden_sender": (False, "fix"),
    "forbidden_recipient": (False, "fix"),
    "invalid_seq": (False, "fix"),
    "already_resumed": (False, "fix"),
    "idempotency_conflict": (False, "fix"),
    "rejected": (False, "stop"),
    "cursor_ahead": (False, "resync"),
    "epoch_changed": (False, "resync"),
    "replay_truncated": (False, "resync"),
    "rate_limited": (True, "retry"),
    "overloaded": (True, "retry"),
    "quota_exceeded": (True, "retry"),
    "conversation_unavailable": (True, "retry"),
    "storage_full": (True, "retry"),
    "outcome_unknown": (True, "retry"),
    "token_expired": (False, "reauthenticate"),
    "unauthenticated": (False, "reauthenticate"),
    "draining": (True, "reconnect"),
    "replaced": (True, "reconnect"),
    "push_refused": (False, "fix"),
    "internal": (True, "retry"),
    "bad_request": (False, "fix"),
    "forbidden_origin": (False, "fix"),
    "not_found": (False, "fix"),
    "method_not_allowed": (False, "fix"),
    "handshake_timeout": (True, "retry"),
    "upgrade_required": (False, "fix"),
    "headers_too_large": (False, "fix"),
}
"""Whether a code is retryable, and what to do about it."""

STATUSES: Final[dict[str, int]] = {
    "bad_request": 400,
    "unauthenticated": 401,
    "forbidden_origin": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "handshake_timeout": 408,
    "upgrade_required": 426,
    "rate_limited": 429,
    "headers_too_large": 431,
    "overloaded": 503,
    "draining": 503,
}
"""The HTTP status of a code that answers a handshake."""

PROMISED_HEADERS: Final[dict[int, dict[bytes, bytes]]] = {
    401: {b"www-authenticate": b"Bearer"},
    405: {b"allow": b"GET"},
    426: {b"upgrade": b"websocket", b"sec-websocket-version": b"13"},
}


_seen_messages: dict[str, str] = {}


def refused(code: str) -> str:
    """How the table names a refused handshake."""
    return f"{STATUSES[code]} `{code}`"


def closed(code: int) -> str:
    """How the table names a closed connection."""
    return f"close {code}"


def goes_on(code: str) -> str:
    """How the table names an error that leaves the connection open."""
    return f"`{code}`; the connection goes on"


def assert_refused(response: Response, code: str) -> None:
    """The answer is the refusal that `code` stands for: status, headers, body, nothing else."""
    status = STATUSES[code]
    assert response.status == status, response
    expected = {
        b"connection": b"close",
        b"content-type": b"application/json",
        b"content-length": b"%d" % len(response.body),
        b"cache-control": b"no-store",
        **PROMISED_HEADERS.get(status, {}),
    }
    retry_after = response.headers.get(b"retry-after")
    named = {name: value for name, value in response.headers.items() if name != b"retry-after"}
    assert named == expected, response
    body = json.loads(response.body)
    assert_error(body, code)
    if status in (429, 503):
        assert retry_after == b"%d" % -(-body["retryAfterMs"] // 1000), response
    else:
        assert retry_after is None, response


def assert_error(event: Event, code: str, about: Event | None = None) -> None:
    """The event is a `ksmpv3.error` of this code about this event, with its hints, in order.

    Its message is the one that this code had before.
    """
    assert event["type"] == "ksmpv3.error", event
    assert event["code"] == code, event
    retryable, action = HINTS[code]
    assert event["retryable"] is retryable, event
    assert event["action"] == action, event
    assert event["message"] == _seen_messages.setdefault(code, event["message"]), event
    if retryable:
        assert type(event["retryAfterMs"]) is int, event
        assert event["retryAfterMs"] >= 0, event
    assert ("retryAfterMs" in event) is retryable, event
    order = [*ERROR_FIELDS, *MORE_FIELDS]
    assert list(event) == [name for name in order if name in event], event
    assert event.get("about") == about, event
    assert list(event.get("about", ())) == list(about or ()), event

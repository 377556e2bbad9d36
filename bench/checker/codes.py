"""Every refusal the protocol knows, written from its tables a second time."""

from __future__ import annotations

from typing import Final

_BY_ACTION: Final = {
    "fix": (
        *("malformed", "unknown_event", "too_large", "forbidden_sender", "forbidden_recipient"),
        *("invalid_seq", "already_resumed", "idempotency_conflict", "push_refused"),
    ),
    "stop": ("rejected",),
    "resync": ("cursor_ahead", "epoch_changed", "replay_truncated"),
    "retry": (
        *("rate_limited", "overloaded", "quota_exceeded", "conversation_unavailable"),
        *("storage_full", "outcome_unknown", "internal"),
    ),
    "reauthenticate": ("token_expired", "unauthenticated"),
    "reconnect": ("draining", "replaced"),
}

ACTIONS: Final = {code: action for action, codes in _BY_ACTION.items() for code in codes}
"""The code of an error event → what it tells the client to do."""

RETRIED: Final = frozenset(_BY_ACTION["retry"] + _BY_ACTION["reconnect"])
"""The retryable ones: `retryAfterMs` is there."""

CLOSES: Final = frozenset(
    (1000, 1001, 1002, 1003, 1007, 1009, 1011, 4400, 4401, 4408, 4409, 4410, 4429)
)

HTTP_STATUSES: Final = {
    "bad_request": 400,
    "unauthenticated": 401,
    "forbidden_origin": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "handshake_timeout": 408,
    "upgrade_required": 426,
    "rate_limited": 429,
    "headers_too_large": 431,
    "draining": 503,
    "overloaded": 503,
}
"""The code of a refused handshake → its status."""

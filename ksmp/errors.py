"""The code registry: every refusal the relay knows, what it means and what to do about it.

    code ── message, retryable, action     constant per code (charter section 4: "structured
                                           ksmpv3.error responses with retry hints")

`ACTIONS` is the whole vocabulary of `action`. Codes marked HTTP appear only before the upgrade,
with the status given; the others appear as `ksmpv3.error` events.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import UNSET, Struct, UnsetType

from ksmp.events import About, Error
from ksmp.types import Epoch, GlobalInboxSeq

Action = Literal["fix", "retry", "reconnect", "reauthenticate", "resync", "stop"]


class Refusal(Struct, frozen=True):
    """What is constant about a code. `http_status` is 0 where it never answers a handshake."""

    message: str
    retryable: bool
    action: Action
    http_status: int = 0


REGISTRY: Final[dict[str, Refusal]] = {
    # not of this contract
    "malformed": Refusal("The event does not have the shape the protocol asks for.", False, "fix"),
    "unknown_event": Refusal("The relay does not know events of this type.", False, "fix"),
    "too_large": Refusal("The ciphertext is larger than limits.maxCiphertextBytes.", False, "fix"),
    # not allowed, or not possible
    "forbidden_sender": Refusal("senderUserId is not the authenticated user.", False, "fix"),
    "forbidden_recipient": Refusal("The token does not allow writing to this user.", False, "fix"),
    "invalid_seq": Refusal("The conversation has no record with this serverSeq.", False, "fix"),
    "already_resumed": Refusal("This connection has already resumed.", False, "fix"),
    "idempotency_conflict": Refusal(
        "The idempotency key was used before with another payload.", False, "fix"
    ),
    "rejected": Refusal(
        "The relay cannot process this event and will not try again.", False, "stop"
    ),
    # the cursor does not fit this store
    "cursor_ahead": Refusal("The cursor is ahead of this inbox.", False, "resync"),
    "epoch_changed": Refusal("The store has begun a new epoch.", False, "resync"),
    "replay_truncated": Refusal(
        "Records up to truncatedThrough are no longer kept.", False, "resync"
    ),
    # not now
    "rate_limited": Refusal("Too many requests in a short time.", True, "retry", 429),
    "overloaded": Refusal("The relay is busy.", True, "retry", 503),
    "quota_exceeded": Refusal("The quota of this user is used up.", True, "retry"),
    "conversation_unavailable": Refusal("The conversation is being restarted.", True, "retry"),
    "storage_full": Refusal("The relay has no space for new records.", True, "retry"),
    "outcome_unknown": Refusal(
        "The event may or may not have been stored; repeat it with the same key.", True, "retry"
    ),
    # who you are
    "token_expired": Refusal("The token has expired.", False, "reauthenticate"),
    "unauthenticated": Refusal("The credentials are not valid.", False, "reauthenticate", 401),
    # the connection
    "draining": Refusal("The relay is shutting down.", True, "reconnect", 503),
    "replaced": Refusal("A newer connection of this device took over.", True, "reconnect"),
    "push_refused": Refusal("This push registration is not acceptable.", False, "fix"),
    "internal": Refusal("The relay failed to process the event.", True, "retry"),
    # before the upgrade only
    "bad_request": Refusal("The handshake is not a valid KSMP v3 request.", False, "fix", 400),
    "forbidden_origin": Refusal("This origin may not connect.", False, "fix", 403),
    "not_found": Refusal("There is nothing at this path.", False, "fix", 404),
    "method_not_allowed": Refusal("Only GET is allowed here.", False, "fix", 405),
    "handshake_timeout": Refusal("The handshake took too long.", True, "retry", 408),
    "upgrade_required": Refusal("A WebSocket upgrade, version 13, is required.", False, "fix", 426),
    "headers_too_large": Refusal("The request headers are too large.", False, "fix", 431),
}


def error(
    code: str,
    about: About | UnsetType = UNSET,
    *,
    retry_after_ms: int = 1_000,
    epoch: Epoch | UnsetType = UNSET,
    head_global_inbox_seq: GlobalInboxSeq | UnsetType = UNSET,
    truncated_through: GlobalInboxSeq | UnsetType = UNSET,
) -> Error:
    """The `ksmpv3.error` for a registered code.

    `retry_after_ms` is written only where the code is retryable, and always there.

    Raises:
        KeyError: the code is not in `REGISTRY`.
    """
    refusal = REGISTRY[code]
    return Error(
        code,
        refusal.message,
        refusal.retryable,
        retry_after_ms if refusal.retryable else UNSET,
        refusal.action,
        about,
        epoch,
        head_global_inbox_seq,
        truncated_through,
    )

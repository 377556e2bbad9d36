"""`ksmpv3.connected`: what a client is told first, so that it can behave."""

from __future__ import annotations

from typing import Final

from actors.inboxes import Inbox
from actors.surroundings import Identity, Surroundings
from ksmp.events import Connected, Limits
from ksmp.types import PROTOCOL, ConnectionId

EXTENSIONS: Final = ("auth", "chain", "read", "resume.complete")


def welcome(
    connection_id: ConnectionId, identity: Identity, inbox: Inbox, surroundings: Surroundings
) -> Connected:
    """Who the client is here, where its inbox stands, and the limits that it has to know."""
    limits = surroundings.limits
    return Connected(
        PROTOCOL,
        identity.user,
        identity.device,
        connection_id,
        surroundings.wall_clock(),
        surroundings.log.epoch,
        inbox.head,
        inbox.truncated_through,
        int(limits.keepalive_seconds * 1_000),
        identity.expires_at_ms,
        EXTENSIONS,
        Limits(
            limits.max_ciphertext_bytes,
            limits.max_frame_bytes,
            limits.unacked_sends,
            limits.sends_per_second,
            limits.sends_burst,
            None,
        ),
    )

"""Every limit the actors keep, named as in the protocol (section 6), with its default."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client, one conversation and all of them together may take."""

    max_ciphertext_bytes: int = 256 * 1024
    max_frame_bytes: int = 256 * 1024 * 3 // 2 + 16 * 1024
    unacked_sends: int = 256
    unacked_bytes: int = 1 << 20
    sends_per_second: int = 200
    sends_burst: int = 400
    mailbox_length: int = 1_024
    mailbox_bytes: int = 4 << 20
    sends_under_way_bytes: int = 64 << 20
    outbound_bytes: int = 256 * 1024
    connections_per_user: int = 10
    connections_per_address: int = 1_000
    connections: int = 20_000
    keepalive_seconds: float = 30.0
    new_conversations_per_hour: int = 10_000
    live_conversations: int = 10_000
    """Conversations with a task of their own; past it the longest unused is passivated."""
    conversation_idle_seconds: float = 30.0
    recent_records_bytes: int = 16 << 20
    """Records, and their frames once encoded, kept so that a reader at its head needs no read."""

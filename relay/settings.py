"""A configuration made ready for use: every file it names has been read, every part has its share.

Making it ready is all that can go wrong about a configuration. So a start that has come past it can
only fail to listen, and a reload that has come past it cannot fail at all.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from actors.limits import Limits
from relay.auth import VerificationKey
from relay.config import Config, LimitsConfig
from relay.keys import load_or_create_signing_key, verification_keys
from relay.listening import tls_context
from relay.transport.addresses import ClientAddresses
from relay.transport.front import TransportLimits
from relay.transport.handshake import Judge
from storage.limits import StoreLimits


@dataclass(frozen=True, slots=True)
class Settings:
    """What the parts of a relay are made from, and later take in the place of what they had."""

    config: Config
    limits: Limits
    transport_limits: TransportLimits
    store_limits: StoreLimits
    keys: Mapping[str, VerificationKey]
    tls: ssl.SSLContext | None
    judge: Judge
    addresses: ClientAddresses


def make_ready(config: Config) -> Settings:
    """What `config` comes to. It reads files, and so may wait for the disk.

    Raises:
        KeyFileError: the signing key, the key set or the list of algorithms cannot be used.
        CommandError: the certificate or its key cannot be used.
    """
    keys = verification_keys(
        load_or_create_signing_key(config.store.path),
        config.auth.jwks_file,
        config.auth.algorithms,
    )
    tls = tls_context(config.server)
    return Settings(
        config,
        actor_limits(config.limits),
        transport_limits(config.limits),
        store_limits(config.limits),
        keys,
        tls,
        Judge(
            allowed_origins=frozenset(config.server.allowed_origins),
            is_secure=tls is not None,
        ),
        ClientAddresses(config.server.trusted_proxies),
    )


def actor_limits(configured: LimitsConfig) -> Limits:
    """The limits that the actors and the server keep."""
    return Limits(
        max_ciphertext_bytes=configured.max_ciphertext_bytes,
        max_frame_bytes=configured.max_frame_bytes,
        unacked_sends=configured.unacked_sends,
        unacked_bytes=configured.unacked_bytes,
        sends_per_second=configured.sends_per_second,
        sends_burst=configured.sends_burst,
        mailbox_length=configured.mailbox_length,
        mailbox_bytes=configured.mailbox_bytes,
        sends_under_way_bytes=configured.sends_under_way_bytes,
        outbound_bytes=configured.outbound_bytes,
        connections_per_user=configured.connections_per_user,
        connections_per_address=configured.connections_per_address,
        connections=configured.connections,
        keepalive_seconds=configured.keepalive_seconds,
        new_conversations_per_hour=configured.new_conversations_per_hour,
        live_conversations=configured.live_conversations,
        conversation_idle_seconds=configured.conversation_idle_seconds,
        recent_records_bytes=configured.recent_records_bytes,
    )


def transport_limits(configured: LimitsConfig) -> TransportLimits:
    """The limits that the transport keeps."""
    return TransportLimits(
        max_frame_bytes=configured.max_frame_bytes,
        handshakes=configured.handshakes,
        handshake_seconds=configured.handshake_seconds,
        write_seconds=configured.write_seconds,
        control_frames_per_second=configured.control_frames_per_second,
        max_fragments=configured.fragments_per_frame,
    )


def store_limits(configured: LimitsConfig) -> StoreLimits:
    """The limits that the store keeps."""
    return StoreLimits(
        commit_bytes=configured.commit_bytes,
        min_free_bytes=configured.min_free_bytes,
        stored_bytes_per_sender=configured.stored_bytes_per_sender,
        stored_bytes_per_inbox=configured.stored_bytes_per_inbox,
    )

"""A configuration made ready for use: every file it names has been read, every part has its share.

Making it ready is all that can go wrong about a configuration. So a start that has come past it can
only fail to listen, and a reload that has come past it cannot fail at all.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TypeVar

from actors.limits import Limits
from relay.auth import VerificationKey
from relay.config import Config, LimitsConfig
from relay.keys import load_or_create_signing_key, verification_keys
from relay.lab.orders import load_orders
from relay.listening import tls_context
from relay.transport.addresses import ClientAddresses
from relay.transport.handshake import Judge
from relay.transport.limits import TransportLimits
from storage.fault_orders import Order
from storage.limits import StoreLimits

Kind = TypeVar("Kind", Limits, TransportLimits, StoreLimits)


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
    orders: tuple[Order, ...]
    """The faults that a laboratory begins with."""


def make_ready(config: Config) -> Settings:
    """What `config` comes to. It reads files, and so may wait for the disk.

    Raises:
        KeyFileError: the signing key, the key set or the list of algorithms cannot be used.
        CommandError: the certificate, its key or the file of faults cannot be used.
    """
    keys = verification_keys(
        load_or_create_signing_key(config.store.path),
        config.auth.jwks_file,
        config.auth.algorithms,
    )
    tls = tls_context(config.server)
    return Settings(
        config,
        limits_of(Limits, config.limits),
        limits_of(TransportLimits, config.limits),
        limits_of(StoreLimits, config.limits),
        keys,
        tls,
        Judge(
            allowed_origins=frozenset(config.server.allowed_origins),
            is_secure=tls is not None,
        ),
        ClientAddresses(config.server.trusted_proxies),
        load_orders(config.lab.failpoints),
    )


def limits_of(kind: type[Kind], configured: LimitsConfig) -> Kind:
    """The limits that a part of the relay keeps: each under the name it is configured by."""
    return kind(**{limit.name: getattr(configured, limit.name) for limit in fields(kind)})

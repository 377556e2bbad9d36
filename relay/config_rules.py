"""The rules that hold between settings, or that a type cannot say."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from relay.config import AdminConfig, Config, LabConfig, LimitsConfig, ServerConfig


class BrokenRule(NamedTuple):
    """A setting that does not fit, why, and what to do."""

    section: str
    key: str
    what: str
    remedy: str


def broken_rules(config: Config) -> Iterator[BrokenRule]:
    """Every rule that `config` breaks; it touches no file."""
    yield from _server_rules(config.server)
    yield from _limit_rules(config.limits)
    yield from _admin_rules(config.admin)
    yield from _lab_rules(config.lab)


def unusable_files(config: Config) -> Iterator[BrokenRule]:
    """Every file that the configuration names and that cannot be read."""
    named = (
        ("server", "tls_certificate", config.server.tls_certificate),
        ("server", "tls_key", config.server.tls_key),
        ("auth", "jwks_file", config.auth.jwks_file),
    )
    for section, key, path in named:
        if path is not None and (reason := _unreadable(path)):
            yield BrokenRule(section, key, reason, "Name a file that the relay may read.")
    server = config.server
    if (
        server.tls_certificate
        and server.tls_key
        and not any(_unreadable(path) for path in (server.tls_certificate, server.tls_key))
    ):
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                server.tls_certificate, server.tls_key
            )
        except (ssl.SSLError, OSError):
            yield BrokenRule(
                "server",
                "tls_certificate",
                "this file and tls_key are not a certificate chain and its private key in PEM.",
                "Name the two files that belong together.",
            )
    yield from _unusable_orders(config.lab)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`. A name other than localhost is not trusted."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _server_rules(server: ServerConfig) -> Iterator[BrokenRule]:
    if (server.tls_certificate is None) != (server.tls_key is None):
        missing, present = (
            ("tls_key", "tls_certificate")
            if server.tls_key is None
            else ("tls_certificate", "tls_key")
        )
        yield BrokenRule("server", present, f"needs {missing} as well.", f"Set {missing}.")
    if (
        server.tls_certificate is None
        and not server.allow_plaintext
        and not is_loopback(server.host)
    ):
        yield BrokenRule(
            "server",
            "host",
            "is not a loopback address, and without TLS tokens and who writes to whom would "
            "cross the network in the clear.",
            "Set tls_certificate and tls_key; or, behind a proxy that ends TLS, "
            "allow_plaintext = true.",
        )
    for origin in server.allowed_origins:
        if not _is_origin(origin):
            yield BrokenRule(
                "server",
                "allowed_origins",
                "holds something that is not an origin.",
                'Write scheme and host, such as "https://chat.example", with no path.',
            )
    for network in server.trusted_proxies:
        try:
            ip_network(network)
        except ValueError:
            yield BrokenRule(
                "server",
                "trusted_proxies",
                "holds something that is not an address or a network.",
                'Write them such as "10.0.0.7" or "10.0.0.0/8".',
            )


def _limit_rules(limits: LimitsConfig) -> Iterator[BrokenRule]:
    needed = limits.largest_event_bytes
    if limits.max_frame_bytes < needed:
        yield BrokenRule(
            "limits",
            "max_frame_bytes",
            "is too small for an event with the largest ciphertext in base64.",
            f"Set at least {needed}, or 0 for the default.",
        )


def _admin_rules(admin: AdminConfig) -> Iterator[BrokenRule]:
    if not is_loopback(admin.host):
        yield BrokenRule(
            "admin",
            "host",
            "is not a loopback address, and the admin listener speaks no TLS.",
            "Use 127.0.0.1, and let a proxy or a tunnel on this machine carry it further.",
        )


def _lab_rules(lab: LabConfig) -> Iterator[BrokenRule]:
    if lab.failpoints is not None and not lab.enabled:
        yield BrokenRule(
            "lab",
            "failpoints",
            "orders faults, and this relay is no laboratory.",
            "Start it with --lab as well, or without this.",
        )


def _unusable_orders(lab: LabConfig) -> Iterator[BrokenRule]:
    if lab.failpoints is None:
        return
    from relay.lab.orders import OrdersFileError, read_orders

    try:
        read_orders(lab.failpoints)
    except OrdersFileError as error:
        yield BrokenRule(
            "lab",
            "failpoints",
            f"({lab.failpoints}) {error}.",
            "Name a file with one order a line, as docs/failpoints.md says.",
        )


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return text == f"{parts.scheme}://{parts.netloc}" and bool(parts.scheme and parts.hostname)


def _unreadable(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        return f"cannot be read: {error.strerror}."
    return None

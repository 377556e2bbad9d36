"""The listening sockets and the TLS that is spoken on them."""

from __future__ import annotations

import json
import os
import socket
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from relay.config import ServerConfig
from relay.exits import CommandError, ExitCode

BACKLOG: Final = 1_024


def bind(host: str, port: int, flag: str) -> list[socket.socket]:
    """One non-blocking listening socket per address that `host` stands for, on one port.

    `flag` is what chooses another port, for whoever must.

    Raises:
        CommandError: exit code 69, the address or port cannot be had.
    """
    sockets: list[socket.socket] = []
    wanted = port
    try:
        for family, kind, protocol, _, address in _addresses(host, port):
            listening = socket.socket(family, kind, protocol)
            sockets.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind((address[0], port, *address[2:]))
            listening.listen(BACKLOG)
            listening.setblocking(False)
            port = listening.getsockname()[1]  # where 0 took a free one, the others follow
    except OSError as error:
        for listening in sockets:
            listening.close()
        raise CommandError(
            ExitCode.CANNOT_BIND,
            f"The relay cannot listen on {host} port {wanted}",
            error.strerror or str(error),
            f"Stop what is using it, or choose another with {flag} (0 takes a free one).",
        ) from None
    return sockets


def _addresses(host: str, port: int) -> list[tuple[int, int, int, str, tuple[str | int, ...]]]:
    found = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
    )
    return list(dict.fromkeys(found))  # type: ignore[arg-type]


def tls_context(server: ServerConfig) -> ssl.SSLContext | None:
    """TLS as configured, None for plaintext.

    Raises:
        CommandError: exit code 78, the certificate or key cannot be used.
    """
    if server.tls_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(server.tls_certificate, server.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise CommandError(
            ExitCode.CONFIGURATION,
            "The TLS certificate or its key cannot be used",
            error.strerror or type(error).__name__,
            "Check [server] tls_certificate and tls_key.",
        ) from None
    return context


def write_ports_file(path: Path, listening: Mapping[str, tuple[str, int]]) -> None:
    """Write the addresses as JSON, all of it or nothing: whoever sees the file can connect.

    Raises:
        CommandError: exit code 73, the file cannot be written.
    """
    content = json.dumps(
        {name: {"host": host, "port": port} for name, (host, port) in listening.items()}
    )
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
        Path(temporary).replace(path)
    except OSError as error:
        raise CommandError(
            ExitCode.CANNOT_CREATE,
            f"The ports file {path} cannot be written",
            error.strerror or str(error),
            "Name a file in a directory that the relay may write to.",
        ) from None

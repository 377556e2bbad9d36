"""A Prosody for one measurement: XMPP over WebSocket, every message in both users' archives.

The archive (XEP-0313) is kept in SQLite, whose transactions are synced as it comes, or in files
that are never synced, which is how Prosody comes itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from bench.peers.server import (
    LOOPBACK,
    Server,
    await_start,
    free_port,
    listens,
    package_version,
    program,
    serving,
    temporary_directory,
)
from relay.system import lift_descriptor_limit

DOMAIN: Final = "localhost"

CONFIGURATION: Final = """\
daemonize = false
run_as_root = true
data_path = "{directory}/data"
log = {{ {{ levels = {{ min = "warn" }}, to = "console" }} }}

modules_enabled = {{ "posix", "saslauth", "websocket", "smacks", "mam" }}
modules_disabled = {{ "s2s" }}

interfaces = {{ "{host}" }}
c2s_ports = {{ }}
c2s_direct_tls_ports = {{ }}
https_ports = {{ }}
http_ports = {{ {port} }}
http_interfaces = {{ "{host}" }}
http_default_host = "{domain}"

c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_plain"

default_storage = "internal"
storage = {{ archive = "{archive}" }}
sql = {{ driver = "SQLite3", database = "archive.sqlite" }}
default_archive_policy = true
archive_expires_after = "never"

-- An archive that is full, or that has to be counted again, would be measured too.
storage_archive_item_limit = 1000000000
storage_archive_item_limit_cache_size = 100000

VirtualHost "{domain}"
"""


def prosody_version() -> str:
    """As its package says."""
    return package_version("prosody")


@contextmanager
def prosody_server(
    archive: Literal["sql", "internal"], users: Sequence[str], *, sync_delay_ms: float = 0.0
) -> Iterator[Server]:
    """A server that knows these users, whose passwords are their names, until the block ends.

    Raises:
        StartError: it is not installed, or does not start.
    """
    path = program("prosody", "prosody", "lua-dbi-sqlite3")
    lift_descriptor_limit()  # a limit is inherited, and Prosody does not lift its own
    with temporary_directory() as directory:
        port = free_port()
        _write_accounts(directory / "data", users)
        configuration = directory / "prosody.cfg.lua"
        configuration.write_text(
            CONFIGURATION.format(
                directory=directory, host=LOOPBACK, port=port, domain=DOMAIN, archive=archive
            )
        )
        words = [path, "-F", "--config", str(configuration)]
        with serving(words, directory, sync_delay_ms) as (process, pid):
            await_start(lambda: listens(port), process, directory)
            yield Server(f"ws://{LOOPBACK}:{port}/xmpp-websocket", pid)


def _write_accounts(data: Path, users: Sequence[str]) -> None:
    """The files that registering them would leave: a thousand registrations take minutes."""
    accounts = data / DOMAIN / "accounts"
    accounts.mkdir(parents=True)
    for user in users:
        assert user.isalnum(), "a file's name would need escapes"
        (accounts / f"{user}.dat").write_text(f'return {{ ["password"] = "{user}"; }};\n')

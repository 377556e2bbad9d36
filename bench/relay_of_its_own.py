"""A relay for one measurement: its own process, an empty store, the limits on senders lifted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bench.run import PACKAGES
from ksmp.types import UserId

PROGRAM: Final = (sys.executable, "-c", "from relay.cli import main; main()")
DATA: Final = "data"
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 15.0
POLL_SECONDS: Final = 0.02
TTL_SECONDS: Final = 86_400

LIFTED: Final = {
    "KSMP_LIMITS__SENDS_PER_SECOND": "1000000",
    "KSMP_LIMITS__SENDS_BURST": "1000000",
    "KSMP_LIMITS__CONNECTIONS": "20000",
    "KSMP_LIMITS__CONNECTIONS_PER_ADDRESS": "20000",
}
"""Rate limits are for people; here they would be what is measured."""


class StartError(Exception):
    """A server did not start; the message says what it printed last."""


class OwnRelay(NamedTuple):
    """Where it listens, which process it is, and a token for each user asked for."""

    url: str
    pid: int
    tokens: Sequence[str]


@contextmanager
def relay_of_its_own(
    users: Sequence[str], settings: Mapping[str, str] | None = None
) -> Iterator[OwnRelay]:
    """A relay that runs until the block ends; then its store is removed.

    `settings` are environment variables, and win over what is `LIFTED`.

    Raises:
        StartError: it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="ksmp-bench-") as name:
        directory = Path(name)
        with _serving(directory, {**LIFTED, **(settings or {})}) as process:
            url = _await_url(directory, process)
            yield OwnRelay(url, process.pid, _tokens(directory / DATA, users))


@contextmanager
def _serving(directory: Path, settings: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(
            [*PROGRAM, "serve", "--data", str(directory / DATA), *_address(directory)],
            cwd=PACKAGES,
            env=_environment() | dict(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, and end it if it does not."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _await_url(directory: Path, process: subprocess.Popen[bytes]) -> str:
    ports_file = directory / "ports.json"
    deadline = time.monotonic() + START_SECONDS
    while not ports_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            printed = (directory / "output").read_text(errors="replace").strip().splitlines()
            raise StartError(f"the relay did not start: {printed[-1] if printed else 'silence'}")
        time.sleep(POLL_SECONDS)
    listening = json.loads(ports_file.read_bytes())["relay"]
    return f"ws://{listening['host']}:{listening['port']}/ksmp/v3"


def _tokens(data: Path, users: Sequence[str]) -> Sequence[str]:
    """A token for each user, signed with the key that the relay made when it started."""
    from relay.auth import DEFAULT_DEVICE
    from relay.config import AuthConfig
    from relay.keys import issue_token, load_or_create_signing_key

    key = load_or_create_signing_key(data)
    audience, issued_at = AuthConfig().audience, int(time.time())
    return [
        issue_token(
            key,
            user=UserId(user),
            device=DEFAULT_DEVICE,
            audience=audience,
            issuer=None,
            issued_at=issued_at,
            lifetime_seconds=TTL_SECONDS,
        )
        for user in users
    ]


def _address(directory: Path) -> tuple[str, ...]:
    ports = "--port", "0", "--admin-port", "0", "--ports-file", str(directory / "ports.json")
    return "--host", "127.0.0.1", *ports


def _environment() -> dict[str, str]:
    """Ours, without what would configure the relay that is measured."""
    return {name: value for name, value in os.environ.items() if not name.startswith("KSMP_")}

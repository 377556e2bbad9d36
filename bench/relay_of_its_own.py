"""A relay for one measurement: its own process, an empty store, the limits on senders lifted."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from bench.ending import unwound_when_told_to_end
from bench.run import PACKAGES, RunError
from bench.running import running
from ksmp.types import DeviceId, UserId

PROGRAM: Final = (sys.executable, "-c", "from relay.cli import main; main()")
DATA: Final = "data"
ADMIN_TOKEN: Final = "admin-token"  # noqa: S105 - the name of its file
START_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.02
LAST_BREATH_SECONDS: Final = 0.5
"""How long after its connections a relay that has died may be seen to have."""

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


class Admin(NamedTuple):
    """Where a relay listens for its operator, and the token that lets one in."""

    host: str
    port: int
    token: str


class OwnRelay(NamedTuple):
    """Where it listens, which process it is, and a token for each user asked for."""

    url: str
    pid: int
    tokens: Sequence[str]
    admin: Admin
    data: Path


@contextmanager
def relay_of_its_own(
    users: Sequence[str],
    settings: Mapping[str, str] | None = None,
    *,
    flags: Sequence[str] = (),
    log: Path | None = None,
    program: Sequence[str] = PROGRAM,
    stores: Path | None = None,
    prepare: Callable[[Path], None] | None = None,
) -> Iterator[OwnRelay]:
    """A relay that runs until the block ends; then its store is removed.

    `settings` are environment variables, and win over what is `LIFTED`; `flags` are more words for
    `serve`, and `program` what is run, if not the relay as it is shipped. What it logs goes to the
    file `log`, as JSON lines, and is kept. Its own directory is made in `stores`, if not among
    temporary files. `prepare` is given the data directory, still empty, before the relay starts.

    Raises:
        StartError: it does not start.
        RunError: the block has raised it; where the relay has ended meanwhile, that is the reason.
    """
    temporary = tempfile.TemporaryDirectory(prefix="ksmp-bench-", dir=stores)
    with unwound_when_told_to_end(), temporary as name:
        directory = Path(name)
        log = directory / "log" if log is None else log
        if prepare is not None:
            (directory / DATA).mkdir(mode=0o700)
            prepare(directory / DATA)
        with _serving(directory, {**LIFTED, **(settings or {})}, program, flags, log) as process:
            ports = _await_ports(directory, process, log)
            data = directory / DATA
            listening, admin = ports["relay"], ports["admin"]
            try:
                yield OwnRelay(
                    f"ws://{listening.host}:{listening.port}/ksmp/v3",
                    process.pid,
                    tokens_of(data, users),
                    Admin(admin.host, admin.port, (data / ADMIN_TOKEN).read_text().strip()),
                    data,
                )
            except RunError as error:
                raise _its_own_end(process, directory, log) or error from None


@contextmanager
def _serving(
    directory: Path,
    settings: Mapping[str, str],
    program: Sequence[str],
    flags: Sequence[str],
    log: Path,
) -> Iterator[subprocess.Popen[bytes]]:
    words = [*program, "serve", "--data", str(directory / DATA), *_address(directory), *flags]
    environment = inherited_environment() | dict(settings)
    with (
        (directory / "output").open("wb") as output,
        log.open("wb") as logged,
        running(words, cwd=PACKAGES, env=environment, stdout=output, stderr=logged) as process,
    ):
        yield process


class _Listening(Struct):
    """An entry of the ports file."""

    host: str
    port: int


def _await_ports(
    directory: Path, process: subprocess.Popen[bytes], log: Path
) -> dict[str, _Listening]:
    ports_file = directory / "ports.json"
    deadline = time.monotonic() + START_SECONDS
    while not ports_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise StartError(f"the relay did not start: {_last_line(directory, log)}")
        time.sleep(POLL_SECONDS)
    return msgspec.json.decode(ports_file.read_bytes(), type=dict[str, _Listening])


def _its_own_end(process: subprocess.Popen[bytes], directory: Path, log: Path) -> RunError | None:
    """What there is to say of a relay that has ended by itself; None of one that runs."""
    try:
        code = process.wait(LAST_BREATH_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    return RunError(f"the relay ended {how}; its last words: {_last_line(directory, log)}")


def _last_line(directory: Path, log: Path) -> str:
    lines = [
        line
        for output in (directory / "output", log)
        for line in output.read_text(errors="replace").strip().splitlines()
    ]
    return lines[-1] if lines else "silence"


def tokens_of(data: Path, users: Sequence[str], device: str = "default") -> Sequence[str]:
    """A token for this device of each user, signed with the key that the relay made at its start.

    `data` is the data directory of a relay that runs.
    """
    from relay.config import AuthConfig
    from relay.keys import issue_token, load_or_create_signing_key

    key = load_or_create_signing_key(data)
    audience, issued_at = AuthConfig().audience, int(time.time())
    return [
        issue_token(
            key,
            user=UserId(user),
            device=DeviceId(device),
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


def inherited_environment() -> dict[str, str]:
    """Ours, without what would configure a relay."""
    return {name: value for name, value in os.environ.items() if not name.startswith("KSMP_")}

"""Processes that are waited for without a thread: how they end, and what a command has printed."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from bench.ending import undisturbed
from bench.relay_of_its_own import PROGRAM, inherited_environment
from bench.run import PACKAGES
from bench.torture.errors import BrokenError

VERIFY_SECONDS: Final = 600.0
POLL_SECONDS: Final = 0.005

KILLED: Final = -signal.SIGKILL
"""What a process that was killed has for an exit code."""


class Verification(Struct):
    """What `ksmp-relay verify --json` says."""

    ok: bool
    records: int
    problems: list[str]


async def verified(data: Path) -> Verification:
    """What `ksmp-relay verify` says of the store in a data directory.

    Raises:
        BrokenError: it says nothing.
    """
    words = [*PROGRAM, "verify", "--data", str(data), "--json"]
    code, output, errors = await finished(words, VERIFY_SECONDS)
    try:
        return msgspec.json.decode(output, type=Verification)
    except msgspec.MsgspecError:
        raise BrokenError(f"verify ended {in_words(code)}: {errors.strip()[-300:]}") from None


async def finished(words: Sequence[str], seconds: float) -> tuple[int, str, str]:
    """A command that ends by itself: its exit code and what it has printed.

    Raises:
        BrokenError: it does not end in time.
    """
    process = _begun(words)
    reading = asyncio.create_task(asyncio.to_thread(process.communicate))
    try:
        async with asyncio.timeout(seconds):
            output, errors = await asyncio.shield(reading)
    except TimeoutError:
        raise BrokenError(f"{words[-1]} did not end in {seconds:.0f} s") from None
    finally:
        process.kill()
        process.wait()
    return process.returncode, output, errors


def _begun(words: Sequence[str]) -> subprocess.Popen[str]:
    with undisturbed():
        return subprocess.Popen(
            list(words),
            cwd=PACKAGES,
            env=inherited_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
            text=True,
        )


async def true_within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether it has come true by then."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


def in_words(code: int) -> str:
    """How a process has ended."""
    return f"by signal {-code}" if code < 0 else f"with exit code {code}"

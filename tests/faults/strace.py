"""What a disk can do to a relay, done by strace to its system calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.strace import Injection, injected, is_there


@contextmanager
def syncs(pid: int, inject: str) -> Iterator[None]:
    """Every fdatasync of the process has this done to it: `error=EIO`, `delay_enter=1000000`."""
    with calls(pid, "fdatasync", inject):
        yield


@contextmanager
def calls(pid: int, call: str, inject: str) -> Iterator[None]:
    """Every such system call of the process has this done to it."""
    if not is_there():
        pytest.skip("strace is not installed: it makes a call fail or wait")
    effect, _, when = inject.partition(":when=")
    with injected(pid, Injection(call, effect, when or "1+")):
        yield

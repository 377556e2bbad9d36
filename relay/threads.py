"""The seam through which a call that may wait for the disk leaves the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class InThread(Protocol):
    """Runs a call in a thread, while the event loop goes on."""

    async def __call__(self, call: Callable[[], T], /) -> T:
        """What `call` returns or raises. Cancelled, it leaves at once, and `call` goes on."""

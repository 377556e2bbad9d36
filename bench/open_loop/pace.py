"""Sends what is due when it is due; what comes late says so, and how late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic_ns
from typing import Final

AT_ONCE: Final = 64
"""Sends after which the loop is given the chance to read, when many are due at once."""


async def pace(
    at_ns: Sequence[int],
    began_ns: int,
    send: Callable[[int, int], None],
    now_ns: Callable[[], int] = monotonic_ns,
) -> None:
    """Call `send(number, meant_ns)` for each of these times, none of them early.

    `at_ns` ascends, and counts from `began_ns`. The event loop's timers count in milliseconds, so
    many a send is some part of one late: `meant_ns` is when it was due, not when it is called.
    """
    number, count = 0, len(at_ns)
    while number < count:
        now, most = now_ns(), number + AT_ONCE
        while number < min(count, most) and began_ns + at_ns[number] <= now:
            send(number, began_ns + at_ns[number])
            number += 1
        is_behind = number == most
        if number < count:
            due_in = 0 if is_behind else began_ns + at_ns[number] - now_ns()
            await asyncio.sleep(max(0, due_in) / 1e9)

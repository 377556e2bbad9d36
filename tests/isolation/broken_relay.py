"""A relay whose isolation is broken on purpose, in one named way, and which is whole otherwise.

    python -m tests.isolation.broken_relay mailbox-unbounded serve …

Each way replaces a seam of the running program; nothing in the relay knows of it. The isolation
experiment must find every one of them, or it finds nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Final

from actors.connection import Connection
from actors.delivery import Need
from actors.mailbox import Mailbox
from actors.router import Router
from actors.supervisor import IntensityExceededError

UNBOUNDED: Final = 1 << 60


def escalate() -> None:
    """A conversation that fails too often takes its supervisor down, with all its siblings."""

    def _quarantine(_router: Router, _conversation: object) -> None:
        raise IntensityExceededError("conversation")

    Router._quarantine = _quarantine  # type: ignore[method-assign,assignment]


def unbind_mailboxes() -> None:
    """A mailbox takes whatever comes, until all that senders share is used up by its letters."""
    initialise = Mailbox.__init__

    def _initialise(self: Mailbox, _max_letters: int, _max_bytes: int) -> None:
        initialise(self, 1_000_000, UNBOUNDED)

    Mailbox.__init__ = _initialise  # type: ignore[method-assign,assignment]


def share_the_deliverer() -> None:
    """One deliverer for all connections: while it waits for one socket, the others wait too."""
    deliver, pump = Connection._deliver, Connection._pump
    busy: list[Connection] = []
    waiting: dict[Connection, None] = {}

    def _deliver(self: Connection) -> None:
        if busy and busy[0] is not self:
            waiting[self] = None
            return
        deliver(self)
        if self._is_pumping and not busy:
            busy.append(self)

    async def _pump(self: Connection, need: Need) -> None:
        try:
            await pump(self, need)
        finally:
            busy.clear()
            others = list(waiting)
            waiting.clear()
            for other in others:
                other.deliver()

    Connection._deliver = _deliver  # type: ignore[method-assign,assignment]
    Connection._pump = _pump  # type: ignore[method-assign,assignment]


BREAKS: Final[Mapping[str, Callable[[], None]]] = {
    "supervisor-escalating": escalate,
    "mailbox-unbounded": unbind_mailboxes,
    "deliverer-shared": share_the_deliverer,
}


def main() -> None:
    """Break what the first argument names, then run the relay's program on the others."""
    name = sys.argv.pop(1)
    BREAKS[name]()
    from relay.cli import main as relay_main

    relay_main()


if __name__ == "__main__":
    main()

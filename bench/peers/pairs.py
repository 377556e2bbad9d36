"""The load on a peer: pairs of users, all connected, then each in a closed loop of its own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

from bench.meter import Meter
from bench.plan import Plan
from bench.process import LoadError


class User(Protocol):
    """One of a pair, whatever the peer is."""

    async def connect(self, url: str) -> None:
        """Be ready to send, and be delivered to.

        Raises:
            LoadError: the server is not there, or refuses.
        """

    def fill_window(self) -> None:
        """Send until as many are unacked as the plan says."""

    def close(self) -> None:
        """Drop every connection."""


MakeUser = Callable[[int, Plan, Meter, Callable[[str], None]], User]
"""The user of this number, who tells the meter what comes, and the last why the run has failed."""


class PairsLoad:
    """A `bench.process.Load`: users 0 and 1 are the first pair, 2 and 3 the second."""

    def __init__(self, make_user: MakeUser, connecting_at_once: int, plan: Plan) -> None:
        self.meter = Meter()
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._url = plan.url
        self._connecting_at_once = connecting_at_once
        self._users = [
            make_user(number, plan, self.meter, self._fail)
            for number in range(len(plan.credentials))
        ]

    async def connect(self, connected: Callable[[int], None]) -> None:
        """See `bench.process.Load`."""
        count = itertools.count(1)
        slots = asyncio.Semaphore(self._connecting_at_once)

        async def connect_one(user: User) -> None:
            async with slots:
                await user.connect(self._url)
            connected(next(count))

        await asyncio.gather(*(connect_one(user) for user in self._users))

    def start(self) -> None:
        """See `bench.process.Load`."""
        for user in self._users:
            user.fill_window()

    async def read_back(self) -> None:
        """Nothing is recorded here; the comparison is of speed alone."""

    def close(self) -> None:
        """See `bench.process.Load`."""
        for user in self._users:
            user.close()

    def _fail(self, reason: str) -> None:
        if not self.failure.done():
            self.failure.set_exception(LoadError(reason))


def host_and_port(url: str) -> tuple[str, int]:
    """Where a server listens.

    Raises:
        LoadError: the URL does not say.
    """
    where = urlsplit(url)
    if where.hostname is None or where.port is None:
        raise LoadError("the server's URL names no host and port")
    return where.hostname, where.port

"""The load on a relay: pairs of users who write to each other as fast as acks allow.

Run as a process of its own (`python -m bench.generator`, a `bench.plan.Plan` on standard input).
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable
from typing import Final

from bench.meter import Meter
from bench.order import OrderCounts
from bench.plan import Plan
from bench.process import LoadError, run_process
from bench.user import User, subject
from ksmp.types import ConversationId, conversation_key

CONNECTING_AT_ONCE: Final = 64


def main() -> None:
    """Run the plan on standard input."""
    run_process(RelayLoad)


class RelayLoad:
    """Pairs of connections, each pair in a conversation of its own."""

    def __init__(self, plan: Plan) -> None:
        self.meter = Meter()
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._url = plan.url
        run_id = secrets.token_hex(4)
        tokens = zip(plan.credentials[::2], plan.credentials[1::2], strict=True)
        self._pairs = [
            _Pair(
                f"bench.{run_id}.{number}",
                one_token=one,
                other_token=other,
                plan=plan,
                meter=self.meter,
                fail=self._fail,
            )
            for number, (one, other) in enumerate(tokens)
        ]

    async def connect(self, connected: Callable[[int], None]) -> None:
        """See `bench.process.Load`."""
        count = itertools.count(1)
        slots = asyncio.Semaphore(CONNECTING_AT_ONCE)

        async def connect_one(user: User) -> None:
            async with slots:
                await user.connect(self._url)
            connected(next(count))

        await asyncio.gather(*(connect_one(user) for pair in self._pairs for user in pair.users))

    def start(self) -> None:
        """See `bench.process.Load`."""
        for pair in self._pairs:
            for user in pair.users:
                user.fill_window()

    def order(self) -> OrderCounts:
        """See `bench.process.Load`."""
        counts = OrderCounts()
        for pair in self._pairs:
            pair.add_order(counts)
        return counts

    def close(self) -> None:
        """See `bench.process.Load`."""
        for pair in self._pairs:
            for user in pair.users:
                user.close()

    def _fail(self, reason: str) -> None:
        """End the run; the first reason is the one that is told."""
        if not self.failure.done():
            self.failure.set_exception(LoadError(reason))


class _Pair:
    """Two users and the conversation between them."""

    def __init__(
        self,
        name: str,
        *,
        one_token: str,
        other_token: str,
        plan: Plan,
        meter: Meter,
        fail: Callable[[str], None],
    ) -> None:
        one, other = subject(one_token), subject(other_token)
        if one == other:
            raise LoadError("the two tokens of a pair are of the same user")
        conversation_id = ConversationId(name)
        self._key = conversation_key(conversation_id, one, other)
        self.users = tuple(
            User(
                user=user,
                peer=peer,
                token=token,
                conversation_id=conversation_id,
                plan=plan,
                meter=meter,
                fail=fail,
            )
            for user, peer, token in ((one, other, one_token), (other, one, other_token))
        )

    def add_order(self, counts: OrderCounts) -> None:
        """Count what both sides saw, and whether they saw the same."""
        acked = {self._key: max(user.acked_through for user in self.users)}
        last = set()
        for user in self.users:
            user.checker.finish(acked)
            counts.add(user.checker.counts)
            last.add(user.checker.last(self._key))
        if len({seq for seq, _ in last}) == 1 < len(last):
            counts.chain_breaks += 1


if __name__ == "__main__":
    main()

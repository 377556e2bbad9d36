"""The load on a relay: pairs of users who write to each other as fast as acks allow.

Run as a process of its own (`python -m bench.generator`, a `bench.plan.Plan` on standard input).
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.checker.records import Setting
from bench.final_read import FinalRead
from bench.history import Recorder
from bench.meter import Meter
from bench.plan import Plan
from bench.process import LoadError, run_process
from bench.user import User, subject
from bench.witness import NullWitness, RecordingWitness, Witness
from ksmp.types import ConversationId

CONNECTING_AT_ONCE: Final = 64
READING_AT_ONCE: Final = 8


def main() -> None:
    """Run the plan on standard input."""
    run_process(RelayLoad)


class RelayLoad:
    """Pairs of connections, each pair in a conversation of its own."""

    def __init__(self, plan: Plan) -> None:
        self.meter = Meter()
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._url = plan.url
        self._recorder = _recorder(plan) if plan.history else None
        self._witness: Witness = (
            NullWitness() if self._recorder is None else RecordingWitness(self._recorder)
        )
        run_id = secrets.token_hex(4)
        tokens = zip(plan.credentials[::2], plan.credentials[1::2], strict=True)
        self._pairs = [
            _Pair(
                f"bench.{run_id}.{number}",
                one_token=one,
                other_token=other,
                plan=plan,
                meter=self.meter,
                witness=self._witness,
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
        users = [user for pair in self._pairs for user in pair.users]
        for user in users:
            user.begin()
        for user in users:
            user.fill_window()

    async def read_back(self) -> None:
        """See `bench.process.Load`. What nobody records is not read again."""
        self._disconnect()
        recorder = self._recorder
        if recorder is None:
            return
        slots = asyncio.Semaphore(READING_AT_ONCE)

        async def read_one(user: User) -> None:
            async with slots:
                await FinalRead(recorder, user.token, user.base).run(self._url)

        await asyncio.gather(*(read_one(user) for pair in self._pairs for user in pair.users))
        recorder.close()

    def close(self) -> None:
        """See `bench.process.Load`."""
        self._disconnect()
        self._witness.cut_off()

    def _disconnect(self) -> None:
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
        witness: Witness,
        fail: Callable[[str], None],
    ) -> None:
        one, other = subject(one_token), subject(other_token)
        if one == other:
            raise LoadError("the two tokens of a pair are of the same user")
        conversation_id = ConversationId(name)
        self.users = tuple(
            User(
                user=user,
                peer=peer,
                token=token,
                conversation_id=conversation_id,
                plan=plan,
                meter=meter,
                witness=witness,
                fail=fail,
            )
            for user, peer, token in ((one, other, one_token), (other, one, other_token))
        )


def _recorder(plan: Plan) -> Recorder:
    return Recorder(Path(plan.history), relay=plan.relay, configuration=_settings(plan))


def _settings(plan: Plan) -> dict[str, Setting]:
    """What was to be done, for the head of the history."""
    return {
        "connections": len(plan.credentials),
        "in_flight": plan.in_flight,
        "size": plan.size,
        "seconds": plan.seconds,
    }


if __name__ == "__main__":
    main()

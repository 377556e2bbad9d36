"""The load on a relay: users who write to each other as fast as acks allow.

Run as a process of its own (`python -m bench.generator`, a `bench.plan.Plan` on standard input).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.cast import cast_of
from bench.checker.records import Setting
from bench.each import for_each
from bench.final_read import FinalRead
from bench.history import Recorder
from bench.meter import Meter
from bench.plan import CodecName, Plan
from bench.process import LoadError, run_process
from bench.user import User
from bench.witness import NullWitness, RecordingWitness, Witness
from ksmp.codec import JSON, MSGPACK, Codec

CONNECTING_AT_ONCE: Final = 64
READING_AT_ONCE: Final = 8


def main() -> None:
    """Run the plan on standard input."""
    run_process(RelayLoad)


CODECS: Final[dict[CodecName, Codec]] = {"msgpack": MSGPACK, "json": JSON}


class RelayLoad:
    """The connections of a plan, in a closed loop."""

    def __init__(self, plan: Plan) -> None:
        self.meter = Meter()
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._plan = plan
        self._codec = CODECS[plan.codec]
        self._recorder = _recorder(plan) if plan.history else None
        self._witness: Witness = (
            NullWitness()
            if self._recorder is None
            else RecordingWitness(self._recorder, self._codec.subprotocol)
        )
        self._users, self._windows = cast_of(plan, secrets.token_hex(4), self._user)

    def _user(self, token: str, name: str) -> User:
        return User(
            token=token,
            name=name,
            size=self._plan.size,
            codec=self._codec,
            meter=self.meter,
            witness=self._witness,
            fail=self._fail,
        )

    async def connect(self, connected: Callable[[int], None]) -> None:
        """See `bench.process.Load`."""

        async def connect_one(user: User) -> None:
            await user.connect(self._plan.url)

        await for_each(self._users, connect_one, CONNECTING_AT_ONCE, connected)

    def start(self) -> None:
        """See `bench.process.Load`."""
        for user in self._users:
            user.begin()
        for window in self._windows:
            window.fill()

    async def read_back(self) -> None:
        """See `bench.process.Load`. What nobody records is not read again."""
        self._disconnect()
        recorder = self._recorder
        if recorder is None:
            return

        async def read_one(user: User) -> None:
            read = FinalRead(recorder, user.token, user.base, self._codec)
            await read.run(self._plan.url)

        inboxes = {user.user: user for user in self._users}  # one, however many devices
        await for_each(inboxes.values(), read_one, READING_AT_ONCE)
        recorder.close()

    def close(self) -> None:
        """See `bench.process.Load`."""
        self._disconnect()
        self._witness.cut_off()

    def _disconnect(self) -> None:
        for user in self._users:
            user.close()

    def _fail(self, reason: str) -> None:
        """End the run; the first reason is the one that is told."""
        if not self.failure.done():
            self.failure.set_exception(LoadError(reason))


def _recorder(plan: Plan) -> Recorder:
    seed = plan.seed if plan.shape == "zipf" else None
    return Recorder(Path(plan.history), relay=plan.relay, seed=seed, configuration=_settings(plan))


def _settings(plan: Plan) -> dict[str, Setting]:
    """What was to be done, for the head of the history."""
    settings: dict[str, Setting] = {
        "connections": len(plan.credentials),
        "in_flight": plan.in_flight,
        "size": plan.size,
        "seconds": plan.seconds,
        "shape": plan.shape,
        "codec": plan.codec,
    }
    if plan.shape == "zipf":
        settings["conversations"] = plan.conversations
    return settings


if __name__ == "__main__":
    main()

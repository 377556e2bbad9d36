"""The relay's real parts in one task tree, over a real store: started, cut off, started again.

Only the sockets, the threads and the clocks are replaced. A storage job runs inline at one step
and its result is delivered at a later one, so that other tasks run in between as they do in life,
and the process can be cut off before a transaction or between its commit and the first answer.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import Any, Self, TypeVar

import trio

from actors.alarms import Alarms
from actors.inboxes import Inboxes
from actors.limits import Limits
from actors.router import Router
from actors.supervisor import ChildSpec, supervise
from actors.surroundings import Surroundings
from actors.telemetry import Field
from ksmp.codec import CODECS
from ksmp.types import ConnectionId, ConversationKey, DeviceId, Epoch, TimeMs, UserId
from relay.admissions import Admission
from relay.auth import Authenticator, Identity
from relay.server import Server
from storage.environment import open_environment
from storage.lmdb_log import LmdbLog
from tests.actors.fake_transport import FakeTransport
from tests.model.steps import Cut, Shape, Strike

T = TypeVar("T")

EPOCH = Epoch("epoch-of-the-model")
PLENTY = 1 << 40
FOREVER_MS = TimeMs(2**52)
SEGMENT_BYTES = 1 << 12  # of the journal: small, so that checkpoints are under way all the time


class Planted(Exception):
    """The failure of an actor."""


class CountingTelemetry:
    """Remembers how often it was told what."""

    is_debug = False

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def debug(self, event: str, **fields: Field) -> None:
        self.counts[event] += 1

    info = warning = error = debug


class Disk:
    """A `storage.executor.Executor` without a thread, that can stop in the middle of its work."""

    def __init__(self, checkpoints: int, on_worked: Callable[[], None]) -> None:
        self._checkpoints = checkpoints
        self._on_worked = on_worked
        self._jobs: deque[Callable[[], Callable[[], None]]] = deque()
        self._wake = trio.Event()
        self.cut: Cut | None = None
        self.has_stopped = False

    def submit(self, job: Callable[[], T], deliver: Callable[[T], None]) -> None:
        def run() -> Callable[[], None]:
            result = job()
            return lambda: deliver(result)

        self._jobs.append(run)
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled or cut off."""
        while not self.has_stopped:
            while not self._jobs:
                await self._wake.wait()
                self._wake = trio.Event()
            await trio.lowlevel.checkpoint()
            self._work()
            if not self.has_stopped:
                self._on_worked()
                for _ in range(self._checkpoints):
                    await trio.lowlevel.checkpoint()
                self._deliver()

    def _work(self) -> None:
        job = self._jobs.popleft()
        if self.cut is not None:
            self.cut = self.cut._replace(transactions=self.cut.transactions - 1)
            self.has_stopped = self.cut.transactions <= 0
        if self.cut is None or not self.has_stopped or self.cut.committed:
            self._deliver = job()


class Line(FakeTransport):
    """A connection in memory. Once the client is gone, or the process is, nothing arrives."""

    def __init__(self) -> None:
        super().__init__()
        self.is_released = False
        self._is_cut = False
        self._taken = 0

    @property
    def has_ended(self) -> bool:
        """Whether the client can tell that it is over."""
        return self._is_cut or self.close_code is not None

    def cut(self) -> None:
        """From now on nothing reaches the client."""
        self._is_cut = True
        self.queued = []

    def hang_up(self) -> None:
        self.cut()
        super().hang_up()

    def flush(self) -> bool:
        if self._is_cut:
            self.queued = []
        return super().flush()

    async def aclose(self) -> None:
        await super().aclose()
        self.is_released = True

    def take_new(self) -> list[bytes]:
        """What has arrived since the last call."""
        new = self.sent[self._taken :]
        self._taken = len(self.sent)
        return new


class Sabotage:
    """Fails one conversation, at chosen checkpoints or while it waits for chosen transactions."""

    def __init__(self, victim: ConversationKey, strike: Strike) -> None:
        self.victim = victim
        self._in_commit = strike.in_commit
        self._left = list(strike.checkpoints)
        self.strikes = 0

    def strikes_at_checkpoint(self, conversation: ConversationKey) -> bool:
        """Count one checkpoint of `conversation`; whether it fails there."""
        return conversation == self.victim and not self._in_commit and self._count()

    def strikes_in_commit(self) -> bool:
        """Count one transaction; whether the victim fails before it hears of it."""
        return self._in_commit and self._count()

    def _count(self) -> bool:
        if not self._left:
            return False
        self._left[0] -= 1
        if self._left[0]:
            return False
        del self._left[0]
        return True


class Process:
    """One life of the relay on the store at `path`. `run` returns when it was killed."""

    def __init__(self, path: Path, shape: Shape, wall_clock: Callable[[], TimeMs]) -> None:
        self.telemetry = CountingTelemetry()
        self.bugs: list[Exception] = []
        self.is_full = False
        self.sabotage: Sabotage | None = None
        self._lives: dict[ConversationKey, trio.CancelScope] = {}
        self.writing = Disk(shape.disk_checkpoints, self._committed)
        self._reading = Disk(shape.disk_checkpoints, lambda: None)
        self._folding = Disk(shape.disk_checkpoints, lambda: None)
        self._scope = trio.CancelScope()
        self.started = trio.Event()
        self._ended = trio.Event()
        self._ids = count(1)
        self._environment = open_environment(
            path,
            new_epoch=lambda: EPOCH,
            new_lock=nullcontext,
            map_size_bytes=1 << 24,
            segment_bytes=SEGMENT_BYTES,
        )
        log = LmdbLog(
            self._environment,
            writing=self.writing,
            reading=self._reading,
            folding=self._folding,
            free_bytes=lambda: 0 if self.is_full else PLENTY,
            after_commit=lambda: self._inboxes.deliver(),  # noqa: PLW0108 - made below
            on_failure=self.bugs.append,
            on_bug=self.bugs.append,
        )
        limits = _limits(shape)
        self._inboxes = Inboxes(log, limits)
        self._alarms = Alarms()
        self._router = Router(log, self._inboxes, limits, wall_clock, _no_jitter, self.telemetry)
        surroundings = Surroundings(
            log,
            self._router,
            self._inboxes,
            self._alarms,
            limits,
            self.telemetry,
            wall_clock,
            _no_jitter,
            lambda _: None,
        )
        nobody = Authenticator({}, audience="nobody", issuer=None, now_ms=wall_clock)
        self.server = Server(surroundings, nobody, lambda: ConnectionId("unused"))

    async def run(self) -> None:
        """Serve until killed; everything is released then."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    nursery.start_soon(self.writing.run)
                    nursery.start_soon(self._reading.run)
                    nursery.start_soon(self._folding.run)
                    for name, run in (("alarms", self._alarms.run), ("router", self._router.run)):
                        child = ChildSpec(name, run, "permanent")
                        nursery.start_soon(supervise, child, self.telemetry, _no_jitter)
                    await self._router.started.wait()
                    self.started.set()
                    await trio.sleep_forever()
        finally:
            self._environment.close()
            self._ended.set()

    def accept(self, user: str, device: str, subprotocol: str, line: Line) -> None:
        """A client of this user and device has got through the handshake."""
        identity = Identity(UserId(user), DeviceId(device), FOREVER_MS, None)
        who = Admission(identity, ConnectionId(f"connection-{next(self._ids)}"), "an address")
        self.server.admit(who)
        self._nursery.start_soon(self.server.serve, who, CODECS[subprotocol], line)

    def start_drain(self) -> None:
        """Begin what SIGTERM begins."""
        self._nursery.start_soon(self.server.drain)

    async def kill(self) -> None:
        """End everything where it stands."""
        self._scope.cancel()
        await self._ended.wait()

    async def watch(self, key: ConversationKey, life: Coroutine[Any, Any, None]) -> None:
        """Live the life of an incarnation, exposed to sabotage."""
        with trio.CancelScope() as self._lives[key]:
            await Watched(self, key, life)
        if self._lives[key].cancelled_caught and self.sabotage is not None:
            self.sabotage.strikes += 1
            raise Planted

    def _committed(self) -> None:
        if self.sabotage is not None and self.sabotage.strikes_in_commit():
            life = self._lives.get(self.sabotage.victim)
            if life is not None:
                life.cancel()


class Watched(Generator[object, object, None]):
    """An incarnation's life, into which the sabotage of its process may raise at a checkpoint."""

    def __init__(
        self, process: Process, key: ConversationKey, life: Coroutine[Any, Any, None]
    ) -> None:
        self._process = process
        self._key = key
        self._life = life

    def __await__(self) -> Self:
        return self

    def __next__(self) -> object:
        return self._life.send(None)

    def send(self, value: object) -> object:
        """Come back from a checkpoint."""
        sabotage = self._process.sabotage
        if sabotage is not None and sabotage.strikes_at_checkpoint(self._key):
            sabotage.strikes += 1
            return self._life.throw(Planted())
        return self._life.send(value)

    def throw(self, error: Any, value: Any = None, traceback: Any = None) -> object:
        """See `Generator.throw`."""
        return self._life.throw(error, value, traceback)


def _no_jitter() -> float:
    return 0.5


def _limits(shape: Shape) -> Limits:
    """Small where the protocol's answer does not depend on it, without rates and silence."""
    return Limits(
        sends_per_second=1_000_000,
        sends_burst=1_000_000,
        keepalive_seconds=1e9,
        outbound_bytes=shape.outbound_bytes,
        live_conversations=shape.live_conversations,
        recent_records_bytes=shape.recent_records_bytes,
    )

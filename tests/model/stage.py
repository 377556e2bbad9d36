"""The stage of one example: its process, its devices, what they hold true, and how time passes.

Whatever is done here is over when it returns: nothing moves any more, and what was answered is
the one answer that the ledger allows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ksmp.types import TimeMs
from tests.model.device import Acks, Device, Frames
from tests.model.ledger import Disagreement, Ledger, require
from tests.model.process import EPOCH, Line, Process
from tests.model.steps import DEVICES, USERS, Case, Resume
from tests.wire import messages
from tests.wire.codecs import JSON, MSGPACK, Codec, Event

PATIENCE: Final = 600
TICK_SECONDS: Final = 0.05


class Stage:
    """Owns the process, the devices and the ledger of one example.

    `_nursery` is opened by whoever plays.
    """

    _nursery: trio.Nursery
    _process: Process

    def __init__(self, case: Case, path: Path, clock: MockClock) -> None:
        self._case = case
        self._path = path
        self._clock = clock
        self._times = 0
        self._ledger = Ledger()
        self._frames: Frames = {}
        self._acks: Acks = {}
        self._devices = [self._device(user, name) for user, name in DEVICES]
        self._resolvers = {user: self._device(user, "resolver") for user in USERS}
        self._is_full = False
        self.happened: Counter[str] = Counter()

    def _device(self, user: str, name: str) -> Device:
        return Device(user, name, self._frames, self._acks)

    def _everyone(self) -> list[Device]:
        return [*self._devices, *self._resolvers.values()]

    # ── the process ──────────────────────────────────────────────────────────────────────────

    def _wall_clock(self) -> TimeMs:
        """A clock that goes back now and then."""
        self._times += 1
        return TimeMs(1_790_000_000_000 + self._times * 611 % 9_973)

    async def _start(self) -> None:
        self._process = Process(self._path, self._case.shape, self._wall_clock)
        self._process.is_full = self._is_full
        self._nursery.start_soon(self._process.run)
        await self._process.started.wait()

    async def _crash(self) -> None:
        """The process ends where it stands; what reached the devices before stays theirs."""
        self._require_sound()
        for device in self._everyone():
            device.collect()
            if device.line is not None:
                device.line.cut()
                device.disconnected()
        await self._process.kill()
        await self._start()

    async def _drain(self) -> None:
        self.happened["drain"] += 1
        process = self._process
        process.start_drain()
        await self._until(lambda: process.server.connections == 0)
        for device in self._everyone():
            device.collect()
            if device.line is not None:
                require(device.line.close_code == 1001, device)
                if not device.is_stalled:
                    (notice,) = device.take_answers()
                    require(notice.get("code") == "draining", notice)
                device.disconnected()
        await process.kill()
        await self._start()

    def _require_sound(self) -> None:
        require(not self._process.bugs, self._process.bugs)
        for event in ("connection.failed", "bug"):
            require(not self._process.telemetry.counts[event], event)

    async def _until(self, done: Callable[[], bool]) -> None:
        """Let everything happen, and time pass while something is still to come.

        Raises:
            Disagreement: it did not come in any time worth waiting for.
        """
        for _ in range(PATIENCE):
            await wait_all_tasks_blocked()
            if done():
                return
            self._clock.jump(TICK_SECONDS)
        raise Disagreement("someone is left waiting")

    # ── connections ──────────────────────────────────────────────────────────────────────────

    async def _connect(self, device: Device, codec: Codec) -> None:
        older, was_stalled, older_codec = device.line, device.is_stalled, device.codec
        line = Line()
        self._process.accept(device.user, device.name, codec.subprotocol, line)
        device.connected(line, codec)
        await self._until(lambda: bool(line.sent))
        device.collect()
        (connected,) = device.take_answers()
        require(connected["type"] == "ksmpv3.connected", connected)
        told = tuple(
            connected[name] for name in ("userId", "deviceId", "epoch", "headGlobalInboxSeq")
        )
        truth = (device.user, device.name, EPOCH, self._ledger.inbox_head(device.user))
        require(told == truth, f"{told}, not {truth}")
        if older is not None:
            self.happened["replaced"] += 1
            await self._until(lambda: older.is_released)
            require(older.close_code == 4409, f"{device}: {older.close_code}")
            last = [_decoded(older_codec, raw) for raw in older.take_new()]
            is_told = [event.get("code") for event in last] == ["replaced"]
            require(was_stalled or is_told, f"{device} was replaced and heard {last}")

    async def _disconnect(self, device: Device) -> None:
        line = device.line
        if line is not None:
            line.hang_up()
            device.disconnected()
            await self._until(lambda: line.is_released)

    def _stall(self, device: Device, is_stalled: bool) -> None:
        if device.line is None or device.is_stalled == is_stalled:
            return
        device.is_stalled = is_stalled
        if is_stalled:
            self.happened["stall"] += 1
            device.line.stall()
        else:
            device.line.go_on()

    async def _resume(self, device: Device, step: Resume) -> None:
        if device.line is None:
            await self._connect(device, MSGPACK)
        if device.is_stalled:
            return
        cursor, fields, refusal = self._target(device, step)
        if device.is_resumed:
            refusal = {"code": "already_resumed"}
        if not refusal:
            at = self._ledger.inbox_head(device.user) if cursor is None else cursor
            device.resumed(at, self._ledger, with_reads=cursor is not None)
        device.tell(messages.resume(cursor, **fields))
        await wait_all_tasks_blocked()
        device.collect()
        answers = device.take_answers()
        self.happened[str(refusal.get("code", "resume"))] += 1
        told = [{name: answer.get(name) for name in refusal} for answer in answers]
        require(told == ([refusal] if refusal else []), f"{answers}, not {refusal}")

    def _target(self, device: Device, step: Resume) -> tuple[int | None, Event, Event]:
        """The cursor to send, what else to send, and what a refusal must say."""
        head = self._ledger.inbox_head(device.user)
        own = min(device.cursor, head)
        refused = {"headGlobalInboxSeq": head}
        match step.place:
            case "own":
                return own, {}, {}
            case "own in this epoch":
                return own, {"epoch": EPOCH}, {}
            case "zero":
                return 0, {}, {}
            case "fraction":
                return head * step.percent // 100, {}, {}
            case "now":
                return None, {}, {}
            case "ahead":
                return head + 1 + step.percent, {}, {"code": "cursor_ahead"} | refused
            case "other epoch":
                return (
                    own,
                    {"epoch": "another"},
                    {"code": "epoch_changed", "epoch": EPOCH} | refused,
                )


def _decoded(codec: Codec, raw: bytes) -> Event:
    return codec.decode(raw.decode() if codec is JSON else raw)

"""Whatever clients say and whatever befalls them, every answer is one the protocol allows.

    byte 0   limits, subprotocol, how inboxes count
    then     steps, see `connection_script`

The actors are the real ones, from the connection to the conversation; the log is a model in
memory, the transport a fake, the clock a mock. After each step nothing moves any more, and all
that was said and heard is checked; at the end nothing may be left over.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ksmp.codec import decode_recorded
from ksmp.events import ClientEvent
from ksmp.types import TimeMs
from tests.actors.fake_transport import FakeTransport
from tests.actors.memory_log import MemoryLog
from tests.actors.peers import ConnectedWorld, Identity
from tests.actors.world import WALL_MS
from tests.fuzz.connection_script import (
    DEVICES,
    TOKENS,
    Befall,
    Connect,
    Drain,
    Leave,
    Pass,
    Say,
    Setting,
    Stall,
    Step,
    Truncate,
    read_setting,
    read_steps,
)
from tests.fuzz.connection_watch import Question, Watch
from tests.fuzz.promise import BrokenPromiseError, Choices, promise

WRITE_SECONDS: Final = 10.0
SETTLING_SECONDS: Final = 15.0
IDLE_SECONDS: Final = 120.0


def connection_target(source: bytes) -> None:
    """Play all steps, then let everything come to its end."""
    choices = Choices(source)
    setting = read_setting(choices)
    play = Play(setting, read_steps(choices))
    try:
        trio.run(play.run, clock=play.clock)
    except BaseExceptionGroup as group:
        broken = group.subgroup(BrokenPromiseError)
        if broken is None:
            raise
        raise _first(broken) from None


def _first(group: BaseExceptionGroup[BrokenPromiseError]) -> BrokenPromiseError:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


class Play:
    """One play: its world, and who is connected."""

    def __init__(self, setting: Setting, steps: list[Step]) -> None:
        self.clock = MockClock()
        self._setting = setting
        self._steps = steps
        self._watches: dict[int, Watch] = {}
        self._all: list[Watch] = []
        self._was_unreadable = False
        self._has_failed = False

    async def run(self) -> None:
        """Play it."""
        self._world = ConnectedWorld(self._setting.limits)
        self._log: MemoryLog = self._world.log
        self._log.stride = self._setting.stride
        for device, token in enumerate(TOKENS[: len(DEVICES)]):
            user, name = DEVICES[device]
            self._world.tokens[token] = Identity(user, name, TimeMs(WALL_MS + 10_000_000))
        async with trio.open_nursery() as self._nursery:
            await self._world.start(self._nursery)
            await wait_all_tasks_blocked()
            tasks = trio.lowlevel.current_statistics().tasks_living
            for step in self._steps:
                await self._step(step)
                await wait_all_tasks_blocked()
                self._look()
            await self._end(tasks)
            self._nursery.cancel_scope.cancel()

    # ── steps ────────────────────────────────────────────────────────────────────────────────

    async def _step(self, step: Step) -> None:
        match step:
            case Say(device, events):
                watch = self._watches.get(device) or await self._connect(Connect(device, 1e6))
                self._say(watch, events)
            case Connect():
                await self._connect(step)
            case Leave(device):
                if left := self._watches.pop(device, None):
                    left.peer.transport.hang_up()
            case Stall(device, is_stalled):
                if reader := self._watches.get(device):
                    reader.stall(is_stalled)
            case Pass(seconds):
                self.clock.jump(seconds)
            case Befall():
                self._befall(step)
            case Truncate(user, percent):
                rows = self._log.rows(user)
                if rows:
                    last = rows[len(rows) * percent // 101].global_inbox_seq
                    self._log.truncated[user] = max(last, self._log.truncated.get(user, 0))
            case Drain(device):
                if ending := self._watches.get(device):
                    self._nursery.start_soon(partial(ending.peer.connection.drain, 1_000))

    def _say(self, watch: Watch, events: tuple[ClientEvent | bytes, ...]) -> None:
        watch.said(*events)
        encode = self._setting.codec.encode
        said = [event if isinstance(event, bytes) else encode(event) for event in events]
        watch.peer.transport.arrive(*said)

    async def _connect(self, step: Connect) -> Watch:
        self._befall(Befall("held", is_so=False))
        self._befall(Befall("failing", is_so=False))
        await wait_all_tasks_blocked()
        user, name = DEVICES[step.device]
        head = self._log.inbox_head(user)
        peer = await self._world.connect(
            self._nursery,
            user,
            name,
            expires_in_seconds=step.expires_in_seconds,
            codec=self._setting.codec,
            transport=FakeTransport(WRITE_SECONDS),
        )
        older = self._watches.get(step.device)
        watch = self._watches[step.device] = Watch(step.device, peer, self._log, head)
        self._all.append(watch)
        if older is not None:
            promise(older.peer.transport.close_code is not None, "the older one was not replaced")
        return watch

    def _befall(self, befall: Befall) -> None:
        match befall.fate:
            case "held":
                self._log.is_held = befall.is_so
                if not befall.is_so:
                    self._log.release()
            case "full":
                self._log.is_full = befall.is_so
            case "failing":
                self._log.failure = OSError("planted") if befall.is_so else None
                self._has_failed |= befall.is_so
            case "unreadable":
                self._log.unreadable = OSError("planted") if befall.is_so else None
                self._was_unreadable |= befall.is_so

    # ── what must be true ────────────────────────────────────────────────────────────────────

    def _look(self) -> None:
        for watch in self._all:
            watch.look()
            self._require_bounded(watch)
            if self._is_at_rest(watch):
                # A store that fails ends the process; until then nobody hears what they sent.
                unanswered = {one for one in watch.unanswered if not self._is_moot(one)}
                promise(not unanswered, ("unanswered", unanswered))
                promise(not watch.resumes, ("no answer to", watch.resumes))
                promise(watch.is_up_to_date(), "records are there that were not sent")
        failures = {line.event for line in self._world.lines.lines if line.level == "error"}
        promise(failures <= {"connection.failed"}, failures)
        promise(not failures or self._was_unreadable, failures)

    def _is_moot(self, question: Question) -> bool:
        return self._has_failed and question[0] == "ksmpv3.send"

    def _is_at_rest(self, watch: Watch) -> bool:
        """Whether nothing stands between the connection and its answers."""
        transport = watch.peer.transport
        is_served = watch is self._watches.get(DEVICES.index((watch.user, watch.device)))
        is_open = transport.close_code is None and transport.is_writable
        is_told = "draining" not in watch.errors
        return is_served and is_open and is_told and not self._log.is_held

    def _require_bounded(self, watch: Watch) -> None:
        """What one client can make the relay hold, at one moment of its choice."""
        limits, connection = self._setting.limits, watch.peer.connection
        unanswered = connection._backpressure.unanswered
        promise(unanswered <= limits.unacked_sends, ("too many under way", unanswered))
        most = limits.outbound_bytes + 1_000 * (min(unanswered, limits.unacked_sends) + 4)
        most += 1_000 * limits.unacked_sends
        promise(watch.peer.transport.most_queued_bytes <= most, "too much is queued")

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    async def _end(self, tasks: int) -> None:
        """Faults end, clients leave; then nothing is left but what was stored."""
        for fate in ("failing", "full", "unreadable", "held"):
            self._befall(Befall(fate, is_so=False))
        for watch in self._watches.values():
            watch.stall(False)
        await wait_all_tasks_blocked()
        self.clock.jump(SETTLING_SECONDS)
        await wait_all_tasks_blocked()
        self._look()
        for watch in self._watches.values():
            watch.peer.transport.hang_up()
        for _ in range(3):
            await wait_all_tasks_blocked()
            self.clock.jump(IDLE_SECONDS)
        await wait_all_tasks_blocked()
        for watch in self._all:
            watch.look()
            promise(watch.peer.has_ended.is_set(), "a connection goes on without its client")
            promise(watch.peer.transport.is_released, "a transport was not released")
        left = trio.lowlevel.current_statistics().tasks_living
        promise(left == tasks, ("tasks", left, "instead of", tasks))
        promise(not self._world.inboxes._open, "an inbox is open for nobody")
        under_way = self._world.router._under_way_bytes
        promise(under_way == 0 or self._has_failed, ("sends that never end", under_way))
        self._require_stored_once()

    def _require_stored_once(self) -> None:
        """Records count 1, 2, 3 …, a key is used once, and nothing was stored that was refused."""
        acked = {ack.chain for watch in self._all for ack in watch.acks}
        open_questions = {
            question for watch in self._all for question in watch.asked - watch.answered
        }
        for records in self._log.records.values():
            numbers = [record.server_seq for record in records]
            promise(numbers == list(range(1, len(records) + 1)), numbers)
            keys = {(record.sender, record.idempotency_key) for record in records}
            promise(len(keys) == len(records), "a key that was used twice")
            for record in records:
                sent = decode_recorded(record.recorded)
                ids = (sent.conversation_id, sent.recipient_user_id, sent.message_id)
                question = ("ksmpv3.send", *ids, sent.idempotency_key)
                known = record.chain in acked or question in open_questions
                promise(known or "outcome_unknown" in self._errors(), ("stored, refused", sent))

    def _errors(self) -> set[str]:
        return {code for watch in self._all for code in watch.errors}

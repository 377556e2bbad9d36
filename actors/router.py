"""From a conversation's name to its mailbox: activation, passivation, quarantine.

A conversation exists in the log for ever and as a task only while it is used. Its first letter
activates it; unused, it is passivated: its mailbox is closed and forgotten, and its task ends.
Each of these is one step without a checkpoint, so a letter never lands in a mailbox that nobody
will read, and nobody keeps a mailbox over an await.

A conversation that fails too often is quarantined alone: what waits in its mailbox is answered
`conversation_unavailable`, and so is what comes, for a time that grows with each repetition
(`actors/quarantines.py`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import trio

from actors.conversation import Conversation, Publisher
from actors.dead_letters import DeadLetters
from actors.letters import Letter
from actors.limits import Limits
from actors.mailbox import Mailbox
from actors.openings import Openings
from actors.quarantines import Quarantined, Quarantines
from actors.rates import retry_after_ms
from actors.supervisor import (
    Backoff,
    ChildSpec,
    Intensity,
    IntensityExceededError,
    supervise,
)
from actors.telemetry import Telemetry, hashed_conversation
from ksmp.types import ConversationKey, TimeMs
from storage.failpoints import Failpoints, failpoint
from storage.fault_orders import Place
from storage.log import Log

SWEEP_SECONDS: Final = 1.0
PASSIVATION_TRIES: Final = 16
"""How many of the longest unused are asked; if all are busy, one more goes live than should."""
LEAST_CROWD: Final = 64
"""Twice as many as should be may be live while they are busy, or so many more where that is few."""


@dataclass(slots=True)
class _Live:
    """A conversation that has a task."""

    key: ConversationKey
    mailbox: Mailbox
    last_used: float


@dataclass(frozen=True, slots=True)
class NotRouted:
    """Why a letter was not taken: an error code and when to try again. Nothing was stored."""

    code: str
    retry_after_ms: int


def most_live(live_conversations: int) -> int:
    """How many conversations can be live where so many should be: past it sends are refused."""
    return live_conversations + max(live_conversations, LEAST_CROWD)


class Router:
    """Owns which conversations are live. `run` must be running for letters to be read."""

    def __init__(
        self,
        log: Log,
        publisher: Publisher,
        limits: Limits,
        wall_clock: Callable[[], TimeMs],
        jitter: Callable[[], float],
        telemetry: Telemetry,
        *,
        intensity: Intensity = Intensity(),
        backoff: Backoff = Backoff(),
        failpoints: Failpoints | None = None,
        is_stalled: Callable[[], bool] = lambda: False,
    ) -> None:
        """`is_stalled` says whether the disk has not answered for too long: it is asked often."""
        self._log = log
        self._publisher = publisher
        self._limits = limits
        self._openings = Openings(limits)
        self._wall_clock = wall_clock
        self._jitter = jitter
        self._telemetry = telemetry
        self._intensity = intensity
        self._backoff = backoff
        self._is_stalled = is_stalled
        self._numbering = failpoint(failpoints, Place.NUMBER)
        self._live: OrderedDict[ConversationKey, _Live] = OrderedDict()  # the longest unused first
        self._quarantines = Quarantines()
        self._nursery: trio.Nursery | None = None
        self._under_way_bytes = 0
        self._under_way = 0
        self.deepest_mailbox = 0  # the most letters that ever waited in one
        self.dead_letters = DeadLetters()
        self.started = trio.Event()

    @property
    def live_conversations(self) -> int:
        """How many conversations have a task now."""
        return len(self._live)

    @property
    def under_way_bytes(self) -> int:
        """The bytes of all letters that are routed and not yet answered."""
        return self._under_way_bytes

    @property
    def under_way(self) -> int:
        """How many letters that is."""
        return self._under_way

    @property
    def quarantined(self) -> Sequence[Quarantined]:
        """Which conversations are left alone now, and for how long yet."""
        return self._quarantines.present

    def adopt(self, limits: Limits) -> None:
        """Keep `limits` from now on; a mailbox that exists keeps its size until it is closed."""
        self._limits = limits
        self._openings.adopt(limits)

    async def run(self) -> None:
        """Own the conversations' tasks until cancelled; letters may be routed from `started` on.

        Restarted, it goes on with the mailboxes that its predecessor left, and with those that
        were opened in between.
        """
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for live in self._live.values():
                nursery.start_soon(self._keep_alive, live)
            self.started.set()
            try:
                while True:
                    await trio.sleep(SWEEP_SECONDS)
                    self._sweep()
            finally:
                self._nursery = None  # before it closes: what is activated now waits for a restart

    def route(self, key: ConversationKey, letter: Letter) -> NotRouted | None:
        """Put `letter` into its conversation's mailbox, activating it where needed.

        None means that the letter will be answered, whatever happens.
        """
        is_too_much = self._under_way_bytes + letter.size > self._limits.sends_under_way_bytes
        if is_too_much or self._is_stalled():
            return NotRouted("overloaded", 1_000)
        live = self._live.get(key)
        if live is None:
            left = self._quarantines.seconds_left(key)
            if left:
                return NotRouted("conversation_unavailable", retry_after_ms(left))
            if not self._has_room():
                return NotRouted("overloaded", 1_000)
            live = self._activate(key)
        if not live.mailbox.put(letter):
            return NotRouted("overloaded", 1_000)
        self.deepest_mailbox = max(self.deepest_mailbox, live.mailbox.depth)
        live.last_used = trio.current_time()
        self._live.move_to_end(live.key)
        self._under_way_bytes += letter.size
        self._under_way += 1
        return None

    def release(self, letter: Letter) -> None:
        """A letter that was routed has been answered."""
        self._under_way_bytes -= letter.size
        self._under_way -= 1

    def _has_room(self) -> bool:
        """Whether one more conversation may go live, which may cost an idle one its place."""
        most = self._limits.live_conversations
        if len(self._live) >= most:
            self._passivate_the_longest_unused()
        return len(self._live) < most_live(most)

    def _activate(self, key: ConversationKey) -> _Live:
        limits = self._limits
        live = _Live(key, Mailbox(limits.mailbox_length, limits.mailbox_bytes), 0.0)
        self._live[key] = live
        if self._nursery is not None:
            self._nursery.start_soon(self._keep_alive, live)
        if self._telemetry.is_debug:
            self._telemetry.debug("conversation.activated", conversation=hashed_conversation(key))
        return live

    async def _keep_alive(self, live: _Live) -> None:
        """The task of one conversation: its incarnations, one after the other."""

        async def incarnation() -> None:
            await Conversation(
                live.key,
                live.mailbox,
                self._log,
                self._publisher,
                self._openings,
                self._wall_clock,
                self._telemetry,
                self.dead_letters,
                self._numbering,
            ).run()

        child = ChildSpec(
            "conversation",
            incarnation,
            identity=hashed_conversation(live.key),
            intensity=self._intensity,
            backoff=self._backoff,
            is_cleared=live.mailbox.blame.is_cleared,
        )
        try:
            await supervise(child, self._telemetry, self._jitter)
        except IntensityExceededError:
            self._quarantine(live)

    def _quarantine(self, live: _Live) -> None:
        """Leave a conversation alone, and let nobody wait for it who need not."""
        quarantined = self._quarantines.begin(live.key)
        if self._live.get(live.key) is live:  # else passivated meanwhile, maybe activated again
            del self._live[live.key]
        blame = live.mailbox.blame
        if (dead := blame.bury()) is not None:
            self.dead_letters.bury(dead, self._wall_clock(), blame.failure, self._telemetry)
        live.mailbox.close(trio.current_time() + quarantined.seconds)
        letters = live.mailbox.empty()
        hint = retry_after_ms(quarantined.seconds)
        for letter in letters:
            letter.refuse("conversation_unavailable", hint, deliver=False)
        for correspondent in {letter.reply_to: None for letter in letters}:
            correspondent.deliver()  # once for all of a full mailbox
        self._telemetry.error(
            "actor.quarantined",
            kind="conversation",
            actor=hashed_conversation(live.key),
            seconds=quarantined.seconds,
            times=quarantined.times,
            letters=len(letters),
        )

    def end_quarantine(self, key: ConversationKey) -> bool:
        """Let a conversation live again, as if it had never failed; False where it was free."""
        return self._quarantines.end(key)

    # ── passivation ──────────────────────────────────────────────────────────────────────────

    def _sweep(self) -> None:
        """Passivate what is unused for long or too many, forget quarantines that are long over."""
        now = trio.current_time()
        idle_since = now - self._limits.conversation_idle_seconds
        for live in list(self._live.values()):
            is_one_too_many = len(self._live) > self._limits.live_conversations
            if live.last_used > idle_since and not is_one_too_many:
                break
            self._passivate(live)
        self._quarantines.forget_the_old()

    def _passivate_the_longest_unused(self) -> None:
        for live in list(islice(self._live.values(), PASSIVATION_TRIES)):
            if self._passivate(live):
                return
            self._live.move_to_end(live.key)  # it is in use; next time others are asked

    def _passivate(self, live: _Live) -> bool:
        """End an idle conversation's task; False, and nothing done, while it has work."""
        if not live.mailbox.is_idle:
            return False
        live.mailbox.close()
        del self._live[live.key]
        if self._telemetry.is_debug:
            self._telemetry.debug(
                "conversation.passivated", conversation=hashed_conversation(live.key)
            )
        return True

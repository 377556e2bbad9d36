"""The inboxes of those who are connected: published heads, and whom to wake.

An inbox lives here from its user's first connection to the last. Its published head is what
settled commits have told; deliverers read no further, though the log may already show more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from actors.letters import Correspondent, Letter, ReadLetter, concerning
from actors.limits import Limits
from actors.pending import Pending
from actors.rates import FLOOD_FACTOR, Allowance, Pace
from actors.recent import RecentRecords
from ksmp.events import Read
from ksmp.types import DeviceId, UserId
from storage.failpoints import Failpoint, Failpoints, OrderedFaultError, failpoint
from storage.fault_orders import Place
from storage.log import (
    InboxHead,
    InboxPlace,
    Log,
    NewRecord,
    OpenInbox,
    Outcome,
    ReadMarked,
    ReadPosition,
)

FLOODS_AT_ONCE: Final = 2.5
"""How many floods may take up the event loop with what they are refused; more have to share that.

One alone is refused fast enough to be found out as one.
"""

_SWEEP_FROM: Final = 1_000  # allowances; fewer are not worth looking for those to forget


class InboxUnavailableError(Exception):
    """The store has failed; the process is ending."""


class Reader(Correspondent, Protocol):
    """One connection, as its inbox sees it."""

    @property
    def device(self) -> DeviceId:
        """Which of the user's devices it is."""

    @property
    def is_resumed(self) -> bool:
        """Whether it wants frames."""

    def offer(self, places: Sequence[InboxPlace], records: Sequence[NewRecord]) -> bool:
        """Queue records at the moment of their commit, if the cursor stands where they begin.

        False: not all of them were, and `deliver` will look for them.
        """

    def tell_read(self, read: Read) -> None:
        """Send a read position, now or when there is room."""

    def replaced(self) -> None:
        """A newer connection of the same device has taken over: say so and close."""


class Inbox:
    """One user's inbox while it is open. Owned by `Inboxes`; connections look at its head."""

    __slots__ = ("guests", "head", "readers", "truncated_through", "user")

    def __init__(self, user: UserId, head: InboxHead) -> None:
        self.user = user
        self.head, self.truncated_through = head
        self.readers: dict[DeviceId, Reader] = {}
        self.guests = 0  # readers, and those about to become one


class Inboxes:
    """Owns the open inboxes, and publishes into them what the log has committed."""

    def __init__(self, log: Log, limits: Limits, failpoints: Failpoints | None = None) -> None:
        self._log = log
        self._limits = limits
        self._open: dict[UserId, Inbox] = {}
        self._allowances: dict[UserId, Allowance] = {}
        self._sweep_at = _SWEEP_FROM
        self._to_wake: dict[Correspondent, None] = {}  # a set that keeps the order
        self._publishing = failpoint(failpoints, Place.PUBLISH)
        self._waking = failpoint(failpoints, Place.DELIVER)
        self._woken_for: dict[Correspondent, list[Letter]] = {}  # in a laboratory
        self.recent = RecentRecords(limits.recent_records_bytes)
        self.refusing = _pace_of_refusals(limits)

    def adopt(self, limits: Limits) -> None:
        """Keep `limits` from now on.

        Connections that are open keep the rate they were told, which is that of the allowance they
        have; whoever comes to a changed rate gets a new one, and so do later devices.
        """
        before, self._limits = self._limits, limits
        if (before.sends_per_second, before.sends_burst) != (
            limits.sends_per_second,
            limits.sends_burst,
        ):
            self._allowances, self._sweep_at = {}, _SWEEP_FROM
            self.refusing = _pace_of_refusals(limits)
        self.recent.adopt(limits.recent_records_bytes)

    # ── opening and closing ──────────────────────────────────────────────────────────────────

    async def enter(self, user: UserId) -> Inbox:
        """The user's inbox, its head published. Whoever enters must `leave`, once.

        Raises:
            InboxUnavailableError: the store has failed.
        """
        # The inbox opens in the very callback that brings its head: every commit settled after
        # that finds it open, so no record falls between the head and the first publication.
        arrival = _Arrival(user)
        self._log.submit(OpenInbox(user), partial(self._settle_open, arrival))
        try:
            await arrival.pending.wait()
        except BaseException:
            arrival.is_abandoned = True
            if arrival.inbox is not None:  # it opened after the cancellation and before this turn
                self.leave(arrival.inbox)
            raise
        if arrival.inbox is None:
            raise InboxUnavailableError
        return arrival.inbox

    def _settle_open(self, arrival: _Arrival, outcome: Outcome) -> None:
        if isinstance(outcome, InboxHead) and not arrival.is_abandoned:
            inbox = self._open.get(arrival.user)
            if inbox is None:
                inbox = self._open[arrival.user] = Inbox(arrival.user, outcome)
            inbox.guests += 1
            arrival.inbox = inbox
        arrival.pending.settle(outcome)

    def leave(self, inbox: Inbox) -> None:
        """End what `enter` began; the last to leave closes the inbox."""
        inbox.guests -= 1
        if not inbox.guests:
            del self._open[inbox.user]

    def admit(self, inbox: Inbox, reader: Reader) -> None:
        """Let `reader` take part, in the place of an older connection of its device."""
        older = inbox.readers.get(reader.device)
        inbox.readers[reader.device] = reader
        if older is not None:
            older.replaced()

    def dismiss(self, inbox: Inbox, reader: Reader) -> None:
        """Wake `reader` no more. Its place may already be another's."""
        if inbox.readers.get(reader.device) is reader:
            del inbox.readers[reader.device]
        self._to_wake.pop(reader, None)
        self._woken_for.pop(reader, None)

    # ── publishing: called from settled commits, without a checkpoint in between ──────────────

    def publish(
        self,
        letters: Sequence[Letter],
        records: Sequence[NewRecord],
        places: Mapping[UserId, Sequence[InboxPlace]],
    ) -> None:
        """Move the published heads, and note whom `deliver` will wake."""
        for letter in letters:
            self._to_wake[letter.reply_to] = None
        if self._waking is not None:
            for letter in letters:
                self._note(letter.reply_to, [letter])
        if self._publishing is not None and self._publishing.hit(concerning(letters)):
            return
        for user, own_places in places.items():
            inbox = self._open.get(user)
            if inbox is None:
                continue
            is_taken = True
            for reader in inbox.readers.values():
                if not reader.is_resumed:
                    continue
                is_taken &= reader.offer(own_places, records)
                self._to_wake[reader] = None
                if self._waking is not None:
                    self._note(reader, letters)
            if not is_taken:  # someone is a little behind
                for place, record in zip(own_places, records, strict=True):
                    self.recent.add(user, place, record)
            inbox.head = own_places[-1].global_inbox_seq

    def publish_read(self, letter: ReadLetter, marked: ReadMarked) -> None:
        """Tell every device that may know of it; the asker has its answer already."""
        self._to_wake[letter.reply_to] = None
        if self._waking is not None:
            self._note(letter.reply_to, [letter])
        reader, peer = letter.reader, letter.ack.peer_user_id
        if marked.own_rose:
            self._tell_read(reader, letter, marked.own)
        if marked.public_rose and peer != reader:
            self._tell_read(peer, letter, marked.public)

    def _tell_read(self, user: UserId, letter: ReadLetter, position: ReadPosition) -> None:
        inbox = self._open.get(user)
        if inbox is None:
            return
        ack = letter.ack
        read = Read(ack.conversation_id, letter.reader, ack.peer_user_id, *position)
        for reader in inbox.readers.values():
            if reader.is_resumed and reader is not letter.reply_to:
                reader.tell_read(read)
                self._to_wake[reader] = None
                if self._waking is not None:
                    self._note(reader, [letter])

    def deliver(self) -> None:
        """Once per transaction, after all of it has been settled: wake whom it touched."""
        to_wake, self._to_wake = self._to_wake, {}
        for correspondent in to_wake:
            if self._waking is None or self._is_woken(correspondent, self._waking):
                correspondent.deliver()

    # ── in a laboratory ──────────────────────────────────────────────────────────────────────

    def _note(self, correspondent: Correspondent, letters: Sequence[Letter]) -> None:
        """Keep for whose sake `correspondent` will be woken, until it is."""
        self._woken_for.setdefault(correspondent, []).extend(letters)

    def _is_woken(self, correspondent: Correspondent, failpoint: Failpoint) -> bool:
        """Whether no fault takes this wake-up; what is raised ends this correspondent alone."""
        letters = self._woken_for.pop(correspondent, [])
        try:
            return not failpoint.hit(concerning(letters))
        except OrderedFaultError as fault:
            correspondent.fail(fault)
            return False

    # ── what all devices of a user share ─────────────────────────────────────────────────────

    def allowance(self, user: UserId, now: float) -> Allowance:
        """How much the user may send, which outlives connections until it is forgotten full."""
        allowance = self._allowances.get(user)
        if allowance is None:
            if len(self._allowances) >= self._sweep_at:
                self._forget_full_allowances(now)
            allowance = Allowance(self._limits.sends_per_second, self._limits.sends_burst, now)
            self._allowances[user] = allowance
        return allowance

    def _forget_full_allowances(self, now: float) -> None:
        """Rare enough that its cost, shared by those who came since the last time, is constant."""
        self._allowances = {
            user: allowance
            for user, allowance in self._allowances.items()
            if user in self._open or not allowance.is_full(now)
        }
        self._sweep_at = max(_SWEEP_FROM, 2 * len(self._allowances))


def _pace_of_refusals(limits: Limits) -> Pace:
    return Pace(FLOODS_AT_ONCE * FLOOD_FACTOR * limits.sends_per_second)


class _Arrival:
    """Someone who waits for an inbox to open."""

    __slots__ = ("inbox", "is_abandoned", "pending", "user")

    def __init__(self, user: UserId) -> None:
        self.user = user
        self.pending = Pending()
        self.inbox: Inbox | None = None
        self.is_abandoned = False

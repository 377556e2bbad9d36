"""Plays one example against the real parts and compares every answer with the ledger's.

After each step nothing moves any more, and every device that reads has what the model says it
has. What was under way when a connection or the process ended is in doubt until the inboxes have
been read and it has been offered again with the same key, as a client must.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from unittest.mock import patch

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.conversation import Conversation
from ksmp.types import ConversationId, UserId, conversation_key
from storage.verify import verify
from tests.model.asks import (
    Asked,
    Key,
    Marking,
    Offer,
    Weather,
    acknowledged,
    judge_markings,
    judge_offers,
    key_of,
)
from tests.model.device import Device
from tests.model.ledger import (
    Disagreement,
    Facts,
    Reader,
    Talk,
    require,
    talk_of,
    talk_of_envelope,
)
from tests.model.process import Line, Sabotage
from tests.model.stage import Stage
from tests.model.steps import (
    USERS,
    Ask,
    Burst,
    Case,
    Connect,
    Cut,
    Disconnect,
    Fill,
    HangUp,
    Join,
    Mark,
    Pause,
    Ping,
    Restart,
    Resume,
    Send,
    Stall,
    Step,
    Strike,
)
from tests.wire import messages
from tests.wire.codecs import JSON, MSGPACK, Event

INTENSITY: Final = 5
"""How many failures within its period a conversation may have; see `actors.supervisor`."""


def play(case: Case, path: Path) -> Counter[str]:
    """Play `case` on a new store at `path`; how often what happened.

    Raises:
        Disagreement: the relay did something that the model does not allow.
    """
    clock = MockClock()
    player = Player(case, path, clock)
    try:
        trio.run(player.play, clock=clock)
    except BaseExceptionGroup as group:
        disagreements = group.subgroup(Disagreement)
        if disagreements is None:
            raise
        raise _first(disagreements) from None
    return player.happened


def _first(group: BaseExceptionGroup[Disagreement]) -> Disagreement:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


class Player(Stage):
    """Plays the steps of one example, in order."""

    async def play(self) -> None:
        """All steps, then all that can be read once more."""
        run = Conversation.run

        def watched(conversation: Conversation) -> object:
            return self._process.watch(conversation._key, run(conversation))

        with patch.object(Conversation, "run", watched):
            async with trio.open_nursery() as self._nursery:
                await self._start()
                for step in self._case.steps:
                    await self._step(step)
                    await self._check()
                await self._finish()

    async def _step(self, step: Step) -> None:
        match step:
            case Burst():
                await self._burst(step)
            case Connect(device, is_json):
                await self._connect(self._devices[device], JSON if is_json else MSGPACK)
            case Resume(device):
                await self._resume(self._devices[device], step)
            case Disconnect(device):
                await self._disconnect(self._devices[device])
            case Stall(device, is_stalled):
                self._stall(self._devices[device], is_stalled)
            case Pause(seconds):
                self._clock.jump(seconds)
            case Fill(is_full):
                self._is_full = self._process.is_full = is_full
            case Restart():
                await self._drain()

    # ── bursts ───────────────────────────────────────────────────────────────────────────────

    async def _burst(self, burst: Burst) -> None:
        asked = await self._ask(burst)
        before = dict(self._ledger.heads)
        sabotage = self._arm(burst, asked)
        if isinstance(burst.fault, HangUp):
            await self._hang_up(asked)
        else:
            await self._until(lambda: self._is_over(asked))
        if isinstance(burst.fault, Cut):
            self.happened["crash of the process"] += 1
            await self._crash()
        weather = self._weather(sabotage)
        if isinstance(burst.fault, HangUp | Cut):
            await self._resolve(asked, weather, before)
        else:
            self._judge(asked, acknowledged(self._ledger, asked.offers), weather, before)
        if sabotage is not None and sabotage.strikes:
            # Long enough for what failed to be trusted again, whatever it has earned.
            self._process.sabotage = None
            self._clock.jump(11 if sabotage.strikes <= INTENSITY else 700)

    async def _ask(self, burst: Burst) -> Asked:
        """Connect who is not, and send everything, each device's in one read."""
        asked = Asked()
        outgoing: dict[Device, list[Event]] = {}
        for ask in burst.asks:
            device = self._devices[ask.device]
            if device.line is None:
                await self._connect(device, MSGPACK if ask.device % 2 else JSON)
                if device.name == "phone":  # tablets send without wanting frames, as a rule
                    await self._resume(device, Resume(ask.device, "own", 0))
            event = self._event(asked, device, ask, burst) if device.can_ask else None
            if event is not None:
                outgoing.setdefault(device, []).append(event)
        for device, events in outgoing.items():
            device.tell(*events)
        return asked

    def _event(self, asked: Asked, device: Device, ask: Ask, burst: Burst) -> Event | None:
        match ask:
            case Send():
                asked.offers.append(Offer(device, _envelope(device.user, ask)))
                return messages.send(asked.offers[-1].envelope)
            case Mark():
                marking = self._marking(asked, device, ask, burst)
                if marking is None:
                    return None
                asked.markings.append(marking)
                return marking.event
            case Ping():
                nonce = f"nonce-{len(asked.pings)}"
                asked.pings.append((device, nonce))
                return messages.ping(nonce)
            case Join():
                if device.is_resumed:
                    return None
                self.happened["join"] += 1
                cursor = min(device.cursor, self._ledger.inbox_head(device.user))
                device.resumed(cursor, self._ledger, with_reads=True)
                return messages.resume(cursor)

    def _marking(self, asked: Asked, device: Device, mark: Mark, burst: Burst) -> Marking | None:
        """One whose answer does not depend on what else is under way; else None."""
        talk = talk_of(_talk_name(mark.talk), device.user, USERS[mark.peer])
        head = self._ledger.head(talk)
        for other in asked.markings:
            if other.device.user == device.user and other.talk.name == talk.name:
                return None
        sends = sum(isinstance(ask, Send) for ask in burst.asks)
        if not head and sends:
            return None
        seq = max(0, head - mark.back) if mark.back >= 0 else head + sends - mark.back
        return Marking(device, talk, seq, mark.private)

    def _arm(self, burst: Burst, asked: Asked) -> Sabotage | None:
        self._process.sabotage = None
        match burst.fault:
            case Strike() as strike if asked.offers or asked.markings:
                talk = (asked.offers[0] if asked.offers else asked.markings[0]).talk
                name, low, high = ConversationId(talk.name), UserId(talk.low), UserId(talk.high)
                victim = conversation_key(name, low, high)
                self._process.sabotage = Sabotage(victim, strike)
            case Cut() as cut:
                self._process.writing.cut = cut
        return self._process.sabotage

    def _is_over(self, asked: Asked) -> bool:
        asked.collect()
        return asked.is_answered or self._process.writing.has_stopped

    async def _hang_up(self, asked: Asked) -> None:
        self.happened["hang-up"] += 1
        for device in asked.devices():
            await self._disconnect(device)

    def _weather(self, sabotage: Sabotage | None) -> Weather:
        refusals: set[str] = set()
        if sabotage is None:
            return Weather(self._is_full, {})
        strikes = sabotage.strikes
        self.happened["crash of an actor"] += strikes
        if strikes > 1:  # one failure is never the letter's fault
            refusals.add("rejected")
        if strikes > INTENSITY:
            refusals.add("conversation_unavailable")
        _, low, high = sabotage.victim
        talk = Talk(sabotage.victim.conversation_id, low, high)
        return Weather(self._is_full, {talk: frozenset(refusals)})

    def _judge(
        self,
        asked: Asked,
        stored: Mapping[Key, tuple[Event, Facts]],
        weather: Weather,
        before: Mapping[str, int],
    ) -> None:
        judge_offers(self._ledger, asked.offers, stored, weather)
        told = judge_markings(self._ledger, asked.markings, weather, before)
        for viewer, reader in told:
            self._owe(viewer, reader)
        for offer in asked.offers:
            answer = offer.answer or {}
            self.happened[str(answer.get("code", "ack" if offer.is_acked else "doubt"))] += 1

    def _owe(self, viewer: str, reader: Reader) -> None:
        for device in self._everyone():
            if device.user == viewer:
                device.owe(reader, self._ledger.mark(reader).seq)

    # ── what is in doubt ─────────────────────────────────────────────────────────────────────

    async def _resolve(self, asked: Asked, weather: Weather, before: Mapping[str, int]) -> None:
        """Find in the inboxes what was stored of what was asked; then ask the rest again."""
        stored = await self._found(asked)
        for key, one in acknowledged(self._ledger, asked.offers).items():
            require(stored.get(key) == one, f"{one} was acked, and {stored.get(key)} is stored")
        doubts = asked.in_doubt()
        self._judge(asked, stored, weather, before)
        again = Asked(
            [Offer(self._resolvers[one.device.user], one.envelope) for one in doubts.offers],
            [
                Marking(self._resolvers[one.device.user], one.talk, one.seq, one.private)
                for one in doubts.markings
            ],
        )
        for device in again.devices():
            await self._connect(device, MSGPACK)
        for offer in again.offers:
            offer.device.tell(messages.send(offer.envelope))
        for marking in again.markings:
            marking.device.tell(marking.event)
        await self._until(lambda: self._is_over(again))
        calm = Weather(self._is_full, {})
        self._judge(again, acknowledged(self._ledger, again.offers), calm, before)
        for device in again.devices():
            await self._disconnect(device)

    async def _found(self, asked: Asked) -> dict[Key, tuple[Event, Facts]]:
        """What the inboxes hold beyond what the ledger knows; each record at each participant."""
        offered = [offer.envelope for offer in asked.offers]
        users = {user for offer in asked.offers for user in offer.talk.users}
        seen: Counter[Key] = Counter()
        found: dict[Key, tuple[Event, Facts]] = {}
        for user in sorted(users):
            for frame in await self._frames_beyond(user):
                envelope = dict(frame["envelope"])
                facts = Facts(envelope.pop("serverSeq"), envelope.pop("serverReceivedAtMs"))
                require(envelope in offered, f"nobody asked for {frame}")
                require(found.setdefault(key_of(envelope), (envelope, facts))[1] == facts, frame)
                seen[key_of(envelope)] += 1
        for key, (envelope, _) in found.items():
            participants = len(talk_of_envelope(envelope).users)
            require(seen[key] == participants, f"{envelope} is in {seen[key]} inboxes")
        return found

    async def _frames_beyond(self, user: str) -> list[Event]:
        """The records of an inbox that the ledger does not know, as one connection sees them."""
        line = Line()
        self._process.accept(user, "finder", MSGPACK.subprotocol, line)
        resume = MSGPACK.encode(messages.resume(self._ledger.inbox_head(user)))
        assert isinstance(resume, bytes)
        line.arrive(resume)
        await wait_all_tasks_blocked()
        events = [MSGPACK.decode(raw) for raw in line.take_new()]
        line.hang_up()
        await self._until(lambda: line.is_released)
        require(events[-1]["type"] == "ksmpv3.resume.complete", events[-1])
        return [event for event in events if event["type"] == "ksmpv3.inbox.frame"]

    # ── what must be true after each step, and at the end ────────────────────────────────────

    async def _check(self) -> None:
        await wait_all_tasks_blocked()
        self._require_sound()
        for device in self._everyone():
            device.collect()
            require(not device.answers, f"{device} asked for no {device.answers}")
            device.absorb(self._ledger)
            device.require_complete(self._ledger)
            require(device.line is None or device.line.close_code is None, f"{device} was closed")

    async def _finish(self) -> None:
        """After a last crash: every inbox from several cursors, every key once more, the store."""
        self._is_full = False
        await self._crash()
        for user in USERS:
            for codec in (JSON, MSGPACK):
                for percent in (0, 37, 100):
                    device = self._device(user, "reader")
                    await self._connect(device, codec)
                    await self._resume(device, Resume(0, "fraction", percent))
                    device.absorb(self._ledger)
                    device.require_complete(self._ledger)
                    await self._disconnect(device)
        await self._offer_all_again()
        for device in self._everyone():
            await self._disconnect(device)
        await self._process.kill()
        self._require_sound()
        self._verify()

    async def _offer_all_again(self) -> None:
        known = list(self._ledger.keys.values())
        for codec in (JSON, MSGPACK):
            for resolver in self._resolvers.values():
                await self._connect(resolver, codec)
            again = Asked(
                [
                    Offer(self._resolvers[one.envelope["senderUserId"]], one.envelope)
                    for one in known
                ]
            )
            for offer in again.offers:
                offer.device.tell(messages.send(offer.envelope))
            await self._until(lambda asked=again: self._is_over(asked))  # type: ignore[misc]
            self._judge(again, {}, Weather(False, {}), {})

    def _verify(self) -> None:
        found = verify(self._path)
        require(found.problems == [], found.problems)
        records = sum(map(len, self._ledger.records.values()))
        truth = (records, len(self._ledger.records), len(self._ledger.heads))
        told = (found.records, found.conversations, found.inboxes)
        require(told == truth, f"{told}, not {truth}")


def _talk_name(number: int) -> str:
    return f"talk-{number}"


def _envelope(sender: str, ask: Send) -> Event:
    """The envelope that these few numbers stand for: always the same."""
    kinds: Sequence[str] = ("text", "image", "voice")
    return {
        "protocol": "ksmpv3",
        "conversationId": _talk_name(ask.talk),
        "messageId": f"message-{ask.key}-{ask.variant}",
        "senderUserId": sender,
        "recipientUserId": USERS[ask.recipient],
        "ciphertext": b"sealed %d %d " % (ask.key, ask.variant) * (1 + 40 * (ask.key % 2)),
        "contentType": kinds[ask.variant],
        "clientCreatedAtMs": ask.key,
        "idempotencyKey": f"key-{ask.key}",
    }

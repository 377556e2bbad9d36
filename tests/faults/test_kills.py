"""`kill -9` at random moments under load: nothing acked is lost, doubled or renumbered."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import pytest
import trio
import trio_websocket

from tests.wire.chain import assert_chained, chain_base
from tests.wire.clients import Frame, Peer
from tests.wire.codecs import Event, RawFrame
from tests.wire.connecting import Clients, StartRelay
from tests.wire.judging import read_everything
from tests.wire.messages import envelope, resume, send

pytestmark = [pytest.mark.trio, pytest.mark.slow, pytest.mark.timeout(240)]

KILLS: Final = 20
CONNECTIONS: Final = 32
ACKED_BETWEEN_KILLS: Final = 1_000
IN_FLIGHT: Final = 8
RETRIED: Final = 50
TALK: Final = "talk"
PROMISES: Final = (*(f"I{number}" for number in range(1, 13)), "I14")


class Acked:
    """Counts, and tells when enough were counted."""

    def __init__(self) -> None:
        self.count = 0
        self._target = 0
        self._reached = trio.Event()

    def one_more(self) -> None:
        self.count += 1
        if self.count >= self._target:
            self._reached.set()

    async def more(self, number: int) -> None:
        self._target = self.count + number
        self._reached = trio.Event()
        await self._reached.wait()


class Chatter:
    """One user who sends all the time, through every end of the connection.

    What it was acked and what it was delivered it never forgets; what was not acked it offers
    again with the same key.
    """

    def __init__(self, user: str, partner: str) -> None:
        self.user = user
        self.cursor = 0
        self.sent: dict[str, Event] = {}
        self.acks: dict[str, Frame] = {}
        self.frames: dict[int, RawFrame] = {}
        self._partner = partner

    @property
    def unacked(self) -> list[Event]:
        return [one for key, one in self.sent.items() if key not in self.acks]

    async def chat(self, own: Clients, acked: Acked, chance: random.Random) -> None:
        """Connect and send until the relay is gone."""
        async with own.connect(self.user) as peer:
            with suppress(trio_websocket.ConnectionClosed):
                await self._begin(peer, chance)
                while True:
                    if self._take(await peer.receive_frame()):
                        acked.one_more()
                        await self._offer_another(peer)
            assert not own.relay.is_running, "the relay hung up"

    async def _begin(self, peer: Peer, chance: random.Random) -> None:
        await peer.tell(resume(self.cursor))
        again = self.unacked
        if self.acks:
            again += [self.sent[chance.choice(list(self.acks))] for _ in range(2)]
        await peer.tell(*map(send, again))
        for _ in range(IN_FLIGHT - len(self.unacked)):
            await self._offer_another(peer)

    async def _offer_another(self, peer: Peer) -> None:
        new = envelope(self.user, self._partner, conversationId=TALK)
        self.sent[new["idempotencyKey"]] = new
        await peer.tell(send(new))

    def _take(self, frame: Frame) -> bool:
        """Keep what has come; whether it is a new ack."""
        event = frame.event
        match event["type"]:
            case "ksmpv3.send.ack":
                key = event["idempotencyKey"]
                is_new = key not in self.acks
                first = self.acks.setdefault(key, frame)
                assert frame.raw == first.raw, "a retry was acked in other words"
                return is_new
            case "ksmpv3.inbox.frame":
                assert event["previousGlobalInboxSeq"] == self.cursor, "a gap, or a double"
                self.cursor = event["globalInboxSeq"]
                self.frames[self.cursor] = frame.raw
            case "ksmpv3.resume.complete":
                pass
            case _:
                raise AssertionError(f"nobody asked for {event}")
        return False

    async def settle(self, own: Clients, chance: random.Random) -> None:
        """Offer again what has no ack, and some of what has."""
        async with own.connect(self.user) as peer:
            retried = chance.sample(list(self.acks), min(RETRIED, len(self.acks)))
            again = self.unacked + [self.sent[key] for key in retried]
            await peer.tell(*map(send, again))
            for _ in again:
                self._take(await peer.receive_frame())
            assert not self.unacked

    def check(self, replay: list[Frame]) -> None:
        """Everything acked is there, once, at its number; replay is what was live."""
        numbers = [frame.event["globalInboxSeq"] for frame in replay]
        assert numbers == sorted(set(numbers))
        raws = dict(zip(numbers, (frame.raw for frame in replay), strict=True))
        assert self.frames.items() <= raws.items()
        events = [frame.event for frame in replay]
        seqs = [event["envelope"]["serverSeq"] for event in events]
        assert seqs == list(range(1, len(seqs) + 1))
        assert_chained(chain_base(TALK, self.user, self._partner), events)
        stored: dict[str, Event] = {}
        for event in events:
            if event["envelope"]["senderUserId"] == self.user:
                key = event["envelope"]["idempotencyKey"]
                assert key not in stored, "a key was stored twice"
                stored[key] = event
        assert stored.keys() == self.acks.keys()
        for key, ack in self.acks.items():
            event = stored[key]
            assert event["envelope"]["ciphertext"] == self.sent[key]["ciphertext"]
            assert event["envelope"]["serverSeq"] == ack.event["serverSeq"]
            assert event["chain"] == ack.event["chain"]


@pytest.mark.promises(*PROMISES)
async def test_twenty_kills_under_load_lose_double_and_renumber_nothing(
    start: StartRelay, record_property: Callable[[str, object], None]
) -> None:
    seed = int(os.environ.get("KILLS_SEED", random.randrange(2**32)))
    print(f"KILLS_SEED={seed}")
    own = start(limits__sends_per_second=1_000_000, limits__sends_burst=1_000_000)
    acked = await kill_and_settle(own, random.Random(seed))
    assert await trio.to_thread.run_sync(own.relay.terminate) == 0
    data = str(own.relay.data_directory)
    verification = json.loads(own.relay.run("verify", "--data", data, "--json"))

    assert verification["problems"] == []
    assert verification["records"] == acked >= KILLS * ACKED_BETWEEN_KILLS
    assert b"Traceback" not in own.relay.output()
    record_property("acked", acked)


async def kill_and_settle(own: Clients, chance: random.Random) -> int:
    """All the kills, and then peace; how many sends were acked."""
    users = [f"user-{number}" for number in range(CONNECTIONS)]
    chatters = [Chatter(user, users[number ^ 1]) for number, user in enumerate(users)]
    acked = Acked()
    for _ in range(KILLS):
        async with trio.open_nursery() as nursery:
            for chatter in chatters:
                nursery.start_soon(chatter.chat, own, acked, chance)
            with trio.fail_after(60):
                await acked.more(ACKED_BETWEEN_KILLS + chance.randrange(200))
            await trio.sleep(chance.uniform(0.0, 0.01))
            own.relay.kill()
        await trio.to_thread.run_sync(own.relay.start)
    for chatter in chatters:
        await chatter.settle(own, chance)
    replays = await read_everything(own)
    for chatter in chatters:
        chatter.check(replays[chatter.user][:-1])
    return sum(len(chatter.acks) for chatter in chatters)

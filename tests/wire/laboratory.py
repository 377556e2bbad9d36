"""A relay that is a laboratory, and who orders faults of it, and what must be true after each."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import trio

from tests.wire.clients import ANSWER_SECONDS, Peer
from tests.wire.codecs import Event
from tests.wire.connecting import Clients
from tests.wire.credentials import Issuer
from tests.wire.log_lines import await_line, lines
from tests.wire.messages import envelope, fresh
from tests.wire.operator import Answer, Operator
from tests.wire.relay_process import RelayProcess

POLL_SECONDS: Final = 0.02
LEAKABLE: Final = (
    *("connections", "handshakes", "conversations", "under_way_bytes"),
    *("tasks", "descriptors"),
)
"""What of the relay's status is never more than at the start, once everybody has gone."""


class PatientOperator(Operator):
    """Asks again where he has asked too fast."""

    def ask(
        self, path: str, method: str = "GET", *, token: str | None = None, body: bytes | None = None
    ) -> Answer:
        deadline = time.monotonic() + ANSWER_SECONDS
        while (answer := super().ask(path, method, token=token, body=body)).status == 429:
            assert time.monotonic() < deadline
            time.sleep(POLL_SECONDS)
        return answer


class Laboratory(NamedTuple):
    """A relay started with `--lab`, and its operator."""

    clients: Clients
    operator: Operator

    @property
    def relay(self) -> RelayProcess:
        return self.clients.relay

    def post(self, order: object) -> Answer:
        """Order what may be no order; bytes go as they are."""
        body = order if isinstance(order, bytes) else json.dumps(order).encode()
        return self.operator.ask("/failpoints", "POST", token=self.operator.token, body=body)

    def order(self, place: str, action: str, **fields: object) -> int:
        """Put an order in force; its id."""
        answer = self.post({"place": place, "action": action} | fields)
        assert answer.status == 201, answer
        number: int = answer.json["id"]
        return number

    def orders(self) -> list[dict[str, Any]]:
        """Those in force."""
        listed: list[dict[str, Any]] = self.operator.look("/failpoints").json["orders"]
        return listed

    def hits(self) -> int:
        """Of all orders in force."""
        return sum(order["hits"] for order in self.orders())

    def clear(self) -> None:
        assert self.operator.look("/failpoints", "DELETE").status == 200

    def await_hits(self, count: int) -> None:
        until(lambda: self.hits() >= count, f"{count} hits")

    def status(self) -> Event:
        """What SIGUSR1 has the relay log now."""
        before = len(lines(self.relay, "relay.status"))
        self.relay.signal(signal.SIGUSR1)
        return await_line(self.relay, "relay.status", before + 1)

    def assert_nothing_is_left(self) -> None:
        """No connection, letter, conversation or descriptor that was not there at the start."""
        first = lines(self.relay, "relay.status")[0]

        def is_as_at_the_start() -> bool:
            now = self.status()
            return all(now[name] <= first[name] for name in LEAKABLE)

        until(is_as_at_the_start, f"as at the start: {first}")


def laboratory(directory: Path, issuer: Issuer, key_set: Path, transport: str) -> Laboratory:
    """One that is not started yet; nothing in it stays for long without being used."""
    directory.mkdir()
    settings = {
        "KSMP_AUTH__JWKS_FILE": str(key_set),
        "KSMP_SERVER__WEBSOCKET": transport,
        "KSMP_LIMITS__CONVERSATION_IDLE_SECONDS": "0.5",
    }
    relay = RelayProcess(directory, settings, ("--lab",))
    return Laboratory(Clients(issuer, relay), PatientOperator(relay))


def until(is_true: Callable[[], bool], what: str) -> None:
    """Return once it is; there is nothing that would tell."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while not is_true():
        assert time.monotonic() < deadline, what
        time.sleep(POLL_SECONDS)


class Stage(NamedTuple):
    """Alice and Bob, in a conversation of their own, Bob resumed; and how to ask for faults."""

    lab: Laboratory
    alice: Peer
    bob: Peer
    conversation: str

    def envelope(self, **fields: object) -> Event:
        """From Alice to Bob, in their conversation."""
        return envelope(self.alice.user, self.bob.user, conversationId=self.conversation, **fields)

    @property
    def chosen(self) -> dict[str, object]:
        """The selector of their conversation."""
        named = {"conversation_id": self.conversation, "users": [self.bob.user, self.alice.user]}
        return {"conversations": [named]}

    async def order(self, place: str, action: str, **fields: object) -> None:
        await trio.to_thread.run_sync(lambda: self.lab.order(place, action, **fields))

    async def await_hits(self, count: int = 1) -> None:
        await trio.to_thread.run_sync(self.lab.await_hits, count)

    async def arrived(self, frames: int) -> list[int]:
        """The server numbers of the next frames at Bob's."""
        received = await self.bob.frames(frames)
        return [frame.event["envelope"]["serverSeq"] for frame in received]


@asynccontextmanager
async def staged(lab: Laboratory) -> AsyncIterator[Stage]:
    """Both connected; afterwards two others must find the relay in order, if it runs."""
    names = fresh("alice"), fresh("bob")
    async with lab.clients.connect(names[0]) as alice, lab.clients.connect(names[1]) as bob:
        await bob.resume(0)
        yield Stage(lab, alice, bob, fresh("talk"))
    if lab.relay.is_running:
        await trio.to_thread.run_sync(lab.clear)
        await assert_others_are_served(lab)


async def assert_others_are_served(lab: Laboratory) -> None:
    """Two people who had no part in it exchange a message."""
    carol, dave = fresh("carol"), fresh("dave")
    async with lab.clients.connect(carol) as sender, lab.clients.connect(dave) as recipient:
        await recipient.resume(0)
        ack = await sender.send(envelope(carol, dave))
        (frame,) = await recipient.frames(1)
        assert frame.event["chain"] == ack["chain"]

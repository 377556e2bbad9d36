"""The load on a nats-server, in the shape of `bench.generator`: the other side of the comparison.

Run as a process of its own (`python -m bench.peers.nats_load`, a `bench.plan.Plan` on standard
input). The client protocol is spoken directly, for the same reason for which the other generator is
lean.

Each pair is one subject of a JetStream stream kept in files, each user is one connection. There is
one stream, or a few over which the pairs are spread. A send is a publish with a `Nats-Msg-Id`, so
that a retry is stored once; its ack is JetStream's.
The other side gets it live, in one of two ways (`Plan.delivery`):

    consumer   each user has a push consumer on the subject, configured as client libraries
               configure their ordered consumers: what arrives is stored, gaps can be replayed
    core       each user subscribes to the subject itself: faster, for what arrives may not be
               stored yet, or ever, and what is missed is missed
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from functools import partial
from typing import Final

from bench.meter import Meter
from bench.peers.nats_connection import NatsConnection
from bench.peers.pairs import PairsLoad, host_and_port
from bench.plan import Plan
from bench.process import LoadError, run_process

CONNECTING_AT_ONCE: Final = 64
MAX_CONSUMERS: Final = 100_000
"""Per stream; said, because the server's default is 1,000."""


def main() -> None:
    """Run the plan on standard input."""
    run_process(partial(PairsLoad, _NatsUser, CONNECTING_AT_ONCE))


class _NatsUser:
    """One user, one connection, one subject shared with the peer; a closed loop of publishes."""

    def __init__(self, number: int, plan: Plan, meter: Meter, fail: Callable[[str], None]) -> None:
        pair, side = divmod(number, 2)
        self._stream = f"dm-{pair % plan.streams}"
        self._subject = f"{self._stream}.{pair}"
        self._name = f"{pair}-{side}"
        self._message_prefix = f"{pair}.{side}."
        self._peer_prefix = f"{pair}.{1 - side}."
        self._in_flight = plan.in_flight
        self._is_core = plan.delivery == "core"
        self._ciphertext = os.urandom(plan.size)
        self._meter = meter
        self._sent = itertools.count(1)
        self._connection = NatsConnection(self._take_ack, self._take_message, fail)

    async def connect(self, url: str) -> None:
        """Connect; where subscriptions are on the subject itself, without one's own messages."""
        host, port = host_and_port(url)
        await self._connection.connect(host, port, self._name, hears_itself=not self._is_core)
        await self._create_stream()
        await self._listen()

    async def _create_stream(self) -> None:
        """The stream that keeps the conversation; the same again changes nothing."""
        configuration = {
            "name": self._stream,
            "subjects": [f"{self._stream}.*"],
            "storage": "file",
            "retention": "limits",
            "max_consumers": MAX_CONSUMERS,
        }
        await self._request(f"$JS.API.STREAM.CREATE.{self._stream}", configuration)

    async def _listen(self) -> None:
        """Have the conversation delivered from now on."""
        if self._is_core:
            self._connection.subscribe(self._subject)
            await self._connection.ping()
            return
        self._connection.subscribe(f"deliver.{self._name}")
        configuration = {
            "deliver_subject": f"deliver.{self._name}",
            "deliver_policy": "new",
            "filter_subject": self._subject,
            "ack_policy": "none",
            "max_deliver": 1,
            "mem_storage": True,
            "num_replicas": 1,
            "flow_control": True,
            "idle_heartbeat": 5_000_000_000,
        }
        name = f"user-{self._name}"
        await self._request(
            f"$JS.API.CONSUMER.CREATE.{self._stream}.{name}.{self._subject}",
            {"stream_name": self._stream, "config": configuration | {"name": name}},
        )

    def fill_window(self) -> None:
        """Publish until `in_flight` are unacked."""
        for _ in range(self._in_flight):
            self._publish_next()
        self._connection.flush()

    def close(self) -> None:
        """Drop the connection."""
        self._connection.close()

    async def _request(self, subject: str, request: dict[str, object]) -> None:
        answer = json.loads(await self._connection.request(subject, json.dumps(request).encode()))
        if "error" in answer:
            raise LoadError(f"nats-server refused: {answer['error'].get('description')}")

    def _publish_next(self) -> None:
        message_id = f"{self._message_prefix}{next(self._sent)}"
        self._meter.note_sent(message_id)
        self._connection.publish(self._subject, message_id, self._ciphertext)

    def _take_ack(self, message_id: str) -> None:
        self._meter.note_acked(message_id)
        if self._meter.is_sending:
            self._publish_next()

    def _take_message(self, message_id: str) -> None:
        if message_id.startswith(self._peer_prefix):
            self._meter.note_delivered(message_id)


if __name__ == "__main__":
    main()

"""The peers that there are: how each is started and driven, and what its ack is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Final, NamedTuple

from bench import nats_server
from bench.peers.redis_server import redis_server
from bench.peers.server import Server


class Peer(NamedTuple):
    """Something that people would pick instead."""

    name: str
    title: str
    serve: Callable[[], AbstractContextManager[Server]]
    generator: str
    """The module that is its load, a process of its own."""
    is_synced: bool
    """Whether an ack means that the message is on disk."""
    ack_promises: str
    does_not: str


RELAY_PROMISES: Final = (
    "the record, its number in the conversation, its chain, its idempotency key (kept for ever) and"
    " both inboxes' rows are in one transaction that has been synced"
)

NATS_DOES_NOT: Final = (
    "no inbox of a user over all conversations, no number per conversation without a gap; an id is"
    " remembered for two minutes; what a subject delivers live may not be stored yet (replay needs"
    " a consumer)"
)
REDIS_DOES_NOT: Final = (
    "no inbox of a user over all conversations, no idempotency (a repeated XADD is a second entry),"
    " no number without a gap; the order of a stream and replay from an entry it has; all of it is"
    " held in memory"
)


@contextmanager
def _nats(*, synced: bool) -> Iterator[Server]:
    with nats_server.nats_server(synced=synced) as server:
        yield Server(server.url, server.pid)


PEERS: Final = {
    peer.name: peer
    for peer in (
        Peer(
            "nats",
            "nats-server",
            partial(_nats, synced=True),
            "bench.nats",
            True,
            "the message is in the stream's file, which has been synced (sync_interval: always)",
            NATS_DOES_NOT,
        ),
        Peer(
            "nats-unsynced",
            "nats-server, not synced",
            partial(_nats, synced=False),
            "bench.nats",
            False,
            "the message is written to the stream's file, NOT synced at the ack (the default)",
            NATS_DOES_NOT,
        ),
        Peer(
            "redis",
            "redis-server",
            partial(redis_server, "always"),
            "bench.peers.redis_load",
            True,
            "the entry is in the append-only file, which has been synced (appendfsync always)",
            REDIS_DOES_NOT,
        ),
        Peer(
            "redis-unsynced",
            "redis-server, not synced",
            partial(redis_server, "no"),
            "bench.peers.redis_load",
            False,
            "the entry has been written to the append-only file, NOT synced (appendfsync no)",
            REDIS_DOES_NOT,
        ),
    )
}

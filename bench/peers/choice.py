"""The peers that there are: how each is started and driven, and what its ack is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from bench.peers.nats_server import nats_server, nats_version
from bench.peers.own_benchmark import redis_benchmark
from bench.peers.prosody_server import prosody_server, prosody_version
from bench.peers.redis_server import redis_server, redis_version
from bench.peers.server import Server
from bench.shape import Shape

Serve = Callable[[Sequence[str], float], AbstractContextManager[Server]]
"""A server that knows these users, and whose every sync takes so many milliseconds more."""


class Beyond(Struct, frozen=True):
    """What this relay's ack stands for as well: what there is of it."""

    inbox: str
    """Of a user, over all conversations."""
    idempotency: str
    order: str
    """Of a conversation."""
    replay: str


class Peer(NamedTuple):
    """Something that people would pick instead."""

    name: str
    title: str
    serve: Serve
    generator: str
    """The module that is its load, a process of its own."""
    is_synced: bool
    """Whether an ack means that the message is on disk."""
    ack_is: str
    ack_promises: str
    beyond: Beyond
    version: Callable[[], str]
    own_benchmark: Callable[[Server, Shape, int], float] | None
    """What measures so many messages in this shape with the peer's own program: per second."""
    own_benchmark_is: str
    """Which one that is, and what it leaves out; or that there is none."""
    is_asked_late: bool = False
    """Whether it is measured with late syncs too."""
    patience: float = 1.0
    """Its warm-up and its measurement take so many times as long."""
    delivery: str = ""


RELAY_PROMISES: Final = (
    "the record, its number in the conversation, its chain, its idempotency key (kept for ever) and"
    " both inboxes' rows are in one transaction that has been synced"
)

_NATS_ACK: Final = "JetStream's answer to a publish with a Nats-Msg-Id"
_NATS_REPLAY: Final = "from any number of the stream on, by a consumer"
_NATS_BEYOND: Final = Beyond(
    "none",
    "an id is remembered for two minutes",
    "of the stream, whose numbers have gaps in a conversation",
    _NATS_REPLAY,
)
_NATS_CORE_BEYOND: Final = msgspec.structs.replace(
    _NATS_BEYOND, replay=f"{_NATS_REPLAY}; what is delivered live here may not be stored yet"
)
_NATS_HAS_NO_BENCHMARK: Final = (
    "none: its `nats bench` is a program of its own, which neither pip nor npm nor apt has"
)
_NATS_LOAD: Final = "bench.peers.nats_load"

_REDIS_ACK: Final = "the reply to XADD"
_REDIS_BEYOND: Final = Beyond(
    "none",
    "none: a repeated XADD is a second entry",
    "of the stream, without numbers that would show a gap",
    "from any entry on; all of it is held in memory",
)
_REDIS_BENCHMARK: Final = (
    "redis-benchmark: XADD alone, nobody reads; pipelines of as many as are in flight"
)
_REDIS_LOAD: Final = "bench.peers.redis_load"

_PROSODY_ACK: Final = (
    "XEP-0198's <a>, the strongest that a sender gets; a copy without its archive's <stanza-id> at"
    " the other side fails the run"
)
_PROSODY_BEYOND: Final = Beyond(
    "each account's archive; a message's two archives are not written as one",
    "none: a repeated message is archived again",
    "as it was archived, without numbers that would show a gap",
    "of an archive, by pages (XEP-0313)",
)
_PROSODY_HAS_NO_BENCHMARK: Final = "none: it comes without one"
_PROSODY_LOAD: Final = "bench.peers.prosody_load"
_PROSODY_PATIENCE: Final = 3.0
"""It answers many at once, seconds apart: less would count one such burst more or less."""

PEERS: Final = {
    peer.name: peer
    for peer in (
        Peer(
            "nats",
            "nats-server",
            lambda _users, delay_ms: nats_server(synced=True, sync_delay_ms=delay_ms),
            _NATS_LOAD,
            True,
            _NATS_ACK,
            "the message is in the stream's file, which has been synced (sync_interval: always)",
            _NATS_CORE_BEYOND,
            nats_version,
            None,
            _NATS_HAS_NO_BENCHMARK,
            is_asked_late=True,
            delivery="core",
        ),
        Peer(
            "nats-consumer",
            "nats-server, consumers",
            lambda _users, delay_ms: nats_server(synced=True, sync_delay_ms=delay_ms),
            _NATS_LOAD,
            True,
            _NATS_ACK,
            "as `nats`; delivered from the stored stream, by an ordered push consumer of each user",
            _NATS_BEYOND,
            nats_version,
            None,
            _NATS_HAS_NO_BENCHMARK,
            delivery="consumer",
        ),
        Peer(
            "nats-unsynced",
            "nats-server, not synced",
            lambda _users, _delay_ms: nats_server(synced=False),
            _NATS_LOAD,
            False,
            _NATS_ACK,
            "the message is written to the stream's file, NOT synced at the ack (the default)",
            _NATS_CORE_BEYOND,
            nats_version,
            None,
            _NATS_HAS_NO_BENCHMARK,
            delivery="core",
        ),
        Peer(
            "redis",
            "redis-server",
            lambda _users, delay_ms: redis_server("always", sync_delay_ms=delay_ms),
            _REDIS_LOAD,
            True,
            _REDIS_ACK,
            "the entry is in the append-only file, which has been synced (appendfsync always)",
            _REDIS_BEYOND,
            redis_version,
            redis_benchmark,
            _REDIS_BENCHMARK,
            is_asked_late=True,
        ),
        Peer(
            "redis-unsynced",
            "redis-server, not synced",
            lambda _users, _delay_ms: redis_server("no"),
            _REDIS_LOAD,
            False,
            _REDIS_ACK,
            "the entry has been written to the append-only file, NOT synced (appendfsync no)",
            _REDIS_BEYOND,
            redis_version,
            redis_benchmark,
            _REDIS_BENCHMARK,
        ),
        Peer(
            "prosody",
            "Prosody, SQLite",
            lambda users, delay_ms: prosody_server("sql", users, sync_delay_ms=delay_ms),
            _PROSODY_LOAD,
            True,
            _PROSODY_ACK,
            "both users' archives have committed it, each in a synced transaction of SQLite's (but"
            " for the removal of its journal, which is not: the last one may be undone)",
            _PROSODY_BEYOND,
            prosody_version,
            None,
            _PROSODY_HAS_NO_BENCHMARK,
            patience=_PROSODY_PATIENCE,
        ),
        Peer(
            "prosody-unsynced",
            "Prosody, not synced",
            lambda users, _delay_ms: prosody_server("internal", users),
            _PROSODY_LOAD,
            False,
            _PROSODY_ACK,
            "it has been written to both users' archive files, NOT synced (its default storage)",
            _PROSODY_BEYOND,
            prosody_version,
            None,
            _PROSODY_HAS_NO_BENCHMARK,
            patience=_PROSODY_PATIENCE,
        ),
    )
}

DEFAULT: Final = tuple(name for name in PEERS if name != "nats-consumer")

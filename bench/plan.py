"""What a generator process is told on its standard input and says on its standard output.

One JSON object a line. In: one `Plan`. Out: `Started` (measuring begins), `Progress` about twice
a second, `Stopped` (measuring ends), then `Measured` or `Refused`, and the process ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import msgspec
from msgspec import Struct

from bench.latency import Percentiles

ShapeName = Literal["pairs", "hot", "hub", "zipf"]
"""Who talks to whom; `bench.cast` says what each means."""

CodecName = Literal["msgpack", "json"]


class Plan(Struct, frozen=True):
    """One closed loop: each connection keeps `in_flight` sends unacked, of `size` bytes each.

    `credentials` are two tokens (or two user names) per pair, in pair order; of a hub its own, then
    its peers'. They come here and not on the command line, where everybody on the machine could
    read them.
    """

    url: str
    credentials: tuple[str, ...]
    in_flight: int
    size: int
    seconds: float
    warm_up_seconds: float
    delivery: str = ""
    """Only beside NATS: `core` or `consumer` (`bench.peers.nats_load`)."""
    streams: int = 1
    """Only beside NATS: over how many streams the conversations are spread."""
    history: str = ""
    """Where to write what the clients saw; empty: nothing is recorded, and nothing read back."""
    relay: str = ""
    """The relay's version, for the head of the history."""
    shape: ShapeName = "pairs"
    codec: CodecName = "msgpack"
    conversations: int = 0
    """Only in `zipf` and for growth: over how many the sends are spread."""
    seed: int = 0
    """Only in `zipf`: of the draws."""


class Started(Struct, frozen=True, tag="started"):
    """All are connected, the warm-up is over: what follows counts."""


class Progress(Struct, frozen=True, tag="progress"):
    """What the generator is at, for the person who waits."""

    step: str
    done: float
    total: float


class Stopped(Struct, frozen=True, tag="stopped"):
    """The measured time is over; what is still in flight is awaited, but does not count."""


class Measured(Struct, frozen=True, tag="measured"):
    """What one run has shown."""

    connections: int
    seconds: float
    acked_per_s: float
    delivered_per_s: float
    ack_ms: Percentiles
    delivery_ms: Percentiles
    unanswered: int
    undelivered: int
    """Messages that had not reached the other side when the time for that was over."""
    rate_limited: int
    retried: int
    """Sends repeated after another refusal that promised the event was not stored."""
    generator_cpu: float
    """Share of one core that the generator took itself."""


class Refused(Struct, frozen=True, tag="refused"):
    """The run could not be made: `reason` says why."""

    reason: str


Report = Started | Progress | Stopped | Measured | Refused

encode: Final = msgspec.json.Encoder().encode
decode_plan: Final = msgspec.json.Decoder(Plan).decode
decode_report: Final[Callable[[bytes], Report]] = msgspec.json.Decoder(Report).decode

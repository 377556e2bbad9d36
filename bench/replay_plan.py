"""What the two processes of the replay benchmark are told, and what they say: one JSON a line.

    bench.replay_reader   in `ReadPlan`, out `Progress` again and again, `Replayed` or `Refused`
    bench.live            in `LivePlan`, out `Started` when the baseline is over, and when it has
                          been shown a `Span`: `LiveMeasured` or `Refused`

Times are of the system's monotonic clock, which all processes share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from bench.latency import Percentiles
from bench.plan import Progress, Refused, Started


class ReadPlan(Struct, frozen=True):
    """Read everything in one inbox: so many records of one conversation, the last with `chain`."""

    url: str
    token: str
    records: int
    chain: bytes


class Span(Struct, frozen=True):
    """From the first moment of something to the last."""

    began_ns: int
    ended_ns: int


class Replayed(Struct, frozen=True, tag="replayed"):
    """The relay has said that the replay is complete."""

    span: Span
    """From the request to the answer that it is complete."""

    frames: int
    frame_bytes: int
    out_of_place: int
    """Frames that are not the next one of the inbox, or not the next of their conversation."""

    ends_right: bool
    """Whether the last frame has the chain it must have, and the relay named its number."""

    generator_cpu: float


class LivePlan(Struct, frozen=True):
    """Pairs who write to each other at a rate, whether answered or not.

    The load goes on after the baseline until the file `until` is there: a `Span` in JSON.
    """

    url: str
    tokens: tuple[str, ...]
    rate_per_s: float
    size: int
    warm_up_seconds: float
    baseline_seconds: float
    seed: int
    until: str
    history: str
    relay: str


class LiveMeasured(Struct, frozen=True, tag="live"):
    """Latencies of acks, counted from the time for which each send was meant."""

    baseline_ack_ms: Percentiles
    meanwhile_ack_ms: Percentiles
    baseline_sends: int
    meanwhile_sends: int
    unanswered: int
    generator_cpu: float


ReaderReport = Progress | Replayed | Refused
LiveReport = Progress | Started | LiveMeasured | Refused

decode_read_plan: Final = msgspec.json.Decoder(ReadPlan).decode
decode_live_plan: Final = msgspec.json.Decoder(LivePlan).decode
decode_span: Final = msgspec.json.Decoder(Span).decode
decode_reader_report: Final[Callable[[bytes], ReaderReport]] = msgspec.json.Decoder(
    ReaderReport
).decode
decode_live_report: Final[Callable[[bytes], LiveReport]] = msgspec.json.Decoder(LiveReport).decode

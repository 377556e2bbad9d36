"""What a comparison with other servers has shown, and what each of their acks is worth."""

from __future__ import annotations

from msgspec import Struct

from bench.peers.choice import Beyond
from bench.peers.comparing import Comparison
from bench.peers.floors import Judged


class Promise(Struct, frozen=True):
    """What a peer's ack is worth."""

    peer: str
    version: str
    is_synced: bool
    ack_is: str
    ack_promises: str
    beyond: Beyond
    own_benchmark_is: str


class PeersReport(Struct, frozen=True):
    """Everything; as JSON this is what `--json` prints."""

    relay_ack_promises: str
    peers: tuple[Promise, ...]
    nats_streams: int
    comparisons: tuple[Comparison, ...]
    floors: tuple[Judged, ...]
    failure: str | None
    """Why there is no more; null where all that was asked for was measured."""

    @property
    def is_good(self) -> bool:
        """Whether all was measured, nothing was lost, and the relay was as fast as it has to be."""
        is_slow = any(one.verdict == "missed" for one in self.floors)
        return not (self.failure or is_slow or any(one.lost for one in self.comparisons))

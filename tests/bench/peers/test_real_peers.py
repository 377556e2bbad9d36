"""Each peer for real, for a second: `make bench-peers-test`, where the peers are installed."""

from __future__ import annotations

import os

import pytest

from bench.peers.choice import PEERS
from bench.peers.comparing import measure
from bench.shape import Shape


@pytest.mark.peers
@pytest.mark.parametrize("name", PEERS)
def test_every_message_is_acked_and_reaches_the_other_side(name: str) -> None:
    measured = measure(Shape(2, 4, 300, 1.0, 0.1), PEERS[name]).measured

    assert measured.acked_per_s > 0
    assert measured.delivered_per_s > 0
    assert (measured.unanswered, measured.undelivered) == (0, 0)


@pytest.mark.peers
@pytest.mark.parametrize("name", PEERS)
def test_a_server_is_gone_when_its_block_ends(name: str) -> None:
    with PEERS[name].serve() as server:
        os.kill(server.pid, 0)

    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)

"""Each peer for real, for a second: `make bench-peers-test`, where the peers are installed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.peers.choice import PEERS
from bench.peers.comparing import measure, own_figure, round_of
from bench.shape import Shape
from tests.wire.relay_process import REPOSITORY

pytestmark = pytest.mark.peers

SHORT = Shape(2, 4, 300, 1.0, 0.1)
USERS = ("user0", "user1")


@pytest.mark.parametrize("name", PEERS)
def test_every_message_is_acked_and_reaches_the_other_side(name: str) -> None:
    measured = measure(SHORT, PEERS[name]).measured

    assert measured.acked_per_s > 0
    assert measured.delivered_per_s > 0
    assert (measured.unanswered, measured.undelivered) == (0, 0)


@pytest.mark.parametrize("name", [peer.name for peer in PEERS.values() if peer.is_asked_late])
def test_no_ack_comes_before_its_late_sync(name: str) -> None:
    measured = measure(SHORT._replace(sync_delay_ms=50.0), PEERS[name]).measured

    assert measured.ack_ms.p50 >= 50
    assert (measured.unanswered, measured.undelivered) == (0, 0)


@pytest.mark.parametrize("name", [peer.name for peer in PEERS.values() if peer.own_benchmark])
def test_its_own_benchmark_has_a_figure(name: str) -> None:
    measured = round_of(measure(SHORT, PEERS[name]))

    assert own_figure(SHORT, PEERS[name], measured)


@pytest.mark.parametrize("name", PEERS)
def test_a_server_is_gone_when_its_block_ends(name: str) -> None:
    with PEERS[name].serve(USERS, 0.0) as server:
        os.kill(server.pid, 0)

    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


@pytest.mark.parametrize(
    ("name", "shape"), [*((name, "1x1") for name in PEERS), ("nats", "1x1+5ms")]
)
def test_ctrl_c_in_the_middle_of_a_measurement_leaves_nothing_behind(name: str, shape: str) -> None:
    words = ["--peers", name, "--shapes", shape, "--seconds", "2", "--warm-up", "0"]
    command = subprocess.Popen(
        [sys.executable, "-m", "bench.peers", *words],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with command:
        deadline = time.monotonic() + 100
        while not any(PEERS[name].generator in words_of(one) for one in descendants(command.pid)):
            assert command.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        started = descendants(command.pid)
        command.send_signal(signal.SIGINT)

        assert command.wait(60) != 0
    assert len(started) >= 2
    assert [one for one in started if words_of(one)] == []


def descendants(pid: int) -> list[int]:
    """Whatever it has started, and what that has started."""
    try:
        children = [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    except OSError:
        return []
    return [one for child in children for one in (child, *descendants(child))]


def words_of(pid: int) -> list[str]:
    """Its command line; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []

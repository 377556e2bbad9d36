"""Latencies count from when a send was meant, not from when it could go out."""

from __future__ import annotations

from pathlib import Path

from bench.checker.bystanders import BASELINE
from bench.checker.loading import load
from bench.history import Recorder
from bench.offered.measuring import Figures, figures_of

MS = 1_000_000


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


def figures_of_one_send(history: Path, *, held_up_ms: int, ack_ms: int | None) -> Figures:
    """Meant 100 ms into the window of ten seconds, sent and acked so much later."""
    clock = Clock()
    recorder = Recorder(history, relay="0", now_ns=clock)
    user = recorder.user("a")
    conversation = recorder.conversation("c", "a", "b")
    content = recorder.content(b"x")
    connection = recorder.connected(
        user, device="d", subprotocol="s", epoch="e", head=0, opening_began_ns=0
    )
    window = recorder.begin(BASELINE)
    clock.now = (100 + held_up_ms) * MS
    attempt = recorder.send(
        connection,
        conversation,
        content,
        created_ms=1,
        message_id="m",
        key="k",
        late_ns=held_up_ms * MS,
    )
    if ack_ms is not None:
        clock.now += ack_ms * MS
        recorder.ok(attempt, server_seq=1, received_ms=1, chain=b"c" * 32, raw=b"r")
    clock.now = 10_000 * MS
    recorder.end(window)
    recorder.close()
    return figures_of(load(history))


def test_a_send_that_was_held_up_counts_from_when_it_was_meant(tmp_path: Path) -> None:
    figures = figures_of_one_send(tmp_path / "history", held_up_ms=2_000, ack_ms=5)

    assert figures.worst_ack_ms == 2_005
    assert figures.unacked == 0


def test_a_send_without_an_answer_is_counted_and_has_no_latency(tmp_path: Path) -> None:
    figures = figures_of_one_send(tmp_path / "history", held_up_ms=0, ack_ms=None)

    assert (figures.unacked, figures.undelivered, figures.worst_ack_ms) == (1, 1, 0)

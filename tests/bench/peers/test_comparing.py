"""Ratios and their spread, on made-up rounds; what is chosen; a peer that is not there."""

from __future__ import annotations

import msgspec
import pytest

from bench.latency import Percentiles
from bench.peers import comparing
from bench.peers.choice import DEFAULT, PEERS, Peer
from bench.peers.command import (
    DEFAULT_SHAPES,
    ChoiceError,
    beside_peers,
    chosen_peers,
    chosen_shapes,
)
from bench.peers.comparing import Beside, Column, Comparison, Round, column, compare
from bench.peers.floors import FLOORS, Floor, judge
from bench.peers.own_benchmark import requests_per_second
from bench.peers.server import NotInstalledError, program
from bench.plan import Measured
from bench.run import Run, RunError
from bench.shape import Shape
from bench.spread import Spread


def round_with(acked_per_s: float, generator_cpu: float = 0.4, p50: float = 1.0) -> Round:
    return Round(acked_per_s, acked_per_s, p50, 2.0, 0.9, generator_cpu, 0)


def beside(acked_per_s: float, generator_cpu: float = 0.4, p50: float = 1.0) -> Beside:
    return Beside(round_with(acked_per_s, generator_cpu, p50), None)


def test_a_column_has_medians_and_the_ratio_of_each_round() -> None:
    ours = [round_with(90, p50=1), round_with(300, p50=3), round_with(100, p50=4)]
    theirs = [beside(100, p50=2), beside(100, p50=1), beside(200, p50=2)]

    seen = column("redis", ours, theirs)

    assert (seen.acked_per_s, seen.ack_p50_ms) == (100, 2)
    assert seen.rate_ratio == Spread(0.9, 0.5, 3.0)
    assert seen.latency_ratio == Spread(2.0, 0.5, 3.0)


@pytest.mark.parametrize(("ours", "theirs"), [(0.81, 0.4), (0.4, 0.81)])
def test_a_busy_generator_on_either_side_gives_no_ratio(ours: float, theirs: float) -> None:
    seen = column("redis", [round_with(90, ours)], [beside(100, theirs)])

    assert seen.generator_bound
    assert seen.rate_ratio is seen.latency_ratio is None


@pytest.mark.parametrize(("ours", "theirs"), [(0.0, 100.0), (100.0, 0.0)])
def test_a_round_in_which_nothing_was_acked_gives_no_ratio(ours: float, theirs: float) -> None:
    seen = column("redis", [round_with(ours), round_with(90)], [beside(theirs), beside(90)])

    assert seen.rate_ratio is seen.latency_ratio is None


def test_in_each_round_the_relay_is_measured_and_then_every_peer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    latency = Percentiles(1.0, 2.0, 3.0)
    measured = Measured(4, 1.0, 90.0, 90.0, latency, latency, 1, 2, 0, 0, 0.3)
    turns: list[str] = []

    def load_own_relay(_shape: Shape) -> Run:
        turns.append("relay")
        return Run(measured, 0.5)

    def measure(_shape: Shape, peer: Peer, _streams: int) -> Run:
        turns.append(peer.name)
        return Run(measured, 0.6)

    monkeypatch.setattr(comparing, "load_own_relay", load_own_relay)
    monkeypatch.setattr(comparing, "measure", measure)
    monkeypatch.setattr(comparing, "own_figure", lambda *_: 7.0)

    seen = compare(Shape(2, 2, 64, 1.0, 0.0), [PEERS["redis"], PEERS["nats"]], 2)

    assert turns == ["relay", "redis", "nats"] * 2
    assert seen.shape == "2x2"
    assert seen.lost == 2 * (1 + 2)
    assert [one.server_cpu for one in seen.relay] == [0.5] * 2
    assert [one.rounds[0].server_cpu for one in seen.columns] == [0.6] * 2
    assert seen.columns[0].own_benchmark_per_s == (7.0, 7.0)


def compared(shape: str, peer: str, rate: Spread | None, latency: Spread | None) -> Comparison:
    beside_it = Column(peer, (), 1.0, 1.0, (), False, rate, latency)
    return Comparison(shape, 1, 1, 300, 1.0, 0.0, (), 1.0, 1.0, (beside_it,))


@pytest.mark.parametrize(
    ("median", "verdict"), [(3.0, "goal"), (2.99, "floor"), (1.5, "floor"), (1.49, "missed")]
)
def test_a_rate_has_to_be_at_least_the_floor(median: float, verdict: str) -> None:
    measured = compared("16x16", "nats", Spread(median, 0.1, 9.0), None)

    (seen,) = judge([measured], [Floor("16x16", "nats", "rate", 1.5, 3.0)])

    assert seen.verdict == verdict


@pytest.mark.parametrize(
    ("median", "verdict"), [(1.2, "goal"), (1.21, "floor"), (2.5, "floor"), (2.51, "missed")]
)
def test_a_latency_has_to_be_at_most_the_floor(median: float, verdict: str) -> None:
    measured = compared("1x1", "nats", Spread(9.0, 9.0, 9.0), Spread(median, 0.1, 9.0))

    (seen,) = judge([measured], [Floor("1x1", "nats", "latency", 2.5, 1.2)])

    assert seen.verdict == verdict


def test_what_was_not_measured_is_neither_held_nor_missed() -> None:
    floors = [Floor("16x16", "nats", "rate", 1.5, 3.0), Floor("1x1", "nats", "rate", 1.5, 3.0)]

    seen = judge([compared("16x16", "nats", None, None)], floors)

    assert [one.verdict for one in seen] == ["no ratio", "not measured"]


def test_what_is_asked_is_measured_when_nothing_is_chosen() -> None:
    shapes = {
        f"{pairs}x{in_flight}" + ("+5ms" if late else ""): late
        for pairs, in_flight, late in chosen_shapes(DEFAULT_SHAPES)
    }
    for asked in FLOORS:
        assert asked.peer in DEFAULT
        assert asked.shape in shapes
        assert PEERS[asked.peer].is_asked_late or not shapes[asked.shape]


def test_a_peer_that_does_not_sync_says_so_in_its_name_and_its_promise() -> None:
    for peer in PEERS.values():
        assert peer.is_synced == ("not synced" not in peer.title)
        assert peer.is_synced == ("NOT synced" not in peer.ack_promises)


def test_every_peer_says_what_there_is_beyond_its_ack() -> None:
    for peer in PEERS.values():
        assert all(msgspec.structs.astuple(peer.beyond))
        assert (peer.own_benchmark is None) == peer.own_benchmark_is.startswith("none")


def test_only_peers_that_sync_are_asked_to_sync_late() -> None:
    assert {peer.name for peer in PEERS.values() if peer.is_asked_late} == {"nats", "redis"}


def test_shapes_and_peers_are_chosen_by_name() -> None:
    assert chosen_shapes("16x16, 1000x1,4x2+5ms") == [(16, 16, 0), (1_000, 1, 0), (4, 2, 5)]
    assert [peer.name for peer in chosen_peers("redis, nats")] == ["redis", "nats"]


@pytest.mark.parametrize(
    "shapes", ["", "16", "0x1", "16x", "-1x1", "16x16x1", "16x16+ms", "16x16+0ms", "16x16+5"]
)
def test_what_is_no_shape_is_refused(shapes: str) -> None:
    with pytest.raises(ChoiceError):
        chosen_shapes(shapes)


def test_an_unknown_peer_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert beside_peers(peers="carrier-pigeon") == 1
    assert "the peers are nats" in capsys.readouterr().err


def test_a_program_that_is_not_there_is_named_with_its_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(NotInstalledError, match="apt-get install redis-server"):
        program("redis-server")
    with pytest.raises(NotInstalledError, match="apt-get install prosody lua-dbi-sqlite3"):
        program("prosody", "prosody", "lua-dbi-sqlite3")


def test_the_figure_of_redis_benchmark_is_that_of_its_only_row() -> None:
    head = '"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms"\n'

    assert requests_per_second(f'{head}"XADD dm:__rand_int__ *","39745.63","1.2","0","1"\n') == (
        39_745.63
    )
    for printed in ("", head, f'{head}"a","fast","1","0","1"\n', f"{head}a,1\nb,2\n"):
        with pytest.raises(RunError):
            requests_per_second(printed)

"""Ratios and their spread, on made-up rounds; what is chosen; a peer that is not there."""

from __future__ import annotations

import pytest

from bench.peers.choice import PEERS
from bench.peers.command import ChoiceError, beside_peers, chosen_peers, chosen_shapes
from bench.peers.comparing import Round, column
from bench.peers.server import NotInstalledError, program


def round_with(acked_per_s: float, generator_cpu: float = 0.4) -> Round:
    return Round(acked_per_s, acked_per_s, 1.0, 2.0, 0.9, generator_cpu, 0)


def test_a_column_has_medians_and_the_ratio_of_each_round() -> None:
    ours = [round_with(90), round_with(300), round_with(100)]
    theirs = [round_with(100), round_with(100), round_with(200)]

    beside = column("redis", ours, theirs)

    assert beside.acked_per_s == 100
    assert (beside.ratio, beside.ratio_lowest, beside.ratio_highest) == (0.9, 0.5, 3.0)


@pytest.mark.parametrize(("ours", "theirs"), [(0.81, 0.4), (0.4, 0.81)])
def test_a_busy_generator_on_either_side_gives_no_ratio(ours: float, theirs: float) -> None:
    beside = column("redis", [round_with(90, ours)], [round_with(100, theirs)])

    assert beside.generator_bound
    assert beside.ratio is beside.ratio_lowest is beside.ratio_highest is None


def test_a_peer_that_does_not_sync_says_so_in_its_name_and_its_promise() -> None:
    for peer in PEERS.values():
        assert peer.is_synced == ("not synced" not in peer.title)
        assert peer.is_synced == ("NOT synced" not in peer.ack_promises)
        assert peer.does_not


def test_shapes_and_peers_are_chosen_by_name() -> None:
    assert chosen_shapes("16x16, 1000x1") == [(16, 16), (1_000, 1)]
    assert [peer.name for peer in chosen_peers("redis, nats")] == ["redis", "nats"]


@pytest.mark.parametrize("shapes", ["", "16", "0x1", "16x", "-1x1", "16x16x1"])
def test_what_is_no_shape_is_refused(shapes: str) -> None:
    with pytest.raises(ChoiceError):
        chosen_shapes(shapes)


def test_an_unknown_peer_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert beside_peers(peers="carrier-pigeon") == 1
    assert "the peers are nats" in capsys.readouterr().err


def test_a_program_that_is_not_there_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(NotInstalledError, match="apt-get install redis-server"):
        program("redis-server", "redis-server")

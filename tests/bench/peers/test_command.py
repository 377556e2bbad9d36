"""What the command tells and leaves, with made-up measurements; a shape that cannot be measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from bench.pages.result import read_result
from bench.peers import command
from bench.peers.choice import PEERS, Peer
from bench.peers.comparing import Beside, Comparison, Round, column, name_of
from bench.peers.server import Server
from bench.run import RunError
from bench.shape import Shape


def made_up(shape: Shape, peers: Sequence[Peer], *, ours: float, lost: int = 0) -> Comparison:
    relay = [Round(ours, ours, 1.0, 2.0, 0.9, 0.4, lost)]
    theirs = [Beside(Round(100.0, 100.0, 1.0, 2.0, 0.9, 0.4, 0), 7_654.0)]
    columns = tuple(column(peer.name, relay, theirs) for peer in peers)
    return Comparison(
        name_of(shape), shape.pairs, shape.in_flight, 300, 1.0, shape.sync_delay_ms,
        tuple(relay), ours, 1.0, columns,
    )  # fmt: skip


def left(out: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(bytes(read_result(out / "result.json").report))
    return report


@pytest.fixture(autouse=True)
def nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    peers = {
        name: peer._replace(serve=lambda *_: nullcontext(Server("", 0)))
        for name, peer in PEERS.items()
    }
    monkeypatch.setattr(command, "PEERS", peers)
    monkeypatch.setattr(command, "program", lambda name: name)


def measuring(monkeypatch: pytest.MonkeyPatch, ours: float, lost: int = 0) -> None:
    def compare(shape: Shape, peers: Sequence[Peer], **_: object) -> Comparison:
        if shape.pairs == 13:
            raise RunError("Prosody: a connection was lost")
        return made_up(shape, peers, ours=ours, lost=lost)

    monkeypatch.setattr(command, "compare", compare)


@pytest.mark.parametrize(("ours", "lost", "code"), [(150, 0, 0), (149, 0, 1), (150, 1, 1)])
def test_it_ends_with_1_where_a_floor_is_missed_or_a_message_lost(
    monkeypatch: pytest.MonkeyPatch, ours: float, lost: int, code: int
) -> None:
    measuring(monkeypatch, ours, lost)

    assert command.beside_peers(peers="nats", shapes="16x16") == code


def test_the_table_has_every_figure_and_what_each_ack_is_worth(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measuring(monkeypatch, 250)

    command.beside_peers(peers="nats,prosody-unsynced", shapes="16x16,1x1")

    printed = capsys.readouterr().out
    for told in (
        "2.50 (2.50 … 2.50)",
        "7,654",
        "nats-server",
        "Prosody, not synced",
        "≥ 1.5",
        "≤ 2.5",
        "missed",
        "NOT synced",
        "idempotency: none: a repeated message is archived again",
    ):
        assert told in printed


def test_late_syncs_are_asked_of_those_peers_alone_that_are_to_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measuring(monkeypatch, 250)

    command.beside_peers(peers="nats,redis-unsynced,prosody", shapes="4x4+5ms", out=tmp_path)

    (late,) = left(tmp_path)["comparisons"]
    assert late["sync_delay_ms"] == 5
    assert [one["peer"] for one in late["columns"]] == ["nats"]


def test_what_is_left_names_the_command_and_has_the_verdict_on_a_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measuring(monkeypatch, 149)

    command.beside_peers(peers="nats", shapes="16x16", own_benchmarks=False, out=tmp_path)

    result = read_result(tmp_path / "result.json")
    assert result.kind == "peers"
    assert result.command.startswith("python -m bench.peers --peers nats --shapes 16x16 --rounds")
    assert result.command.endswith("--nats-streams 16 --no-own-benchmarks")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for told in ("1.49 × · 1.49 … 1.49", "at least 1.5 ×", "missed", "Not every run was good"):
        assert told in page


def test_a_directory_that_cannot_be_had_is_known_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "compare", lambda *_, **__: pytest.fail("it was measured"))
    (tmp_path / "file").touch()

    assert command.beside_peers(shapes="16x16", out=tmp_path / "file" / "out") == 1

    assert "The result cannot be written" in capsys.readouterr().err


def test_what_was_measured_before_a_failure_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measuring(monkeypatch, 250)

    code = command.beside_peers(peers="prosody", shapes="2x2,13x1,3x3", out=tmp_path, json=True)

    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert code == 1
    assert [one["shape"] for one in result["comparisons"]] == ["2x2"]
    assert result["failure"] == "13x1: Prosody: a connection was lost"
    assert "There is no more: 13x1: Prosody" in printed.err
    assert left(tmp_path) == result


def test_without_any_measurement_there_is_no_comparison(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measuring(monkeypatch, 250)

    assert command.beside_peers(peers="prosody", shapes="13x1") == 1

    printed = capsys.readouterr()
    assert printed.out == ""
    assert "There is no comparison: 13x1: Prosody: a connection was lost." in printed.err

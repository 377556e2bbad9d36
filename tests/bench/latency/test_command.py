"""What the command prints of a sweep, and how it ends."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
from msgspec.structs import replace

from bench.offered.sweep import SHARES, LatencyReport, Wish, _Relay, measure_latency
from relay.cli import run
from relay.exits import ExitCode
from tests.bench.pages.made_up import run as load_run
from tests.bench.pages.made_up import sweep

NOBODY = _Relay("", (), None, None)


def told(
    report: LatencyReport,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    *words: str,
) -> tuple[int, str]:
    monkeypatch.setattr("bench.offered.command.measure_latency", lambda _: report)
    code = run(["bench", "latency", *words])
    return code, capfd.readouterr().out


def test_a_table_tells_every_load_with_its_spread(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code, text = told(sweep(), monkeypatch, capfd)

    assert code == ExitCode.OK
    figures, spreads = (line.replace("│", " ").split() for line in text.splitlines()[4:6])
    assert figures[:2] == ["100", "105"]
    assert " ".join(spreads).startswith("100 … 110")
    assert "Every promise kept." in text


def test_a_message_that_was_never_acked_is_exit_code_1_and_left_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, text = told(sweep(load_run(100.0, unacked=1)), monkeypatch, capfd, "--out", str(out))

    assert code == ExitCode.FAILED
    assert "Not every promise was kept." in text
    assert "Never acked: 1." in (out / "report.html").read_text()


def test_a_load_whose_generator_was_busy_has_a_mark(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    busy = replace(load_run(100.0), generator_cpu=0.81)

    _, text = told(sweep(busy), monkeypatch, capfd)

    assert "100 *" in text
    assert "200 *" not in text


@pytest.mark.parametrize(
    "words,shares", [((), SHARES), (("--loads", "50"), (0.5,)), (("--loads", "5,120"), (0.05, 1.2))]
)
def test_loads_are_shares_of_what_the_relay_can_do(
    words: tuple[str, ...], shares: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    offered: list[float] = []

    def measure(wish: Wish) -> LatencyReport:
        offered.extend(one.rate_per_s for one in measure_latency(wish).loads)
        return sweep()

    monkeypatch.setattr("bench.offered.command.measure_latency", measure)
    monkeypatch.setattr("bench.offered.sweep.saturation_of", lambda *_: 1_000.0)
    monkeypatch.setattr("bench.offered.sweep._relay", lambda _: nullcontext(NOBODY))
    monkeypatch.setattr("bench.offered.sweep._run", lambda _, rate, *rest: load_run(rate))

    assert run(["bench", "latency", *words]) == ExitCode.OK
    assert offered == [1_000.0 * share for share in shares]


@pytest.mark.parametrize("words", [("--loads", "50,x"), ("--loads", "50", "--rate", "100")])
def test_loads_that_cannot_be_are_said_so(
    words: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", "latency", *words]) == ExitCode.USAGE
    assert "--loads" in capfd.readouterr().err


def test_json_is_the_report(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code, text = told(sweep(), monkeypatch, capfd, "--json")

    assert code == ExitCode.OK
    assert [load["rate_per_s"] for load in json.loads(text)["loads"]] == [100.0, 200.0]

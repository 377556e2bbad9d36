"""The ordering benchmark, run as people run it, against relays as people run them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

import bench.cli
from bench.checker.loading import load
from bench.checker.order import Order
from bench.latency import Latencies
from bench.ordering import load_own_relay
from bench.runs import together
from bench.shape import Shape
from bench.spread import Spread
from tests.bench.checker.tale import Tale
from tests.bench.made_up import CHECKED, ordering_report
from tests.wire.relay_process import PROGRAM, REPOSITORY, RelayProcess

SHORT = ("--seconds", "0.5", "--warm-up", "0.1", "--size", "64", "--json")


def ordering(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, "bench", "ordering", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def report_of(finished: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def kept(report: dict[str, Any]) -> set[str]:
    verdicts = report["checker"]["verdicts"]
    assert not [one for one in verdicts if one["verdict"] == "violated"]
    return {one["invariant"] for one in verdicts if one["verdict"] == "ok"}


def test_it_loads_a_relay_of_its_own_and_finds_its_order_unbroken() -> None:
    finished = ordering("--pairs", "3", "--in-flight", "4", *SHORT)
    report = report_of(finished)

    assert "limits lifted" in finished.stderr
    assert report["acked_per_s"] > 0
    assert report["delivered_per_s"] > 0
    for latency in (report["ack_ms"], report["delivery_ms"]):
        assert 0 < latency["p50"] <= latency["p99"] <= latency["p999"]
    # Each message is checked at both of its receivers.
    assert report["order"]["checked"] >= 2 * 0.5 * report["acked_per_s"]
    faults = {name: count for name, count in report["order"].items() if name != "checked"}
    assert faults == {"gaps": 0, "duplicates": 0, "reordered": 0, "chain_breaks": 0}
    assert (report["unanswered"], report["undelivered"], report["rate_limited"]) == (0, 0, 0)
    assert kept(report) >= {"I1", "I2", "I3", "I4", "I6", "I7", "I8", "I9", "I10", "I12", "I14"}
    assert report["relay_cpu"] > 0


def test_its_history_is_kept_and_judged_again_by_hand(tmp_path: Path) -> None:
    history = tmp_path / "history"
    report = report_of(
        ordering("--pairs", "2", "--in-flight", "2", *SHORT, "--history", str(history))
    )
    judged = subprocess.run(
        [*PROGRAM, "check", str(history), "--json"],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert judged.returncode == 0
    assert json.loads(judged.stdout) == report["checker"]


class Expected(NamedTuple):
    """What a history of a shape shows: how many there are of each."""

    users: int
    conversations: range
    connections: int
    """Of the load; each user's inbox is read once more on another."""
    subprotocol: str = "ksmpv3.msgpack"


SHAPES = {
    "--shape hot --pairs 2": Expected(2, range(1, 2), 4),
    "--shape hub --pairs 6": Expected(7, range(6, 7), 7),
    "--shape zipf --pairs 3 --conversations 1000": Expected(6, range(10, 1_001), 6),
    "--pairs 2 --codec json": Expected(4, range(2, 3), 4, "ksmpv3.json"),
    "--pairs 2 --sync-delay-ms 30": Expected(4, range(2, 3), 4),
}


@pytest.mark.parametrize("words", SHAPES)
def test_every_shape_is_loaded_and_judged(words: str, tmp_path: Path) -> None:
    history = tmp_path / "history"
    expected = SHAPES[words]
    report = report_of(
        ordering("--in-flight", "3", *SHORT, *words.split(), "--history", str(history))
    )
    story = load(history)

    assert report["acked_per_s"] > 0
    assert report["messages_per_commit"] >= 1
    assert (report["unanswered"], report["undelivered"], report["retried"]) == (0, 0, 0)
    assert kept(report) >= {"I1", "I2", "I3", "I4", "I6", "I7", "I8", "I9", "I10", "I12", "I14"}
    assert len(story.users) == expected.users
    assert len(story.conversations) in expected.conversations
    assert len(story.connections) == expected.connections + expected.users
    assert {one.subprotocol for one in story.connections} == {expected.subprotocol}
    assert all(one.rows for one in story.connections)
    assert len(set(story.offers.sender)) == expected.users
    if report["sync_delay_ms"]:
        # No ack is there before its commit has been held up.
        assert report["ack_ms"]["p50"] >= report["sync_delay_ms"]


def test_of_several_runs_the_medians_are_told_and_every_run() -> None:
    report = report_of(ordering("--pairs", "2", "--in-flight", "2", "--runs", "2", *SHORT))

    rates = [one["acked_per_s"] for one in report["runs"]]
    assert len(rates) == 2
    assert report["acked_per_s"] == min(rates)
    assert report["medians"]["acked_per_s"] == {
        "median": pytest.approx(sum(rates) / 2, abs=0.002),
        "lowest": min(rates),
        "highest": max(rates),
    }
    for one in report["runs"]:
        kept(one)
        assert set(report) - set(one) == {"runs", "medians"}


def test_a_person_who_waits_for_a_verdict_sees_a_bar(tmp_path: Path) -> None:
    history = tmp_path / "history"
    Tale(history, 1).tell(120)
    ours, theirs = pty.openpty()
    with open(ours, "rb", closefd=True, buffering=0) as screen:
        judged = subprocess.run(
            [*PROGRAM, "check", str(history)],
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY), "TERM": "xterm"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
            timeout=60,
            check=False,
        )
        seen = screen.read(1 << 16)
        os.close(theirs)

    assert judged.returncode == 0
    assert b"judging what was seen" in seen


def test_a_load_that_is_only_compared_is_not_recorded() -> None:
    run = load_own_relay(Shape(2, 2, 64, 2.0, 0.1))  # a busy disk takes no ack in a short one

    assert run.measured.acked_per_s > 0
    assert (run.measured.unanswered, run.measured.undelivered) == (0, 0)


def test_a_relay_that_runs_already_is_measured_within_its_limits(tmp_path: Path) -> None:
    limits = {"KSMP_LIMITS__SENDS_PER_SECOND": "50", "KSMP_LIMITS__SENDS_BURST": "5"}
    users = ["a", "b", "c", "d"]
    with RelayProcess(tmp_path, limits) as relay:
        tokens = tmp_path / "tokens"
        tokens.write_text("\n".join(relay.tokens(users)))
        address = ("--url", relay.url, "--tokens", str(tokens))
        first = report_of(ordering("--pairs", "2", "--in-flight", "8", *SHORT, *address))
        again = report_of(ordering("--pairs", "2", "--in-flight", "1", *SHORT, *address))

    assert first["rate_limited"] > 0
    assert "I18" in kept(first)
    for report in (first, again):
        assert report["unanswered"] == 0
        assert report["order"]["checked"] > 0
        assert sum(report["order"].values()) == report["order"]["checked"]


@pytest.mark.parametrize(
    "arguments,code,said",
    [
        (("--url", "ws://127.0.0.1:1"), 2, "belong together"),
        (("--url", "ws://127.0.0.1:1", "--tokens", "{tokens}", "--pairs", "2"), 1, "4 tokens"),
        (("--url", "ws://127.0.0.1:1", "--tokens", "{tokens}", "--pairs", "1"), 1, "not a token"),
        (("--pairs", "0"), 2, "--pairs"),
        (
            ("--shape", "hub", "--url", "ws://x", "--tokens", "{tokens}", "--pairs", "2"),
            1,
            "3 tokens",
        ),
        (("--url", "ws://x", "--tokens", "{tokens}", "--runs", "2"), 2, "--runs"),
        (("--url", "ws://x", "--tokens", "{tokens}", "--sync-delay-ms", "5"), 2, "--sync-delay-ms"),
        (("--runs", "2", "--history", "kept"), 2, "--history"),
        (("--size", "300000"), 1, "262,144 bytes"),
        (("--shape", "hot", "--pairs", "8", "--size", "65536"), 1, "mailbox has room"),
    ],
)
def test_what_cannot_be_measured_is_said_in_words(
    arguments: tuple[str, ...], code: int, said: str, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("one\nother\n")

    finished = ordering(*(argument.format(tokens=tokens) for argument in arguments))

    assert (finished.returncode, finished.stdout) == (code, "")
    assert said in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    "order,code",
    [
        (Order(checked=9), 0),
        (Order(), 1),
        (Order(checked=9, gaps=1), 1),
        (Order(checked=9, duplicates=1), 1),
        (Order(checked=9, reordered=1), 1),
        (Order(checked=9, chain_breaks=1), 1),
    ],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_the_exit_code_is_the_verdict_on_order(
    order: Order,
    code: int,
    as_json: bool,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    made = msgspec.structs.replace(
        ordering_report(9.0, generator_bound=True),
        order=order,
        checker=CHECKED if order.violations == 0 else msgspec.structs.replace(CHECKED, ok=False),
    )
    monkeypatch.setattr(bench.cli, "measure_own_relay", lambda shape, history: made)

    assert bench.cli.ordering(json=as_json) == code

    printed = capfdbinary.readouterr().out
    if as_json:
        assert json.loads(printed)["order"]["gaps"] == order.gaps
    else:
        assert b"80%" in printed


def test_the_runs_are_good_only_if_each_is_and_the_middle_one_speaks_for_them() -> None:
    runs = [ordering_report(300.0), ordering_report(100.0, is_good=False), ordering_report(200.0)]

    told = together(runs)

    assert not told.is_good
    assert told.acked_per_s == 200.0
    assert told.medians.acked_per_s == Spread(200.0, 100.0, 300.0)
    assert told.medians.relay_cpu is None
    assert together(runs[::2]).is_good


def test_percentiles_are_those_of_what_was_recorded() -> None:
    latencies = Latencies()
    for milliseconds in range(1, 1_001):
        latencies.record(milliseconds / 1_000)

    measured = latencies.percentiles()

    assert measured.p50 == pytest.approx(500, rel=0.002)
    assert measured.p99 == pytest.approx(990, rel=0.002)
    assert measured.p999 == pytest.approx(999, rel=0.002)

"""The benchmark of idle connections, run as people run it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import bench.idle_command
from bench.idle import SECONDS, IdleReport, Window, keepalive_seconds, resident_kib
from bench.idle_plan import IdlePlan
from bench.plan import encode
from bench.run import RunError, generator
from relay.config import LimitsConfig
from tests.wire.clients import connected_in_thread
from tests.wire.relay_process import PROGRAM, REPOSITORY, RelayProcess


def idle(
    *arguments: str, preparing: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, "bench", "idle", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        preexec_fn=preparing,
    )


def test_connections_stay_through_rounds_of_pings_and_their_memory_is_told() -> None:
    finished = idle("--connections", "200", "--seconds", "6", "--json")
    assert finished.returncode == 0, finished.stderr
    report = json.loads(finished.stdout)

    assert "limits lifted" in finished.stderr
    assert (report["connections"], report["still_connected"]) == (200, 200)
    assert report["keepalive_rounds"] >= 2
    assert report["handshakes_per_s"] > 0
    window = report["window"]
    assert window["seconds"] >= 2 * report["keepalive_seconds"]
    assert window["pings"] >= 200  # whoever is pinged every two seconds is so once in four
    assert 0 < window["relay_cpu"] < 2
    grown = report["relay_rss_after_kib"] - report["relay_rss_before_kib"]
    assert report["kib_per_connection"] == pytest.approx(grown / 200, abs=0.01)
    assert 1 < report["kib_per_connection"] < 100


def ended_with(generator_lines: list[bytes]) -> dict[str, object]:
    ended = msgspec.json.decode(generator_lines[-1], type=dict)
    return {name: ended[name] for name in ended if name not in ("fewest_pings", "pings")}


def test_a_connection_that_the_relay_has_dropped_is_not_counted(tmp_path: Path) -> None:
    with RelayProcess(tmp_path) as relay:
        a, b, c = relay.tokens(["a", "b", "c"])
        with generator("bench.idlers", IdlePlan(relay.url, (a, b, c), 5.0)) as lines:
            while b"opened" not in next(iter(lines)):
                pass
            with connected_in_thread(relay.url, b):  # in the place of the idle one
                said = list(lines)

    assert ended_with(said) == {"type": "waited", "still_connected": 2}


def test_a_relay_that_refuses_a_connection_ends_the_run(tmp_path: Path) -> None:
    with RelayProcess(tmp_path, {"KSMP_LIMITS__CONNECTIONS": "1"}) as relay:
        tokens = tuple(relay.tokens(["a", "b"]))
        with generator("bench.idlers", IdlePlan(relay.url, tokens, 0.5)) as lines:
            said = list(lines)

    reason = "the relay refused the handshake: 503 overloaded"
    assert ended_with(said) == {"type": "refused", "reason": reason}


def test_a_descriptor_limit_that_is_too_low_is_said_in_words() -> None:
    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    finished = idle("--connections", "200", "--seconds", "1", preparing=lower)

    assert (finished.returncode, finished.stdout) == (1, "")
    assert "200 connections need 300 file descriptors" in finished.stderr
    assert "is 256" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_low_soft_limit_is_raised() -> None:
    def lower() -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))

    finished = idle("--connections", "100", "--seconds", "3", "--json", preparing=lower)

    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["still_connected"] == 100


@pytest.mark.parametrize(
    "still_connected,rounds,code", [(9, 2, 0), (8, 2, 1), (9, 1, 1), (0, 0, 1)]
)
@pytest.mark.parametrize("as_json", [True, False])
def test_the_exit_code_says_whether_all_stayed(
    still_connected: int,
    rounds: int,
    code: int,
    as_json: bool,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    report = IdleReport(
        connections=9,
        still_connected=still_connected,
        seconds=6.0,
        keepalive_seconds=2.0,
        keepalive_rounds=rounds,
        relay_rss_before_kib=1_000,
        relay_rss_after_kib=1_090,
        kib_per_connection=10.0,
        handshakes_per_s=500.0,
        window=Window(4.0, 18, 0.0123),
    )
    monkeypatch.setattr(bench.idle_command, "measure_idle", lambda connections, seconds: report)

    assert bench.idle_command.idle(json=as_json) == code

    printed = capfdbinary.readouterr().out
    if as_json:
        assert json.loads(printed)["still_connected"] == still_connected
    else:
        assert b"10.0 KiB" in printed
        assert b"1.2% of a core, over 4 s, in which 18 pings were answered" in printed
        assert b"shortened to fit the time: a relay's is 30 s" in printed
        assert (b"Lost" in printed) == (still_connected < 9)


def test_what_a_connection_costs_to_open_and_its_first_pings_are_not_in_the_window(
    tmp_path: Path,
) -> None:
    with RelayProcess(tmp_path, {"KSMP_LIMITS__KEEPALIVE_SECONDS": "0.2"}) as relay:
        (token,) = relay.tokens(["a"])
        with generator("bench.idlers", IdlePlan(relay.url, (token,), 1.0, 2.0)) as lines:
            said = [msgspec.json.decode(line, type=dict) for line in lines]

    told = [one.get("step", one["type"]) for one in said]
    assert list(dict.fromkeys(told)) == [
        "opened",
        "settling",
        "started",
        "idle",
        "stopped",
        "waited",
    ]
    assert 0 < said[-1]["pings"] < said[-1]["fewest_pings"]


def test_the_relay_keeps_its_own_keep_alive_where_nobody_says_how_long_to_wait() -> None:
    assert keepalive_seconds(SECONDS) == LimitsConfig().keepalive_seconds


@pytest.mark.parametrize("seconds", [1, 6, 45, 3_600])
def test_the_wait_is_long_enough_for_two_pings_and_then_some(seconds: float) -> None:
    keepalive = keepalive_seconds(seconds)

    assert 0 < keepalive <= 30
    assert seconds >= 2.9 * keepalive


def test_the_memory_of_a_process_that_is_gone_cannot_be_read() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()

    assert resident_kib(os.getpid()) > 1_000
    with pytest.raises(RunError, match="cannot be read"):
        resident_kib(gone.pid)


def test_tokens_are_handed_over_where_only_the_generator_can_read_them() -> None:
    plan = IdlePlan("ws://127.0.0.1:9/ksmp/v3", ("secret-token",), 1.0)
    with generator("bench.idlers", plan) as lines:
        (refused,) = list(lines)

    assert b"secret-token" in encode(plan)
    assert b"secret-token" not in refused
    assert b"cannot connect" in refused

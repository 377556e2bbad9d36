"""What happened in the relay comes out of its log, on the clock of the experiment."""

from __future__ import annotations

import json
from pathlib import Path

from bench.isolation.moments import moments_of
from bench.isolation.timeline import Moment

BEGAN_WALL_MS = 1_790_000_000_000.0  # 2026-09-21T14:13:20Z


def log_of(path: Path, *lines: dict[str, object] | str) -> Path:
    path.write_text(
        "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    )
    return path


def line(at_s: float, event: str, **fields: object) -> dict[str, object]:
    time = f"2026-09-21T14:13:{20 + at_s:06.3f}Z"
    return {"time": time, "level": "info", "event": event, **fields}


def test_each_happening_has_its_word_and_its_time(tmp_path: Path) -> None:
    log = log_of(
        tmp_path / "log",
        line(1.5, "actor.failed", kind="conversation", actor="a", error="Boom", at="x.py:1 f"),
        line(2.0, "actor.quarantined", kind="conversation", actor="a", seconds=1.0, times=1),
        line(3.0, "letter.dead", conversation="a", kind="SendLetter"),
        line(4.0, "connection.closed", connection="c", user="u", code=4410, records=1),
        line(5.0, "connection.closed", connection="c", user="u", code=4429, records=1),
        line(6.0, "storage.failed", error="Boom", at="x.py:1 f"),
    )

    assert moments_of(log, BEGAN_WALL_MS) == [
        Moment(1.5, "failed"),
        Moment(2.0, "quarantined"),
        Moment(3.0, "dead letter"),
        Moment(4.0, "cut off"),
        Moment(5.0, "cut off"),
        Moment(6.0, "stopped"),
    ]


def test_a_restart_took_from_the_failure_of_the_same_actor(tmp_path: Path) -> None:
    log = log_of(
        tmp_path / "log",
        line(1.0, "actor.failed", kind="conversation", actor="a"),
        line(1.1, "actor.failed", kind="conversation", actor="b"),
        line(1.15, "actor.restarted", kind="conversation", actor="b", failures=1),
        line(1.2, "actor.restarted", kind="conversation", actor="a", failures=1),
    )
    took = [one.took_ms for one in moments_of(log, BEGAN_WALL_MS) if one.what == "restarted"]

    assert took == [50.0, 200.0]


def test_a_relay_that_ended_unasked_has_stopped_when_it_wrote_its_last_line(tmp_path: Path) -> None:
    fell = log_of(
        tmp_path / "fell",
        line(-3.0, "relay.ready", host="127.0.0.1", port=1),
        line(2.0, "connection.closed", connection="c", user="u", code=1011, records=1),
        "ksmp-relay failed, by a fault of its own",
    )
    asked = log_of(
        tmp_path / "asked",
        line(-3.0, "relay.ready", host="127.0.0.1", port=1),
        line(2.0, "relay.draining", connections=0, seconds=10.0),
        line(2.1, "relay.stopped", code=0),
    )

    assert moments_of(fell, BEGAN_WALL_MS) == [Moment(2.0, "stopped")]
    assert moments_of(asked, BEGAN_WALL_MS) == []


def test_what_was_before_the_baseline_or_befell_no_victim_is_passed_over(tmp_path: Path) -> None:
    log = log_of(
        tmp_path / "log",
        "Some warning of the interpreter",
        line(-0.5, "actor.failed", kind="conversation", actor="a"),
        line(1.0, "actor.failed", kind="alarms", actor=None),
        line(2.0, "connection.closed", connection="c", user="u", code=1000, records=1),
        line(3.0, "connection.refused", code="rate_limited"),
        "{not JSON",
    )

    assert moments_of(log, BEGAN_WALL_MS) == []


def test_what_a_crash_loop_was_not_allowed_to_log_is_counted_and_measured_by_nobody(
    tmp_path: Path,
) -> None:
    log = log_of(
        tmp_path / "log",
        line(1.0, "actor.failed", kind="conversation", actor="a"),
        line(1.9, "log.thinned", code="actor.failed", lines=2),
        line(1.9, "log.thinned", code="actor.restarted", lines=3),
        line(1.9, "log.thinned", code="actor.quarantined", lines=1),
        line(1.9, "log.thinned", code="letter.dead", lines=1),
        line(1.9, "log.thinned", code="connection.failed", lines=9),
        line(2.0, "actor.restarted", kind="conversation", actor="a", failures=4),
    )

    assert moments_of(log, BEGAN_WALL_MS) == [
        Moment(1.0, "failed"),
        *[Moment(1.9, "failed")] * 2,
        *[Moment(1.9, "restarted")] * 3,
        Moment(1.9, "quarantined"),
        Moment(1.9, "dead letter"),
        Moment(2.0, "restarted"),
    ]

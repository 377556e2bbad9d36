"""What is no history, or only part of one, is told apart from a bad relay."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest

from bench.checker.check import check
from bench.checker.reading import HistoryError
from bench.history import Recorder
from relay.cli import run
from tests.bench.checker.planted_streams import SkipsAFrame
from tests.bench.checker.tale import Tale

HEADER = {
    "history": 1,
    "relay": "0",
    "seed": None,
    "configuration": {},
    "clock": "monotonic",
    "wall_began_ms": 0,
}
USER = ["user", 0, "ann"]
LINE = ["connected", 5, 0, 0, "d", "ksmpv3.json", "e", 0]
TALK = ["conversation", 0, "t", 0, 0]
CONTENT = ["content", 0, "00" * 32]


def packed(*items: object) -> bytes:
    return b"".join(map(msgpack.packb, items))


def lines(*items: object) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


@pytest.mark.parametrize("write", [packed, lines])
@pytest.mark.parametrize(
    "records",
    [
        [["sent", 0]],
        [[]],
        [{"type": "user"}],
        [["user", 1, "ann"]],
        [["user", 0]],
        [["user", 0, 7]],
        [["connected", 5, 0, 0, "d", "ksmpv3.json", "e", 0]],
        [USER, LINE, ["resumed", 1, 0, 0]],
        [USER, LINE, ["in", 1, 0, [[1, 0, 0, 1, 0, 0, 0, 0]]]],
        [USER, LINE, ["ok", 1, 0, 1, 0, 0, 0]],
        [USER, LINE, TALK, CONTENT, ["send", 1, 0, 1, 0, 0, 0, "m"]],
        [USER, LINE, TALK, CONTENT, ["send", 1, 0, 0, 0, 0, -1, "m"]],
        [USER, LINE, TALK, CONTENT, ["send", -1, 0, 0, 0, 0, 0, "m"]],
        [USER, LINE, TALK, ["content", 0, "00"]],
        [["over", 1.5]],
    ],
)
def test_records_that_make_no_sense_are_no_history(
    write: Callable[..., bytes], records: list[object], tmp_path: Path
) -> None:
    path = tmp_path / "history"
    path.write_bytes(write(HEADER, *records))

    with pytest.raises(HistoryError, match=r"record|line"):
        check(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"{}\n",
        b"\xc1",
        packed([1]),
        packed(HEADER | {"history": 2}),
        lines(HEADER | {"history": 2}),
        packed(HEADER) + b"\xdd\xff\xff\xff\xff",
        packed(HEADER, USER)[:-1],
        lines(HEADER, USER)[:-3],
    ],
)
def test_other_files_are_no_history(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_bytes(content)

    with pytest.raises(HistoryError):
        check(path)


def test_a_recording_that_did_not_end_is_no_good_verdict(tmp_path: Path) -> None:
    path = tmp_path / "history"
    with pytest.raises(ZeroDivisionError), Recorder(path, relay="0") as recorder:
        recorder.user("ann")
        raise ZeroDivisionError

    report = check(path)

    assert (report.whole, report.ok, report.records) == (False, False, 1)


def test_a_history_in_which_nothing_happened_is_no_good_verdict(tmp_path: Path) -> None:
    path = tmp_path / "history"
    with Recorder(path, relay="0"):
        pass

    report = check(path)

    assert (report.whole, report.ok) == (True, False)
    assert {one.verdict for one in report.verdicts} == {"not exercised"}


def test_the_command_tells_a_good_history_from_a_bad_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad.jsonl"
    Tale(good, 1).tell(120)
    SkipsAFrame(bad, 1).tell(120)

    assert run(["check", str(good)]) == 0
    assert "Nothing contradicts the promises." in capfd.readouterr().out
    assert run(["check", str(bad)]) == 1
    printed = capfd.readouterr().out
    assert "I9 is violated, once." in printed
    assert "is sent frame" in printed
    assert run(["check", str(bad), "--json"]) == 1
    verdicts = json.loads(capfd.readouterr().out)["verdicts"]
    assert [one["invariant"] for one in verdicts if one["verdict"] == "violated"] == ["I9"]


def test_the_command_says_where_a_file_is_no_history(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(lines(HEADER, USER, ["nothing", 1]))

    assert run(["check", str(path)]) == 1
    told = capfd.readouterr().err
    assert "line 3" in told
    assert "Traceback" not in told

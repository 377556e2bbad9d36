"""What the relay logs, and that nothing else can get into a line."""

from __future__ import annotations

import ast
import errno
import io
import json
import logging
import os
import re
import sys
import threading
import timeit
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, TextIO

import pytest

from actors.failures import describe
from actors.telemetry import Field, Hashed, hashed, hashed_conversation
from ksmp.types import ConversationId, TimeMs, UserId, conversation_key
from relay.digests import HASH_KEY_BYTES, Digests
from relay.exits import ExitCode
from relay.log_events import EVENTS, Kind, fits
from relay.telemetry import (
    LineKind,
    StructuredTelemetry,
    UndeclaredLogFieldError,
    configure_logging,
    report_crashes,
)
from relay.thinning import LINES_PER_SECOND

ROOT: Final = Path(__file__).parents[2]
CANARY = "canary-7f3a"
NOON = TimeMs(1_700_000_000_123)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def process_wide_settings_are_restored() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    yield
    logging.captureWarnings(False)
    logging.raiseExceptions = True
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks


def telemetry_to(
    stream: TextIO, level: str = "debug", key: bytes = b"k", **options: object
) -> StructuredTelemetry:
    options = {"format": "json", "strict": False, "wall_clock": lambda: NOON} | options
    return configure_logging(
        level,  # type: ignore[arg-type]
        stream=stream,
        digest=Digests(key * HASH_KEY_BYTES).of,
        **options,  # type: ignore[arg-type]
    )


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_time_level_event_and_its_fields():
    stream = io.StringIO()

    telemetry_to(stream).info("relay.ready", host="::1", port=8765)

    assert stream.getvalue() == (
        '{"time":"2023-11-14T22:13:20.123Z","level":"info","event":"relay.ready",'
        '"host":"::1","port":8765}\n'
    )


def test_auto_is_json_unless_the_stream_is_a_terminal():
    terminal, file = Terminal(), io.StringIO()

    telemetry_to(terminal, format="auto").info("relay.ready", port=1)
    telemetry_to(file, format="auto").info("relay.ready", port=1)

    assert "relay.ready" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    assert lines(file)[0]["port"] == 1


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_nothing_below_the_level_is_written(level):
    stream = io.StringIO()
    telemetry = telemetry_to(stream, level)

    for severity in ("debug", "info", "warning", "error"):
        getattr(telemetry, severity)("bug", error="ValueError")

    order = ["debug", "info", "warning", "error"]
    assert [line["level"] for line in lines(stream)] == order[order.index(level) :]
    assert telemetry.is_debug is (level == "debug")


def test_another_level_counts_from_the_moment_it_is_adopted():
    stream = io.StringIO()
    telemetry = telemetry_to(stream, "warning")

    for level in ("debug", "error", "info"):
        telemetry.adopt(level)
        assert telemetry.is_debug is (level == "debug")
        for severity in ("debug", "info", "warning", "error"):
            getattr(telemetry, severity)("bug", error="ValueError")

    assert [line["level"] for line in lines(stream)] == [
        *("debug", "info", "warning", "error"),
        "error",
        *("info", "warning", "error"),
    ]


def test_an_undeclared_field_is_dropped_and_the_rest_is_written():
    stream = io.StringIO()

    telemetry_to(stream).info("relay.ready", port=1, ciphertext=CANARY)

    assert lines(stream)[0]["port"] == 1
    assert CANARY not in stream.getvalue()


def test_an_undeclared_event_is_not_written():
    stream = io.StringIO()

    telemetry_to(stream).info(CANARY, port=1)

    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ("relay.ready", {"ciphertext": 1}),
        ("relay.ready", {"port": "8765"}),
        ("relay.ready", {"port": True}),
        ("relay.ready", {"host": True}),
        ("relay.ready", {"host": "line\nbreak"}),
        ("connection.opened", {"user": "alice"}),
        ("event.refused", {"code": "what a client wrote"}),
        ("bug", {"at": "what a client wrote"}),
        ("relay.unknown", {}),
    ],
)
def test_what_is_not_declared_raises_in_tests(event, fields):
    stream = io.StringIO()

    with pytest.raises(UndeclaredLogFieldError):
        telemetry_to(stream, strict=True).info(event, **fields)

    assert stream.getvalue() == ""


def test_a_value_of_another_kind_than_declared_is_dropped_in_production():
    stream = io.StringIO()

    telemetry_to(stream).info("connection.closed", user=CANARY, records=2)

    assert lines(stream)[0]["records"] == 2
    assert CANARY not in stream.getvalue()


def test_identifiers_are_hashed_the_same_way_all_through_one_process_and_no_other():
    one, other = io.StringIO(), io.StringIO()
    telemetry = telemetry_to(one)

    telemetry.info("connection.opened", user=hashed("user", CANARY))
    telemetry.info("frame.delivered", user=hashed("user", CANARY))
    telemetry_to(other, key=b"K").info("connection.opened", user=hashed("user", CANARY))

    first, second, elsewhere = lines(one)[0]["user"], lines(one)[1]["user"], lines(other)[0]
    assert first == second
    assert elsewhere["user"] != first
    assert len(str(first)) == 12
    assert CANARY not in one.getvalue() + other.getvalue()


def test_different_identifiers_have_different_hashes():
    stream = io.StringIO()
    telemetry = telemetry_to(stream)
    a, b, c = UserId("a"), UserId("b"), UserId("c")
    different = [
        hashed("user", "a"),
        hashed("device", "a"),
        hashed("user", "b"),
        hashed_conversation(conversation_key(ConversationId("x"), a, b)),
        hashed_conversation(conversation_key(ConversationId("x"), a, c)),
        Hashed("conversation", ("xa", "b", "")),
        Hashed("conversation", ("x", "ab", "")),
    ]

    for value in different:
        telemetry.info("actor.started", actor=value)

    assert len({line["actor"] for line in lines(stream)}) == len(different)


def test_a_wrapped_identifier_does_not_show_in_its_representation():
    assert CANARY not in repr(hashed("user", CANARY)) + str(hashed("user", CANARY))


def test_what_libraries_log_is_a_line_without_their_text():
    stream = io.StringIO()
    telemetry_to(stream, strict=True)

    logging.getLogger("websockets.server").error("bad token %s", CANARY)
    logging.getLogger("trio").warning(CANARY)
    logging.getLogger("websockets.server").info(CANARY)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(CANARY, stacklevel=1)

    assert [line["library"] for line in lines(stream)] == [
        "websockets.server",
        "trio",
        "py.warnings",
    ]
    assert CANARY not in stream.getvalue()


def test_a_library_that_logs_nonsense_through_a_handler_of_its_own_prints_nothing(capsys):
    stream = io.StringIO()
    telemetry_to(stream)
    library = logging.getLogger("a_library")
    own = logging.StreamHandler(io.StringIO())
    library.addHandler(own)

    try:
        library.error("%d", CANARY)
    finally:
        library.removeHandler(own)

    assert len(lines(stream)) == 1
    assert CANARY not in stream.getvalue() + "".join(capsys.readouterr())


def test_an_uncaught_exception_is_its_type_and_place_alone(capsys):
    stream = io.StringIO()
    report_crashes(telemetry_to(stream, strict=True))

    group = ExceptionGroup(CANARY, [ValueError(CANARY), KeyError(CANARY)])
    sys.excepthook(type(group), group, None)

    (line,) = lines(stream)
    assert (line["event"], line["error"], line["errors"]) == ("relay.crashed", "ValueError", 2)
    assert CANARY not in stream.getvalue() + "".join(capsys.readouterr())


def test_an_exception_that_ends_a_thread_is_its_type_and_place_alone(capsys):
    stream = io.StringIO()
    report_crashes(telemetry_to(stream, strict=True))

    def fail() -> None:
        raise ValueError(CANARY)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()

    (line,) = lines(stream)
    assert line["error"] == "ValueError"
    assert str(line["at"]).endswith(" fail")
    assert CANARY not in stream.getvalue() + "".join(capsys.readouterr())


def test_a_line_that_cannot_be_written_is_counted_and_stops_nobody():
    class Full(io.StringIO):
        is_full = True

        def write(self, text: str) -> int:
            if self.is_full:
                raise BrokenPipeError
            return super().write(text)

    stream = Full()
    telemetry = telemetry_to(stream)
    telemetry.info("relay.ready", port=1)
    telemetry.info("relay.ready", port=2)
    stream.is_full = False

    telemetry.info("relay.ready", port=3)

    assert [(line["event"], line.get("lines")) for line in lines(stream)] == [
        ("log.lost", 2),
        ("relay.ready", None),
    ]


def test_a_pipe_that_nobody_reads_stops_nobody_and_what_it_missed_is_counted():
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as reader, open(writing, "w") as stream:
        telemetry = telemetry_to(stream, "info")
        for _ in range(5_000):  # several times what a pipe takes
            telemetry.info("relay.ready", port=1)
        os.set_blocking(reading, False)
        taken = b"".join(iter(lambda: reader.read(1 << 16) or b"", b"")).count(b"relay.ready")
        telemetry.info("relay.ready", port=2)
        after = [json.loads(line) for line in reader.read(1 << 16).splitlines()]

    assert 0 < taken < 5_000
    assert [(line["event"], line.get("lines")) for line in after] == [
        ("log.lost", 5_000 - taken),
        ("relay.ready", None),
    ]


@pytest.mark.rule("S32")
def test_a_crash_loop_writes_few_lines_a_second_and_says_how_many_it_left_out():
    stream, now = io.StringIO(), [NOON]
    telemetry = telemetry_to(stream, "info", wall_clock=lambda: now[0])
    for second in range(3):
        now[0] = TimeMs(NOON + 1_000 * second)
        for _ in range(1_000):
            telemetry.warning("actor.failed", kind="conversation")
            telemetry.info("connection.refused", code="draining")
    now[0] = TimeMs(NOON + 3_000)
    telemetry.info("relay.ready", port=1)

    written = Counter(line["event"] for line in lines(stream))
    left_out = [line["lines"] for line in lines(stream) if line["event"] == "log.thinned"]
    assert written["actor.failed"] == 3 * LINES_PER_SECOND
    assert written["relay.ready"] == 1
    assert left_out == [1_000 - LINES_PER_SECOND] * 3
    assert telemetry.lines[LineKind("actor.failed", "conversation")] == 3_000, (
        "the metrics count them all"
    )


def test_lines_that_are_below_the_level_are_neither_written_nor_left_out():
    stream = io.StringIO()
    telemetry = telemetry_to(stream, "warning")
    for _ in range(1_000):
        telemetry.info("actor.restarted", kind="conversation", failures=1)
    telemetry.warning("actor.failed", kind="conversation")

    assert [line["event"] for line in lines(stream)] == ["actor.failed"]


def test_a_debug_call_that_is_off_costs_next_to_nothing():
    telemetry = telemetry_to(io.StringIO(), "info")

    calls = 20_000
    seconds = min(
        timeit.repeat(
            lambda: telemetry.debug("send.numbered", records=3, server_seq=5),
            number=calls,
            repeat=7,
        )
    )

    # 0.2 µs where this was written; to make a line takes 20. The best of seven has no bad luck.
    assert seconds / calls < 5e-6


class Call(NamedTuple):
    """One telemetry call in the code."""

    place: str
    event: str
    fields: frozenset[str]


def files_that_log() -> list[Path]:
    return sorted(
        file for name in ("actors", "relay", "storage") for file in (ROOT / name).rglob("*.py")
    )


def fields_returned_by(name: str) -> frozenset[str]:
    """The keys of the dict that the function or method of this name returns."""
    for file in files_that_log():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name == name:
                returned = node.body[-1]
                assert isinstance(returned, ast.Return)
                assert isinstance(returned.value, ast.Dict)
                return frozenset(ast.literal_eval(key) for key in returned.value.keys if key)
    raise AssertionError(name)


def fields_of(keyword: ast.keyword) -> frozenset[str]:
    if keyword.arg is not None:
        return frozenset((keyword.arg,))
    assert isinstance(keyword.value, ast.Call), "a ** that this test cannot follow"
    return fields_returned_by(ast.unparse(keyword.value.func).rpartition(".")[2])


def calls_in_the_code() -> Iterator[Call]:
    """Every call that writes a line; its event must be a literal."""
    for file in files_that_log():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr not in ("debug", "info", "warning", "error") or not node.args:
                continue
            if not re.search("telemetry|_logger", ast.unparse(node.func.value)):
                continue
            event = node.args[0]
            assert isinstance(event, ast.Constant), f"{file.name}:{node.lineno}: not a literal"
            fields = frozenset[str]().union(*map(fields_of, node.keywords))
            yield Call(f"{file.name}:{node.lineno}", str(event.value), fields)


def test_what_is_declared_is_what_the_code_writes_event_by_event_and_field_by_field():
    written: dict[str, set[str]] = {}
    for call in calls_in_the_code():
        written.setdefault(call.event, set()).update(call.fields)

    assert written == {event: set(fields) for event, fields in EVENTS.items()}
    assert len(written) > 30


def stumble() -> None:
    raise ExceptionGroup(CANARY, [ValueError(CANARY)])


def failure() -> dict[str, str]:
    try:
        stumble()
    except ExceptionGroup as error:
        return describe(error)
    raise AssertionError


SAMPLES: Final[dict[str, Field]] = {
    "conversation": hashed_conversation(
        conversation_key(ConversationId("c"), UserId("a"), UserId("b"))
    ),
    "user": hashed("user", "a"),
    "connection": hashed("connection", "a"),
    "actor": hashed("conversation", "a"),
    "kind": "conversation",
    "action": "drop",
    "event.received kind": "ksmpv3.ack.read",
    "letter.dead kind": "SendLetter",
    "code": "rate_limited",
    "log.thinned code": "actor.failed",
    "relay.stopped code": ExitCode.OK,
    "connection.closed code": 4409,
    "listener.capacity code": os.strerror(errno.ENFILE).replace(" ", "_"),
    "subprotocol": "ksmpv3.msgpack",
    "host": "::1",
    "path": "/var/lib/ksmp relay/store",
    "problem": "[server] port must be a number.",
    "setting": "server.port",
    "library": "py.warnings",
    "severity": "warning",
    "where": "commit",
    **failure(),
}
"""What each field holds in life, or in the lines of one event; the others hold numbers."""


def test_one_line_of_every_call_in_the_code_passes_the_strict_allow_list_whole():
    stream = io.StringIO()
    telemetry = telemetry_to(stream, strict=True)

    for call in calls_in_the_code():
        values = {
            field: SAMPLES.get(f"{call.event} {field}", SAMPLES.get(field, 7))
            for field in call.fields
        }
        telemetry.info(call.event, **values)
        assert lines(stream)[-1].keys() == {"time", "level", "event", *call.fields}, call.place

    assert CANARY not in stream.getvalue()


def test_only_what_an_operator_configures_may_be_free_text():
    free = {kind for kind in Kind if fits(kind, "two words")}
    where = {name for fields in EVENTS.values() for name in fields if fields[name] in free}

    assert free == {Kind.SETTING}
    assert where == {"host", "path", "problem"}

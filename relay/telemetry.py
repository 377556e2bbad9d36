"""What the relay writes about itself, and the guarantee that none of it is anybody's content.

A line passes only if its event is in `relay.log_events` and each of its fields is declared there
with that kind of value. The rest is dropped; in tests (`strict`) it raises. Identifiers are written
as a hash under a key of this process's own. Libraries' log records and uncaught exceptions go the
same way: where and what type, never their text, because their text may quote a client.

Nobody waits for whoever reads standard error: a line that would have to is lost, and counted.
"""

from __future__ import annotations

import io
import logging
import select
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Literal, NamedTuple, TextIO

import msgspec
import structlog

from actors.failures import describe
from actors.telemetry import Field, Hashed, Telemetry
from ksmp.types import TimeMs
from relay.log_events import EVENTS, fits
from relay.thinning import THINNED, Thinning

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "pretty", "json"]

LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

_EventDict = MutableMapping[str, object]


class LineKind(NamedTuple):
    """What a line is counted as: its event, and the code or kind in it, which are words of ours."""

    event: str
    code: str


class UndeclaredLogFieldError(Exception):
    """Ours: an event, a field, or a kind of value that `relay.log_events` does not declare."""


def configure_logging(
    level: Level,
    format: Format,  # noqa: A002  # the setting's name
    stream: TextIO,
    *,
    digest: Callable[[Hashed], str],
    wall_clock: Callable[[], TimeMs],
    strict: bool = False,
) -> StructuredTelemetry:
    """The process's one `Telemetry`; libraries' log records and warnings go through it too.

    `digest` makes of an identifier what is written: `relay.digests`.
    """
    pretty = format == "pretty" or (format == "auto" and stream.isatty())
    printing = structlog.PrintLogger(stream)
    processors: list[structlog.typing.Processor] = [
        _AllowList(digest, strict),
        _Header(wall_clock),
        structlog.dev.ConsoleRenderer(colors=stream.isatty(), timestamp_key="time")
        if pretty
        else _render_json,
    ]

    def logger_at(level: Level) -> structlog.typing.FilteringBoundLogger:
        filtering = structlog.make_filtering_bound_logger(LEVELS[level])
        logger: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
            printing, processors, filtering, cache_logger_on_first_use=True
        ).bind()
        return logger

    telemetry = StructuredTelemetry(
        logger_at, level, _readiness_of(stream), Thinning(wall_clock), strict=strict
    )
    _route_libraries(telemetry)
    return telemetry


def _readiness_of(stream: TextIO) -> Callable[[], bool]:
    """Whether the stream takes a line now: a pipe that nobody reads would stop the event loop."""
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:
        return lambda: True  # in memory
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return lambda: bool(poll.poll(0))


class StructuredTelemetry:
    """`Telemetry` on structlog. A call whose level is off returns at once.

    A line that cannot be written is lost and counted; the relay goes on, and the next line that
    can be written is preceded by `log.lost`. So is by `log.thinned` the first line of any event
    after a second in which a crash loop was cut short.
    """

    __slots__ = (
        "_is_ready",
        "_logger",
        "_logger_at",
        "_lost",
        "_strict",
        "_thinning",
        "_writes_info",
        "is_debug",
        "lines",
    )

    def __init__(
        self,
        logger_at: Callable[[Level], structlog.typing.FilteringBoundLogger],
        level: Level,
        is_ready: Callable[[], bool],
        thinning: Thinning,
        *,
        strict: bool,
    ) -> None:
        """`is_ready` says whether a line can be written without waiting."""
        self._logger_at = logger_at
        self._is_ready = is_ready
        self._lost = 0
        self._thinning = thinning
        self._strict = strict
        self.lines: Counter[LineKind] = Counter()  # whatever is written; not of debugging
        self.adopt(level)

    def adopt(self, level: Level) -> None:
        """Write what is of this level or above, from now on."""
        self._logger = self._logger_at(level)
        self.is_debug = level == "debug"
        self._writes_info = level in ("debug", "info")

    def debug(self, event: str, **fields: Field) -> None:
        """One step in the life of a message or a connection."""
        if self.is_debug:
            self._write(self._logger.debug, event, fields)

    def info(self, event: str, **fields: Field) -> None:
        """Something an operator wants to find later."""
        self._count(event, fields)
        if self._writes_info:  # else nothing is left out, by whatever rule
            self._write(self._logger.info, event, fields)

    def warning(self, event: str, **fields: Field) -> None:
        """Something went wrong and was contained."""
        self._count(event, fields)
        self._write(self._logger.warning, event, fields)

    def error(self, event: str, **fields: Field) -> None:
        """Something went wrong that an operator must act on."""
        self._count(event, fields)
        self._write(self._logger.error, event, fields)

    def _count(self, event: str, fields: Mapping[str, Field]) -> None:
        code = fields.get("code", fields.get("kind"))
        self.lines[LineKind(event, "" if code is None else str(code))] += 1

    def _write(self, write: Callable[..., object], event: str, fields: Mapping[str, Field]) -> None:
        if event in THINNED and not self._thinning.passes(event):
            return
        try:
            if not self._is_ready():
                self._lost += 1
                return
            if self._lost:
                self._logger.warning("log.lost", lines=self._lost)
                self._lost = 0
            for name, lines in self._thinning.settle().items():
                self._logger.warning("log.thinned", code=name, lines=lines)
            write(event, **fields)
        except UndeclaredLogFieldError:
            raise
        except Exception:  # whatever is wrong with standard error, messages go on
            if self._strict:
                raise
            self._lost += 1


# ── what a line goes through ─────────────────────────────────────────────────────────────────


class _AllowList:
    """Lets through declared fields of declared events, identifiers hashed."""

    def __init__(self, digest: Callable[[Hashed], str], strict: bool) -> None:
        self._digest = digest
        self._strict = strict

    def __call__(self, logger: object, method: str, event_dict: _EventDict) -> _EventDict:
        event = str(event_dict.pop("event"))
        declared = EVENTS.get(event)
        if declared is None:
            if self._strict:
                raise UndeclaredLogFieldError(f"the event {event} is not declared")
            raise structlog.DropEvent
        allowed: _EventDict = {"event": event}
        for name, value in event_dict.items():
            kind = declared.get(name)
            if kind is None or not fits(kind, value):  # type: ignore[arg-type]  # judged there
                if self._strict:
                    raise UndeclaredLogFieldError(f"{event} cannot have this {name}")
            elif isinstance(value, Hashed):
                allowed[name] = self._digest(value)
            elif value is not None:
                allowed[name] = value
        return allowed


class _Header:
    """Puts time and level before the rest."""

    def __init__(self, wall_clock: Callable[[], TimeMs]) -> None:
        self._wall_clock = wall_clock

    def __call__(self, logger: object, method: str, event_dict: _EventDict) -> _EventDict:
        now = datetime.fromtimestamp(self._wall_clock() / 1_000, UTC)
        time = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {"time": time, "level": method} | dict(event_dict)


def _render_json(_logger: object, _method: str, event_dict: _EventDict) -> str:
    return msgspec.json.encode(event_dict).decode()


# ── what others would have written ───────────────────────────────────────────────────────────


class _LibraryRecords(logging.Handler):
    """Turns a library's log record into a line without its message."""

    def __init__(self, telemetry: Telemetry) -> None:
        super().__init__(logging.WARNING)
        self._telemetry = telemetry

    def emit(self, record: logging.LogRecord) -> None:
        """Where the record was made and how bad it was."""
        self._telemetry.warning(
            "library.warned",
            library=record.name,
            severity=record.levelname.lower(),
            at=f"{record.filename}:{record.lineno} {record.funcName}",
            error=record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None,
        )


def _route_libraries(telemetry: Telemetry) -> None:
    logging.raiseExceptions = False  # it would print the record that could not be written
    logging.basicConfig(force=True, level=logging.WARNING, handlers=[_LibraryRecords(telemetry)])
    logging.captureWarnings(True)


def report_crashes(telemetry: Telemetry) -> None:
    """From now on an exception that nobody caught is one line: its type and where it arose.

    Python's own report would quote the exception's text and, in groups, every task's.
    """

    def report(error: BaseException | None) -> None:
        if error is None or isinstance(error, KeyboardInterrupt | SystemExit):
            return
        telemetry.error("relay.crashed", errors=_count(error), **describe(error))

    def uncaught(
        _kind: type[BaseException], error: BaseException, _traceback: TracebackType | None
    ) -> None:
        report(error)

    sys.excepthook = uncaught
    sys.unraisablehook = lambda unraisable: report(unraisable.exc_value)
    threading.excepthook = lambda thread: report(thread.exc_value)


def _count(error: BaseException) -> int:
    if isinstance(error, BaseExceptionGroup):
        return sum(_count(inner) for inner in error.exceptions)
    return 1

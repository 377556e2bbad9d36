"""What happened in the relay, out of its log: JSON lines, with the time of the wall clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from bench.isolation.timeline import Happening, Moment

CONVERSATION: Final = "conversation"
THINNED: Final = "log.thinned"
LEFT_OUT: Final[Mapping[int | str | None, Happening]] = {
    "actor.failed": "failed",
    "actor.restarted": "restarted",
    "actor.quarantined": "quarantined",
    "letter.dead": "dead letter",
}
"""What a line would have told that a crash loop was not allowed to write, by its event."""

CUT_OFF: Final = frozenset({4410, 4429})
"""The close codes of those who do not read, and of those who flood."""


class _Line(Struct):
    """A line of the log, as far as it matters here."""

    time: datetime
    event: str
    kind: str = ""
    actor: str = ""
    code: int | str | None = None
    lines: int = 0


def moments_of(log: Path, began_wall_ms: float) -> list[Moment]:
    """The moments since the baseline began, which was at that time of the wall clock.

    None is lost where the relay cut a crash loop short in its log: what it left out is counted at
    the time at which it said so. How long those restarts took is not known.

    A line of another form, such as a warning of the interpreter, is passed over.
    """
    moments = []
    failed_at: dict[str, float] = {}
    ending = _Ending()
    for line in _lines(log):
        ending.see(line)
        at_s = line.time.timestamp() - began_wall_ms / 1_000
        if at_s < 0:
            continue
        if line.event == THINNED and line.code in LEFT_OUT:
            moments += [Moment(round(at_s, 3), LEFT_OUT[line.code])] * line.lines
            failed_at.clear()
            continue
        took_ms = None
        what = _happening(line)
        if what is None:
            continue
        if what == "failed":
            failed_at[line.actor] = at_s
        elif what == "restarted" and line.actor in failed_at:
            took_ms = round((at_s - failed_at.pop(line.actor)) * 1_000, 3)
        moments.append(Moment(round(at_s, 3), what, took_ms))
    if (ended_at := ending.unasked) is not None:
        moments.append(Moment(round(ended_at.timestamp() - began_wall_ms / 1_000, 3), "stopped"))
    return moments


class _Ending:
    """Whether a relay that had begun to serve has ended without being asked to."""

    def __init__(self) -> None:
        self._last: datetime | None = None
        self._is_said = False

    def see(self, line: _Line) -> None:
        if line.event == "relay.ready" or self._last is not None:
            self._last = line.time
        if line.event == "relay.draining" or _happening(line) == "stopped":
            self._is_said = True

    @property
    def unasked(self) -> datetime | None:
        """When it wrote its last line; None where it was asked, or has said itself that it fell."""
        return None if self._is_said else self._last


def _lines(log: Path) -> Iterator[_Line]:
    with log.open("rb") as file:
        for line in file:
            try:
                yield msgspec.json.decode(line, type=_Line)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue


def _happening(line: _Line) -> Happening | None:
    match line.event:
        case "actor.failed" if line.kind == CONVERSATION:
            return "failed"
        case "actor.restarted" if line.kind == CONVERSATION:
            return "restarted"
        case "actor.quarantined":
            return "quarantined"
        case "letter.dead":
            return "dead letter"
        case "connection.closed" if line.code in CUT_OFF:
            return "cut off"
        case "relay.crashed" | "storage.failed":
            return "stopped"
        case _:
            return None

"""A `Telemetry` for tests: keeps every line, and refuses what the relay would not write."""

from __future__ import annotations

from typing import NamedTuple

from actors.telemetry import Field
from relay.log_events import EVENTS, fits


class Line(NamedTuple):
    """One call: its level, its event, its fields."""

    level: str
    event: str
    fields: dict[str, Field]


class RecordingTelemetry:
    """Everything is on; `lines` has it in order."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    @property
    def is_debug(self) -> bool:
        return True

    @property
    def events(self) -> list[str]:
        return [line.event for line in self.lines]

    def debug(self, event: str, **fields: Field) -> None:
        self._keep("debug", event, fields)

    def info(self, event: str, **fields: Field) -> None:
        self._keep("info", event, fields)

    def warning(self, event: str, **fields: Field) -> None:
        self._keep("warning", event, fields)

    def error(self, event: str, **fields: Field) -> None:
        self._keep("error", event, fields)

    def _keep(self, level: str, event: str, fields: dict[str, Field]) -> None:
        for name, value in fields.items():
            assert fits(EVENTS[event][name], value), f"{event}.{name} is not declared like this"
        assert event in EVENTS, event
        self.lines.append(Line(level, event, fields))

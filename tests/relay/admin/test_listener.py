"""The admin listener takes the port it is promised, and never the relay with it."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from relay.admin import listener as listener_module
from relay.admin.listener import PAUSE_SECONDS, AdminListener, bind_admin
from relay.config import AdminConfig
from relay.exits import CommandError, ExitCode
from tests.recording_telemetry import RecordingTelemetry


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Any:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setattr(listener_module, "DEFAULT_PORT", port)
        yield port


def test_a_port_that_nobody_asked_for_gives_way_where_it_is_taken(taken: int) -> None:
    (bound,) = bind_admin(AdminConfig())
    with bound:
        assert bound.getsockname()[0] == "127.0.0.1"
        assert bound.getsockname()[1] not in (0, taken)


def test_a_port_that_is_configured_and_taken_ends_the_start(taken: int) -> None:
    with pytest.raises(CommandError, match="--admin-port") as refused:
        bind_admin(AdminConfig(port=taken))
    assert refused.value.exit_code == ExitCode.CANNOT_BIND


@pytest.mark.rule("S36")
async def test_a_listener_that_fails_on_and_on_pauses_and_never_raises(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry, runs = RecordingTelemetry(), 0

    async def failing(self: AdminListener) -> None:  # noqa: ASYNC124
        nonlocal runs
        runs += 1
        raise RuntimeError("planted")

    monkeypatch.setattr(AdminListener, "run", failing)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        admin = AdminListener([bound], b"", telemetry, lambda: 0.5)
        with trio.move_on_after(3 * PAUSE_SECONDS):
            await admin.keep()

    assert runs == 3 * 6  # the first, and five restarts of each period
    assert telemetry.events.count("admin.paused") == 3


async def test_what_fails_while_it_is_stopped_stays_inside(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing_at_the_end(self: AdminListener) -> None:
        async def fail() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise RuntimeError("planted")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            await trio.sleep_forever()

    monkeypatch.setattr(AdminListener, "run", failing_at_the_end)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        admin = AdminListener([bound], b"", RecordingTelemetry(), lambda: 0.5)
        with trio.move_on_after(1) as stopped:
            await admin.keep()

    assert stopped.cancelled_caught

"""What fails on and on below the relay's root ends the process, in order; the rest never does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pytest
import trio

from tests.wire.connecting import Clients, StartRelay
from tests.wire.log_lines import lines
from tests.wire.messages import envelope, send
from tests.wire.relay_process import PROGRAM

pytestmark = [pytest.mark.trio, pytest.mark.timeout(120)]

SABOTAGED: Final = """
import os
import trio
from {module} import {name}
from relay.cli import main

run = {name}.run

async def failing(self, *arguments):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, self, *arguments)
        while not os.path.exists({trigger!r}):
            await trio.sleep(0.02)
        raise RuntimeError

{name}.run = failing
main()
"""
"""The relay, one part of which fails as soon as a file is there, and whenever it is restarted."""

PARTS: Final = {
    "alarms": ("actors.alarms", "Alarms"),
    "router": ("actors.router", "Router"),
    "revocations": ("relay.revocation_watch", "RevocationWatch"),
    "reloader": ("relay.reload", "Reloader"),
    "listener": ("relay.transport.listener", "Listener"),
    "admin": ("relay.admin.listener", "AdminListener"),
}


class Sabotage:
    """A relay of which one part can be made to fail from now on."""

    def __init__(self, kind: str, clients: Clients, trigger: Path) -> None:
        self.kind = kind
        self.clients = clients
        self._trigger = trigger

    def strike(self) -> None:
        self._trigger.touch()


@pytest.fixture
def sabotage(request: pytest.FixtureRequest, start: StartRelay, tmp_path: Path) -> Sabotage:
    """For the kind of part that the test is run for."""
    module, name = PARTS[request.param]
    trigger = tmp_path / "strike"
    program = SABOTAGED.format(module=module, name=name, trigger=str(trigger))
    return Sabotage(request.param, start(program=(sys.executable, "-c", program)), trigger)


@pytest.mark.rule("S35")
@pytest.mark.promises("I1", "I5", "I6", "I11", "I12")
@pytest.mark.parametrize(
    "sabotage", ["alarms", "router", "revocations", "reloader", "listener"], indirect=True
)
async def test_a_part_that_fails_for_the_sixth_time_ends_the_process_and_loses_no_ack(
    start: StartRelay, sabotage: Sabotage
) -> None:
    own = sabotage.clients
    offered = [envelope("alice", "bob", conversationId="talk") for _ in range(20)]
    async with own.connect("alice") as alice:
        acks = [(await alice.answer_to(one)).raw for one in offered]
        sabotage.strike()
        assert await trio.to_thread.run_sync(own.relay.wait) == 1
        assert await alice.close_code() == 1011
    failed = [line["kind"] for line in lines(own.relay, "actor.failed")]
    assert failed == [sabotage.kind] * 6
    said = own.relay.output()
    assert b"ksmp-relay failed, by a fault of its own" in said
    assert b"Traceback" not in said

    own.relay.program = PROGRAM
    await trio.to_thread.run_sync(own.relay.start)
    async with own.connect("alice") as alice:
        await alice.tell(*map(send, offered))
        assert [(await alice.answer_about(one)).raw for one in offered] == acks


@pytest.mark.rule("S36")
@pytest.mark.promises("I1", "I12")
@pytest.mark.parametrize("sabotage", ["admin"], indirect=True)
async def test_an_admin_listener_that_fails_on_and_on_ends_nothing(
    start: StartRelay, sabotage: Sabotage
) -> None:
    own = sabotage.clients
    async with own.connect("alice") as alice:
        sabotage.strike()
        with trio.fail_after(30):
            while not lines(own.relay, "admin.paused"):  # noqa: ASYNC110 - it cannot tell us
                await trio.sleep(0.05)
        await alice.send(envelope("alice", "bob"))
    assert [line["kind"] for line in lines(own.relay, "actor.failed")] == ["admin"] * 6
    assert await trio.to_thread.run_sync(own.relay.terminate) == 0
    own.relay.program = PROGRAM

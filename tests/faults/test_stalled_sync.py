"""A disk that takes for ever shows while it does, nobody is let wait for it who need not."""

from __future__ import annotations

import pytest
import trio

from tests.faults.observing import pid_of
from tests.faults.strace import syncs
from tests.wire.connecting import StartRelay
from tests.wire.messages import envelope, ping, send
from tests.wire.operator import Operator

pytestmark = [pytest.mark.trio, pytest.mark.timeout(120)]

DELAY_SECONDS = 4


@pytest.mark.promises("I1", "I12", "I18")
async def test_a_stalled_sync_makes_the_relay_not_ready_and_refuse_sends_and_hinders_no_other_page(
    start: StartRelay,
) -> None:
    own = start(store__sync_stall_seconds=0.5)
    operator = Operator(own.relay)
    reasons: list[list[str]] = []

    async def ready() -> list[str]:
        answer = await trio.to_thread.run_sync(lambda: operator.ask("/readyz"))
        assert (answer.status == 503) is bool(answer.json["reasons"])
        return list(answer.json["reasons"])

    async with own.connect("alice") as alice:
        await alice.send(envelope("alice", "bob"))
        with syncs(pid_of(own.relay), f"delay_enter={DELAY_SECONDS * 1_000_000}:when=1"):
            offered = envelope("alice", "bob")
            await alice.tell(send(offered))
            with trio.fail_after(60):
                while not (reasons := [await ready()])[0]:  # noqa: ASYNC110 - it cannot tell us by itself
                    await trio.sleep(0.1)
            assert reasons == [["sync_stalled"]]
            metrics = await trio.to_thread.run_sync(operator.metrics)
            assert metrics["ksmp_commit_under_way_seconds"] > 0.5
            assert metrics["ksmp_ready"] == 0
            refused = (await alice.answer_to(envelope("alice", "carol"))).event
            assert (refused["code"], refused["retryable"]) == ("overloaded", True)
            await alice.tell(ping("still-there"))
            assert (await alice.receive())["type"] == "ksmpv3.pong"
            assert (await alice.answer_about(offered)).event["type"] == "ksmpv3.send.ack"
        assert await ready() == []
    metrics = await trio.to_thread.run_sync(operator.metrics)
    assert metrics["ksmp_sync_seconds_sum"] >= DELAY_SECONDS
    assert metrics["ksmp_commit_under_way_seconds"] == 0

"""How a row is run, in one of its three ways, and what must hold around every one of them."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

import trio

from tests.edge.bystander import measuring
from tests.edge.case import Case, Way
from tests.edge.relays import WatchedRelay
from tests.edge.stage import Stage
from tests.wire.credentials import Issuer


async def run(
    case: Case, way: Way, relay: WatchedRelay, issuer: Issuer, tls: ssl.SSLContext | None = None
) -> list[float]:
    """Run one row; the seconds after which each message of a bystander was acked, if there is one.

    Afterwards the relay lives, holds not one task or descriptor more than before, and has printed
    nothing of what it was sent.
    """
    latencies = await perform(case, way, relay, issuer, tls)
    await relay.assert_back()
    return latencies


async def run_together(
    cases: Sequence[Case],
    relay: WatchedRelay,
    issuer: Issuer,
    tls: ssl.SSLContext | None = None,
) -> list[float]:
    """Run rows that mostly wait side by side, each in every way; the same holds afterwards."""
    latencies: list[float] = []

    async def one(case: Case, way: Way) -> None:
        try:
            latencies.extend(await perform(case, way, relay, issuer, tls))
        except BaseException as error:
            error.add_note(f"the row: {case.input}, {way.value}")
            raise

    async with trio.open_nursery() as nursery:
        for case in cases:
            for way in Way:
                nursery.start_soon(one, case, way)
    await relay.assert_back()
    return latencies


async def perform(
    case: Case, way: Way, relay: WatchedRelay, issuer: Issuer, tls: ssl.SSLContext | None
) -> list[float]:
    """The row alone, without a look at what it leaves behind; what `run` returns."""
    stage = Stage(case, way, relay, issuer, tls)
    if way is Way.BESIDE:
        async with measuring(stage) as bystander:
            await case.act(stage)
        return bystander.acked_after_seconds
    if way is Way.AFTER and case.is_handshake:
        async with stage.connect_fresh(device=stage.fresh("device")) as other:
            await other.good_events()
            await case.act(stage)
            await other.still_works()
    else:
        await case.act(stage)
    return []

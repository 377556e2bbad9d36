"""Connections that do nothing but stay: each resumes, answers pings, and waits.

Run as a process of its own (`python -m bench.idlers`, a `bench.idle_plan.IdlePlan` on standard
input). It always ends by itself.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Final

from picows import WSFrame, WSListener, WSMsgType, WSTransport

from bench.each import for_each, in_time
from bench.idle_plan import IdlePlan, Opened, Waited, decode_plan
from bench.opening import HANDSHAKE_SECONDS, open_websocket
from bench.plan import Progress, Started, Stopped
from bench.process import PROGRESS_SECONDS, LoadError, asked, run_load, say
from ksmp.codec import MSGPACK
from ksmp.events import Connected, Ping, Pong, Resume, ResumeComplete
from ksmp.malformed import UndecodableError

OPENING_AT_ONCE: Final = 64
OPENING_SECONDS: Final = 300.0
ANSWER_SECONDS: Final = 30.0

_RESUME: Final = MSGPACK.encode(Resume(None))
_PING: Final = MSGPACK.encode(Ping())


def main() -> None:
    """Run the plan on standard input."""
    run_load(_run, decode_plan(asked()))


async def _run(plan: IdlePlan) -> None:
    idlers = [Idler() for _ in plan.tokens]
    began = perf_counter()
    await _open(idlers, plan)
    say(Opened(round(len(idlers) / (perf_counter() - began), 1)))
    await _wait("settling", plan.settle_seconds)
    pings = -_pings_of(idlers)
    say(Started())
    await _wait("idle", plan.seconds)
    say(Stopped())
    pings += _pings_of(idlers)
    say(await _roll_call(idlers, pings))


async def _open(idlers: list[Idler], plan: IdlePlan) -> None:
    async def open_one(idler_and_token: tuple[Idler, str]) -> None:
        idler, token = idler_and_token
        await idler.open(plan.url, token)

    def tell(opened: int) -> None:
        if opened % 100 == 0:
            say(Progress("connecting", opened, len(idlers)))

    async with in_time("connecting", OPENING_SECONDS):
        await for_each(zip(idlers, plan.tokens, strict=True), open_one, OPENING_AT_ONCE, tell)


def _pings_of(idlers: list[Idler]) -> int:
    return sum(idler.pings for idler in idlers)


async def _wait(step: str, seconds: float) -> None:
    began = perf_counter()
    while (passed := perf_counter() - began) < seconds:
        say(Progress(step, passed, seconds))
        await asyncio.sleep(min(PROGRESS_SECONDS, seconds - passed))


async def _roll_call(idlers: list[Idler], pings: int) -> Waited:
    """Have every connection answered by the relay: an open socket alone proves nothing."""
    await asyncio.gather(*(idler.ask() for idler in idlers))
    there = [idler for idler in idlers if idler.is_answered]
    return Waited(len(there), min((idler.pings for idler in there), default=0), pings)


class Idler(WSListener):
    """One silent user. `pings` counts those of the relay that it has answered."""

    def __init__(self) -> None:
        self.pings = 0
        self.is_answered = False
        self._transport: WSTransport | None = None
        # What is waited for: `resume.complete` first, the pong to `ask` later.
        self._answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self, url: str, token: str) -> None:
        """Connect and resume from now on.

        Raises:
            LoadError: the relay is not there, refuses, or does not answer.
        """
        await open_websocket(self, url, token, answers_pings=True)
        if not await self._is_answered_in(HANDSHAKE_SECONDS):
            raise LoadError("a connection was opened, and its resume not answered")

    async def ask(self) -> None:
        """Find out whether the relay still answers: `is_answered` is then set."""
        if self._transport is not None:
            self._answer = asyncio.get_running_loop().create_future()
            self._transport.send(WSMsgType.BINARY, _PING)
            self.is_answered = await self._is_answered_in(ANSWER_SECONDS)

    async def _is_answered_in(self, seconds: float) -> bool:
        await asyncio.wait([self._answer], timeout=seconds)
        return self._answer.done() and not self._answer.cancelled()

    # ── what picows calls ────────────────────────────────────────────────────────────────────

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Take the transport."""
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Answer what has to be answered."""
        if frame.msg_type is WSMsgType.PING:
            self.pings += 1
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type is WSMsgType.BINARY:
            self._take(transport, frame.get_payload_as_bytes())

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Whatever is waited for will not come."""
        self._transport = None
        self._answer.cancel()

    def _take(self, transport: WSTransport, payload: bytes) -> None:
        try:
            event = MSGPACK.decode_server_event(payload)
        except UndecodableError:
            transport.disconnect(graceful=False)
            return
        match event:
            case Connected():
                transport.send(WSMsgType.BINARY, _RESUME)
            case ResumeComplete() | Pong() if not self._answer.done():
                self._answer.set_result(None)
            case _:
                pass


if __name__ == "__main__":
    main()

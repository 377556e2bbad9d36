"""One client that reads an inbox from the beginning, as fast as it is sent.

Run as a process of its own (`python -m bench.replay_reader`, a `bench.replay_plan.ReadPlan` on
standard input). A history of a million frames would cost it more than reading them, so it holds
every frame against the one before it as it comes, and the last against what was stored.
"""

from __future__ import annotations

import asyncio
from time import monotonic_ns, process_time
from typing import Final

from picows import WSFrame, WSListener, WSMsgType, WSTransport

from bench.opening import open_websocket
from bench.plan import Progress
from bench.process import LoadError, asked, run_load, say
from bench.replay_plan import ReadPlan, Replayed, Span, decode_read_plan
from ksmp.codec import MSGPACK
from ksmp.events import Connected, Error, InboxFrame, Resume, ResumeComplete
from ksmp.malformed import UndecodableError
from ksmp.types import GlobalInboxSeq

STEPS: Final = 200
"""How often progress is told: the relay's memory is looked at as often."""

SECONDS: Final = 900.0


def main() -> None:
    """Run the plan on standard input."""
    run_load(_run, decode_read_plan(asked()))


async def _run(plan: ReadPlan) -> None:
    say(await _read(plan))


async def _read(plan: ReadPlan) -> Replayed:
    reader = Reader(plan)
    transport = await open_websocket(reader, plan.url, plan.token)
    try:
        async with asyncio.timeout(SECONDS):
            return await reader.done
    except TimeoutError:
        raise LoadError(f"the replay was not complete within {SECONDS:.0f} seconds") from None
    finally:
        transport.disconnect(graceful=False)


class Reader(WSListener):
    """Asks for everything, and counts what is not in its place. `done` has the result."""

    def __init__(self, plan: ReadPlan) -> None:
        self.done: asyncio.Future[Replayed] = asyncio.get_running_loop().create_future()
        self._plan = plan
        self._step = max(1, plan.records // STEPS)
        self._began_ns = 0
        self._cpu = 0.0
        self._frames = self._bytes = self._out_of_place = 0
        self._cursor = self._server_seq = 0
        self._chain = b""
        self._fragments: list[bytes] = []

    # ── what picows calls ────────────────────────────────────────────────────────────────────

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take one frame of the connection."""
        if frame.msg_type not in (WSMsgType.BINARY, WSMsgType.CONTINUATION):
            return
        payload = frame.get_payload_as_bytes()
        if self._fragments or not frame.fin:
            self._fragments.append(payload)
            if not frame.fin:
                return
            payload = b"".join(self._fragments)
            self._fragments.clear()
        if (answer := self.take(payload)) is not None:
            transport.send(WSMsgType.BINARY, answer)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Before the end this is a failure."""
        self._end(LoadError("the relay hung up in the middle of a replay"))

    # ── what arrives ─────────────────────────────────────────────────────────────────────────

    def take(self, payload: bytes) -> bytes | None:
        """Act on one event; what to send, if anything."""
        try:
            event = MSGPACK.decode_server_event(payload)
        except UndecodableError:
            self._end(LoadError("the relay sent what is not an event"))
            return None
        match event:
            case InboxFrame():
                self._count(event, len(payload))
            case Connected():
                self._began_ns, self._cpu = monotonic_ns(), process_time()
                return MSGPACK.encode(Resume(GlobalInboxSeq(0)))
            case ResumeComplete():
                self._end(self._result(event.global_inbox_seq))
            case Error():
                self._end(LoadError(f"the relay refused: {event.code}"))
            case _:
                pass
        return None

    def _count(self, frame: InboxFrame, size: int) -> None:
        number, server_seq = frame.global_inbox_seq, frame.envelope.server_seq
        is_next = (
            frame.previous_global_inbox_seq == self._cursor < number
            and server_seq == self._server_seq + 1
        )
        self._out_of_place += not is_next
        self._cursor, self._server_seq, self._chain = number, server_seq, frame.chain
        self._frames += 1
        self._bytes += size
        if self._frames % self._step == 0:
            say(Progress("replaying", self._frames, self._plan.records))

    def _result(self, complete_at: int) -> Replayed:
        ended_ns = monotonic_ns()
        seconds = (ended_ns - self._began_ns) / 1e9
        return Replayed(
            Span(self._began_ns, ended_ns),
            self._frames,
            self._bytes,
            self._out_of_place,
            self._chain == self._plan.chain and complete_at == self._cursor,
            round((process_time() - self._cpu) / seconds, 3),
        )

    def _end(self, outcome: Replayed | LoadError) -> None:
        if self.done.done():
            return
        if isinstance(outcome, Replayed):
            self.done.set_result(outcome)
        else:
            self.done.set_exception(outcome)


if __name__ == "__main__":
    main()

"""How long a conversation is away when it crashes: `python -m bench.restart --records 1000000`.

The relay's own router and log run on a store of its own, made for this in a temporary directory.
The conversation is made to crash at a send, again and again, by the clock that it is handed. Told
is the time from the crash until the next incarnation numbers that send, and until its
acknowledgement: the first restart, which is at once, with reading the head and all else that it
does. Beside the long conversation stands one of ten records in the same store.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from time import perf_counter, time_ns
from typing import Annotated, Final

import msgspec
import trio
from cyclopts import App, Parameter, validators
from msgspec import Struct

from actors.inboxes import Inboxes
from actors.letters import Letter, SendLetter
from actors.limits import Limits
from actors.router import Router
from actors.supervisor import Backoff, Intensity
from actors.telemetry import Field
from bench.latency import Latencies, Percentiles
from bench.long_conversation import envelope, fill, open_store
from ksmp.events import SendAck, ServerEvent
from ksmp.types import ConversationId, ConversationKey, TimeMs, UserId, conversation_key
from relay.system import SerialThread
from storage.environment import Environment
from storage.lmdb_log import LmdbLog

SHORT_RECORDS: Final = 10
WARM_UP: Final = 20

_POSITIVE: Final = validators.Number(gte=1)

app = App(name="bench.restart", help="Measure how long a conversation that crashes is away.")


class Restarts(Struct, frozen=True):
    """Of one conversation."""

    records: int
    crashes: int
    ready_ms: Percentiles
    """From the crash until the next incarnation numbers the send."""

    acked_ms: Percentiles
    """From the crash until the send that met it is acknowledged."""


@app.default
def restart(
    *,
    records: Annotated[int, Parameter(validator=_POSITIVE)] = 1_000_000,
    crashes: Annotated[int, Parameter(validator=_POSITIVE)] = 1_000,
    size: Annotated[int, Parameter(validator=_POSITIVE)] = 100,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Crash a conversation and print how soon it is back.

    Parameters
    ----------
    records
        How many the conversation has.
    crashes
        How often it crashes.
    size
        Bytes of each ciphertext.
    json
        Print JSON.
    """
    with tempfile.TemporaryDirectory(prefix="ksmp-restart-") as directory:
        results = measure(Path(directory) / "store", records, crashes, size)
    if json:
        print(msgspec.json.encode(results).decode())
    else:
        for one in results:
            print(
                f"{one.records:>9,} records, {one.crashes:,} crashes: "
                f"ready after {one.ready_ms.p50:.2f} ms (p99 {one.ready_ms.p99:.2f}), "
                f"acked after {one.acked_ms.p50:.2f} ms (p99 {one.acked_ms.p99:.2f})"
            )
    return 0


def measure(path: Path, records: int, crashes: int, size: int) -> list[Restarts]:
    """A short conversation and a long one in a new store at `path`."""
    results = []
    environment = open_store(path)
    try:
        for name, amount in (("short", min(SHORT_RECORDS, records)), ("long", records)):
            key = conversation_key(ConversationId(name), UserId("alice"), UserId("bob"))
            fill(
                environment,
                key,
                amount,
                lambda: shutil.disk_usage(path).free,
                text=bytes(size),
                progress=_say,
            )
            crashing = _Crashing(key, bytes(size))
            trio.run(crashing.run, environment, crashes)
            results.append(
                Restarts(
                    amount, crashes, crashing.ready.percentiles(), crashing.acked.percentiles()
                )
            )
    finally:
        environment.close()
    return results


def _say(records: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{records:,} records", end="", file=sys.stderr, flush=True)


class PlantedError(Exception):
    """What the conversation crashes with."""


class _Crashing:
    """One conversation that crashes at every send, once, and is measured."""

    def __init__(self, key: ConversationKey, text: bytes) -> None:
        self._key = key
        self._text = text
        self._is_armed = False
        self._is_measured = False
        self._crashed_at = 0.0
        self._answered = trio.Event()
        self.ready = Latencies()
        self.acked = Latencies()

    async def run(self, environment: Environment, crashes: int) -> None:
        """Crash it so often, after a few times that do not count."""
        writing = SerialThread("store-writer", _fail)
        reading = SerialThread("store-reader", _fail)
        folding = SerialThread("store-folder", _fail)
        inboxes: Inboxes
        log = LmdbLog(
            environment,
            writing=writing,
            reading=reading,
            folding=folding,
            free_bytes=lambda: shutil.disk_usage(environment.path).free,
            after_commit=lambda: inboxes.deliver(),  # noqa: PLW0108 - it is made below
            on_failure=_fail,
            on_bug=_fail,
        )
        inboxes = Inboxes(log, Limits())
        router = Router(
            log,
            inboxes,
            Limits(),
            self._clock,
            lambda: 0.0,
            _Silence(),
            intensity=Intensity(restarts=sys.maxsize),
            backoff=Backoff(0.0, 0.0),  # every restart is like the first of a period: at once
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(router.run)
            await router.started.wait()
            for number in range(-WARM_UP, crashes):
                self._is_measured = number >= 0
                await self._crash_once(router, number)
            nursery.cancel_scope.cancel()
        await writing.finish()
        await reading.finish()
        await folding.finish()

    async def _crash_once(self, router: Router, number: int) -> None:
        self._answered = trio.Event()
        self._is_armed = True
        letter = SendLetter(envelope(self._key, f"crash{number}", self._text), self, 300)
        if router.route(self._key, letter) is not None:
            raise RuntimeError("the conversation does not take it")
        await self._answered.wait()

    def _clock(self) -> TimeMs:
        """Asked once for each append: it crashes the turn, and notes when the next one is at it."""
        if self._is_armed:
            self._is_armed = False
            self._crashed_at = perf_counter()
            raise PlantedError
        if self._is_measured:
            self.ready.record(perf_counter() - self._crashed_at)
        return TimeMs(time_ns() // 1_000_000)

    # as `actors.letters.Correspondent`

    def settle(self, letter: Letter, answer: ServerEvent) -> None:
        """The send has been answered."""
        if not isinstance(answer, SendAck):
            _fail(RuntimeError(f"answered with {type(answer).__name__}"))
        if self._is_measured:
            self.acked.record(perf_counter() - self._crashed_at)
        self._answered.set()

    def deliver(self) -> None:
        """There is no line to write to."""

    def fail(self, bug: BaseException) -> None:
        """Nothing is done for it that could fail."""
        _fail(bug)


class _Silence:
    """`actors.telemetry.Telemetry` for whoever measures something else."""

    is_debug = False

    def debug(self, event: str, **fields: Field) -> None:
        """Say nothing."""

    info = warning = error = debug


def _fail(error: BaseException) -> None:
    raise error


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))

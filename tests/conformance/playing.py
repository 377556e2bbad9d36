"""Plays the suite: against an echo on each of the relay's transports, and against the client's end.

The suite gives its peer a second for most answers, and a busy machine can stall for longer. So a
case that went wrong because the suite ran out of patience is played again, alone, and its second
ending counts. Whatever else goes wrong counts at once, and so does all of it where much is late.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import trio

from tests.conformance.caller import play_every_case
from tests.conformance.echo import Urls, echo_server
from tests.conformance.outcomes import Outcome, Subject, wrong

REPOSITORY: Final = Path(__file__).parents[2]
SUITE: Final = (sys.executable, "-m", "tests.conformance.suite")
AT_A_TIME: Final = 8

MOST_LATE: Final = 2 * AT_A_TIME
"""As many cases as two stalls of the machine can hit. Where more are late, the fault is not its."""

BINARY_CASES: Final = ("1.2.*", "3.5", "3.6", "9.2.*", "9.4.*", "9.6.*", "9.8.*")
"""The cases that send binary messages. The others send text, or no message at all."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Some cases, all with one kind of message; `*` in a name stands for anything."""

    cases: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    is_text: bool = True


EVERYTHING: Final = (
    Selection(("*",), exclude=BINARY_CASES),
    Selection(BINARY_CASES, is_text=False),
)

TENS_OF_THOUSANDS_OF_FRAGMENTS: Final = ("9.3.1", "9.3.2", "9.4.1", "9.4.2")
"""Messages in 65,536 and 16,384 parts: 12 s of trio-websocket's, more than of all other cases."""

Play = Callable[[Selection], Awaitable[list[Outcome]]]


@dataclass(frozen=True, slots=True)
class Run:
    """How every case ended, and which had to be played again."""

    outcomes: tuple[Outcome, ...]
    repeated: tuple[str, ...]


async def play_everything(subject: Subject, *, leave_out: tuple[str, ...] = ()) -> Run:
    """Play all there is, or nearly."""
    selections = [
        replace(selection, exclude=(*selection.exclude, *leave_out)) for selection in EVERYTHING
    ]
    if subject == "client":
        return await play_patiently(against_client, subject, *selections)
    async with echo_server(subject) as urls:
        return await play_patiently(against_server(urls), subject, *selections)


async def play_patiently(play: Play, subject: Subject, *selections: Selection) -> Run:
    """Play the selections one after the other; of each what was late again, if that is not much."""
    outcomes: list[Outcome] = []
    repeated: list[str] = []
    for selection in selections:
        played = await play(selection)
        late = [outcome.case for outcome in wrong(played, subject) if outcome.was_late]
        if len(late) > MOST_LATE:
            late = []
        outcomes += [outcome for outcome in played if outcome.case not in late]
        for case in late:
            outcomes += await play(Selection((case,), is_text=selection.is_text))
        repeated += late
    return Run(tuple(outcomes), tuple(repeated))


def against_server(urls: Urls) -> Play:
    """The suite as a client of the echo at these addresses."""

    async def play(selection: Selection) -> list[Outcome]:
        asked = {
            "url": urls.text if selection.is_text else urls.binary,
            "cases": selection.cases,
            "exclude": selection.exclude,
            "at_a_time": AT_A_TIME,
        }
        finished = await trio.run_process(
            [*SUITE, "server", json.dumps(asked)], cwd=REPOSITORY, capture_stdout=True
        )
        return [Outcome(**json.loads(line)) for line in finished.stdout.splitlines()]

    return play


async def against_client(selection: Selection) -> list[Outcome]:
    """The suite as a server that the client's end calls."""
    asked = {"cases": selection.cases, "exclude": selection.exclude}
    process = await trio.lowlevel.open_process(
        [*SUITE, "client", json.dumps(asked)], cwd=REPOSITORY, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        printed = b""
        while b"\n" not in printed:
            chunk = await process.stdout.receive_some()
            assert chunk, "the suite has ended before it served"
            printed += chunk
        port = json.loads(printed)["port"]
        await play_every_case(port, selection.is_text, AT_A_TIME)
        async for chunk in process.stdout:
            printed += chunk
    finally:
        process.kill()
        with trio.CancelScope(shield=True):  # it has been killed
            await process.wait()
    return [Outcome(**json.loads(line)) for line in printed.splitlines()[1:]]

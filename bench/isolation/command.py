"""`ksmp-relay bench isolation`."""

from __future__ import annotations

import secrets
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Final

from cyclopts import Parameter, validators

from bench.isolation.experiment import DEFAULT_SIZE, DEFAULT_SLOWER_MS, LIMITS, Experiment
from bench.isolation.findings import FaultName, Findings
from bench.telling import measuring, print_json
from relay.exits import CommandError, ExitCode

RESULT_SECONDS: Final = 60.0
"""A shorter experiment has no result."""

QUICK_SECONDS: Final = 6.0
CONVERSATIONS: Final = 200
VICTIM_OF: Final = 40
"""One conversation of so many is a victim, where nobody says how many are."""


def _within(name: str) -> Parameter:
    least, most = LIMITS[name]
    return Parameter(validator=validators.Number(gte=least, lte=most))


def isolation(
    *,
    fault: FaultName,
    out: Path,
    conversations: Annotated[int, _within("conversations")] = CONVERSATIONS,
    victims: Annotated[int | None, _within("victims")] = None,
    seconds: Annotated[float | None, _within("seconds")] = None,
    rate: Annotated[float | None, _within("rate_per_s")] = None,
    seed: Annotated[int | None, _within("seed")] = None,
    size: Annotated[int, _within("size")] = DEFAULT_SIZE,
    slower_ms: Annotated[int, _within("slower_ms")] = DEFAULT_SLOWER_MS,
    in_memory: bool = False,
    quick: bool = False,
    json: bool = False,
) -> int:
    """Let a fault strike some conversations, and measure what the others notice of it.

    It starts a relay of its own on an empty store. Both sides of every conversation send at random
    times, decided by the seed; a latency counts from when a send was meant to be sent. Two fifths
    of the time nothing is wrong, two fifths the fault is on, one fifth is for recovery. Everything
    is recorded and judged.

    The faults: crash-loop (the victims' actors crash at every send), poison (at one send in ten),
    flood (the victims' users also send as fast as they can, from further devices), stuck-reader
    (one side of each victim stops reading, again and again), stuck-actor (the victims' actors take
    seconds for each turn, while their users flood them with large messages), slow-sync (every
    commit takes longer; the disk is everybody's, so there are no victims), slow-loop (now and then
    a victim's record holds up the event loop, which is everybody's, too).

    Exits with 0 when the others were acked about as fast as before and no promise was broken, else
    with 1. A quick run has no result: it exits with 1 only when another promise was broken.

    Parameters
    ----------
    fault
        What goes wrong.
    out
        A directory, new or empty, for all that is left of the experiment: the report with its
        plots, the figures, the history, the configuration and the machine.
    conversations
        How many; each of two users with a connection each.
    victims
        How many of them are struck; one in 40 where this is not given.
    seconds
        Of all phases together: 60 or more for a result.
    rate
        Sends per second of all together. Not given: half of what the relay can do, measured first.
    seed
        Decides when who sends, and who the victims are. Not given: any; the result tells which.
    size
        Bytes of ciphertext in each message.
    slower_ms
        How long slow-sync holds up each commit, or slow-loop the event loop.
    in_memory
        Keep the relay's store in memory, so that what a disk does by itself is not measured.
    quick
        Try it out, in 6 seconds or as many as --seconds says.
    json
        Print the findings as JSON on standard output instead of a table.
    """
    experiment = Experiment(
        fault=fault,
        conversations=conversations,
        victims=_victims(fault, conversations, victims),
        seconds=_seconds(seconds, quick=quick),
        rate_per_s=rate,
        seed=secrets.randbelow(2**32) if seed is None else seed,
        quick=quick,
        size=size,
        slower_ms=slower_ms,
        in_memory=in_memory,
    )
    if experiment.problem is not None:
        raise _usage(experiment.problem, "Give smaller numbers; --help has the limits.")
    _require_room(out)
    findings = _run(experiment, out)
    if json:
        print_json(findings)
    else:
        from bench.isolation.table import print_findings

        print_findings(findings, out)
    return ExitCode.OK if findings.ok else ExitCode.FAILED


def _run(experiment: Experiment, out: Path) -> Findings:
    from bench.isolation.run import run

    try:
        with measuring():
            return run(experiment, out)
    except OSError as error:
        raise CommandError(
            ExitCode.CANNOT_CREATE,
            "What was measured cannot be kept",
            error.strerror or type(error).__name__,
            "Nothing is left of it. Make room, in --out and among temporary files, and repeat it.",
        ) from None


def _victims(fault: FaultName, conversations: int, victims: int | None) -> int:
    if victims is None:
        return max(1, conversations // VICTIM_OF)
    if fault == "slow-sync":
        raise _usage(
            "slow-sync has no --victims: the disk is everybody's",
            "Leave it out, or ask for slow-loop.",
        )
    if victims >= conversations:
        raise _usage(
            f"{victims} victims of {conversations} conversations leave no bystanders",
            "Give fewer --victims, or more --conversations.",
        )
    return victims


def _seconds(seconds: float | None, *, quick: bool) -> float:
    if seconds is None:
        return QUICK_SECONDS if quick else RESULT_SECONDS
    if seconds < RESULT_SECONDS and not quick:
        raise _usage(
            f"{seconds:g} s are too short for a result, which takes {RESULT_SECONDS:g} s",
            "Give more --seconds, or --quick to try it out without a result.",
        )
    return seconds


def _require_room(out: Path) -> None:
    """Found out before the experiment, not after it."""
    try:
        if not out.is_dir():
            out.mkdir(parents=True)
        elif any(out.iterdir()):
            raise _usage("the directory of --out is not empty", "Name one that is new or empty.")
        with TemporaryFile(dir=out):  # it can be written to
            pass
    except OSError as error:
        raise _usage(
            f"the directory of --out cannot be used: {error.strerror}", "Name another one."
        ) from None


def _usage(why: str, what_to_do: str) -> CommandError:
    return CommandError(ExitCode.USAGE, "This is no experiment", why, what_to_do)

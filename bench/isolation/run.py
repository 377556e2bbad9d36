"""An isolation experiment from its beginning to its bundle.

saturation   half of it is the rate, where none is given
load         a relay of its own, and the load in a process of its own; leaves a history
moments      out of the relay's log
judging      the checker's verdict on the history, and the figures
bundle       all of it in one directory; the last file written makes it whole
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from actors.mailbox import BATCH_BYTES
from bench.checker.check import judge
from bench.checker.loading import load
from bench.checker.reading import HistoryError
from bench.ending import unwound_when_told_to_end
from bench.isolation import plan as plans
from bench.isolation.bundle import HISTORY, LOG, MOMENTS, write_bundle
from bench.isolation.experiment import Experiment
from bench.isolation.faults import IN_A_LABORATORY
from bench.isolation.findings import FaultName, Findings
from bench.isolation.judging import Costs, findings_of
from bench.isolation.measuring import baseline_began_wall_ms, timeline_of_story
from bench.isolation.moments import moments_of
from bench.isolation.plan import Done, LoadPlan
from bench.isolation.saturation import measure_saturation
from bench.isolation.schedule import victims_of
from bench.ordering import relay_version
from bench.places import recorded_aside, stores_of
from bench.plan import Progress, Refused, Started, Stopped
from bench.relay_of_its_own import PROGRAM, OwnRelay, relay_of_its_own, tokens_of
from bench.run import ENDED_EARLY, RunError, ServerCpu, generator, progress_bar

LOAD: Final = "bench.isolation.load"

FLOODING_DEVICES: Final[Mapping[FaultName, int]] = {"flood": 1, "stuck-actor": 4}
"""From how many further devices each of the victims' users floods."""

GENEROUS: Final = 4
"""In a flood: how many times what a user sends on average the relay lets pass."""

LEAST_SENDS_PER_S: Final = 20
"""It lets so many pass in any case."""

NARROW_MAILBOX_BYTES: Final = 1 << 20
ROOM_FOR_BYSTANDERS_BYTES: Final = 4 << 20

DEFAULT_WRITE_SECONDS: Final = 10.0


def run(experiment: Experiment, directory: Path, *, program: Sequence[str] = PROGRAM) -> Findings:
    """Do the experiment; everything about it is then in `directory`, which is new or empty.

    `program` is the relay that it is done on, if not the one that is shipped.

    Raises:
        StartError: a relay does not start.
        RunError: there is no measurement; nothing of it is left in the directory.
        OSError: the directory cannot be written to; nothing is left in it either.
    """
    stores = stores_of(in_memory=experiment.in_memory)
    directory.mkdir(parents=True, exist_ok=True)
    with unwound_when_told_to_end(), _nothing_half_done(directory):
        users = [f"isolation-{number}" for number in range(2 * experiment.conversations)]
        rate, saturation = experiment.rate_per_s, None
        if rate is None:
            saturation = measure_saturation(experiment, users, relay_version())
            rate = round(saturation / 2, 1)  # as the findings tell it, so that a rerun is the same
        measured = _loaded(experiment, rate, users, directory, stores, program)
        try:
            with progress_bar("isolation") as show:
                show(Progress("judging", 0, 1))
                story = load(directory / HISTORY)
                report = judge(story)
                moments = moments_of(directory / LOG, baseline_began_wall_ms(story))
                timeline = timeline_of_story(story, moments)
        except HistoryError as error:
            raise RunError(f"the history cannot be judged: {error}") from None
        costs = Costs(rate, saturation, *measured)
        findings = findings_of(experiment, story, timeline, report, costs)
        (directory / MOMENTS).write_bytes(msgspec.json.encode(moments))
        write_bundle(directory, experiment, findings, timeline, store=stores)
    return findings


class _Measured(NamedTuple):
    """Shares of a core, and how many inboxes could not be read at the end."""

    generator_cpu: float
    relay_cpu: float | None
    flooder_cpu: float | None
    unread: int


def _loaded(
    experiment: Experiment,
    rate: float,
    users: Sequence[str],
    directory: Path,
    stores: Path,
    program: Sequence[str],
) -> _Measured:
    """Run the load on a relay; its history and the relay's log are in the directory."""
    write_seconds = _write_seconds(experiment)
    flags = ("--lab",) if experiment.fault in IN_A_LABORATORY else ()
    settings = {"KSMP_LIMITS__WRITE_SECONDS": str(write_seconds), "KSMP_LOG__FORMAT": "json"}
    if experiment.fault in FLOODING_DEVICES:
        settings |= _rate_limits(experiment, rate)
    if experiment.fault == "stuck-actor":
        settings |= _narrow_limits(experiment)
    own = relay_of_its_own(
        users, settings, flags=flags, log=directory / LOG, program=program, stores=stores
    )
    with recorded_aside(directory / HISTORY) as history, own as relay:
        plan = LoadPlan(
            experiment=experiment,
            rate_per_s=rate,
            url=relay.url,
            tokens=tuple(relay.tokens),
            flooding_tokens=_flooding_tokens(experiment, users, relay.data),
            admin=relay.admin,
            write_seconds=write_seconds,
            history=str(history),
            relay=relay_version(),
        )
        return _generated(plan, relay)


def _generated(plan: LoadPlan, relay: OwnRelay) -> _Measured:
    cpu = ServerCpu(relay.pid)
    with generator(LOAD, plan) as lines, progress_bar("isolation") as show:
        for line in lines:
            match plans.decode_report(line):
                case Progress() as progress:
                    show(progress)
                case Started():
                    cpu.begin()
                case Stopped():
                    cpu.end()
                case Done(generator_cpu=generator_cpu, flooded=flooded, unread=unread):
                    lasted = plan.experiment.phases["fault"]
                    seconds = lasted.ended_s - lasted.began_s
                    flooder_cpu = (
                        None if flooded is None else round(flooded.cpu_seconds / seconds, 3)
                    )
                    return _Measured(generator_cpu, cpu.share, flooder_cpu, unread)
                case Refused(reason=reason):
                    raise RunError(reason)
    raise RunError(ENDED_EARLY)


def _write_seconds(experiment: Experiment) -> float:
    """How long who does not read may keep the relay waiting: so that it happens several times."""
    if experiment.fault != "stuck-reader":
        return DEFAULT_WRITE_SECONDS
    began_s, ended_s = experiment.phases["fault"]
    return round(min(1.0, max(0.2, (ended_s - began_s) / 6)), 3)


def _flooding_tokens(experiment: Experiment, users: Sequence[str], data: Path) -> tuple[str, ...]:
    """Of two users for each victim, as often as they have devices to flood from."""
    flooding = [users[2 * victim + side] for victim in victims_of(experiment) for side in (0, 1)]
    return tuple(
        token
        for number in range(FLOODING_DEVICES.get(experiment.fault, 0))
        for token in tokens_of(data, flooding, f"flooder-{number}")
    )


def _narrow_limits(experiment: Experiment) -> dict[str, str]:
    """Room for what the victims have in hand and in their mailboxes, and for the bystanders.

    So the bound of one mailbox is all that keeps a conversation from taking everybody's room.
    """
    return {
        "KSMP_LIMITS__MAILBOX_BYTES": str(NARROW_MAILBOX_BYTES),
        "KSMP_LIMITS__SENDS_UNDER_WAY_BYTES": str(
            experiment.victims * (BATCH_BYTES + NARROW_MAILBOX_BYTES) + ROOM_FOR_BYSTANDERS_BYTES
        ),
    }


def _rate_limits(experiment: Experiment, rate: float) -> dict[str, str]:
    """Limits that fit the load: those of everybody together must be what the relay can do."""
    of_a_user = rate / (2 * experiment.conversations)
    per_second = max(LEAST_SENDS_PER_S, int(GENEROUS * of_a_user))
    return {
        "KSMP_LIMITS__SENDS_PER_SECOND": str(per_second),
        "KSMP_LIMITS__SENDS_BURST": str(2 * per_second),
    }


@contextmanager
def _nothing_half_done(directory: Path) -> Iterator[None]:
    """What ends early leaves no evidence, which somebody could take for that of an experiment."""
    there = set(directory.iterdir())
    try:
        yield
    except BaseException:
        with suppress(OSError):  # what has gone wrong matters more
            for path in set(directory.iterdir()) - there:
                path.unlink(missing_ok=True)
        raise

"""`ksmp-relay bench`: how fast a relay is, what it costs, and whether it keeps its promises."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from cyclopts import App, Parameter, validators

from bench.growth_command import growth
from bench.idle_command import idle
from bench.isolation.command import isolation
from bench.offered.command import latency
from bench.ordering import measure_own_relay, measure_relay_at
from bench.ordering_table import print_ordering
from bench.plan import CodecName, ShapeName
from bench.replay_command import replay
from bench.runs import measure_runs
from bench.shape import PAIRS, Shape, lifted_for
from bench.storm_command import storm
from bench.telling import measuring, require_both_or_neither, say_what_is_lifted, tell
from relay.exits import CommandError, ExitCode

_POSITIVE: Final = validators.Number(gte=1)

app = App(name="bench", help="Measure a relay, and check what it promises while it is loaded.")
app.command(isolation)
app.command(latency)
app.command(replay)
app.command(storm)
app.command(growth)
app.command(idle)
app.command("bench.isolation.rerun:rerun", help="Repeat an isolation experiment from its bundle.")
app.command("bench.isolation.rerun:report", help="Draw the report of a bundle again.")


@app.command
def ordering(
    *,
    shape: ShapeName = "pairs",
    pairs: Annotated[int | None, Parameter(validator=_POSITIVE)] = None,
    in_flight: Annotated[int, Parameter(validator=_POSITIVE)] = 16,
    size: Annotated[int, Parameter(validator=_POSITIVE)] = 256,
    seconds: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=3_600))] = 10.0,
    warm_up: Annotated[float, Parameter(validator=validators.Number(gte=0, lte=600))] = 2.0,
    runs: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=1_000))] = 1,
    codec: CodecName = "msgpack",
    sync_delay_ms: Annotated[float, Parameter(validator=validators.Number(gte=0, lte=1_000))] = 0.0,
    conversations: Annotated[int, Parameter(validator=_POSITIVE)] = 100_000,
    seed: Annotated[int, Parameter(validator=validators.Number(gte=0, lt=2**53))] = 1,
    url: str | None = None,
    tokens: Annotated[Path | None, Parameter(validator=validators.Path(exists=True))] = None,
    history: Path | None = None,
    json: bool = False,
) -> int:
    """Load a relay with users who write to each other, and judge what all of them saw.

    Without --url it starts a relay of its own on an empty store, with the limits on senders lifted.
    At the end every inbox is read once more. Exits with 1 when a message was lost, doubled or out
    of order, a chain was broken, or anything else was seen that contradicts the protocol.

    Parameters
    ----------
    shape
        Who talks to whom: `pairs` of users; `hot`, one conversation of two users with many devices;
        `hub`, one user in many conversations; `zipf`, many conversations of which a few have most
        of the sends.
    pairs
        Pairs of users; both sides send, on one connection each. In `hot` devices of each of the
        two, in `hub` the one user's conversations. By default 16, 4, 1,000, and in `zipf` 500.
    in_flight
        Sends that each connection keeps unacked; a hub's as many for each conversation, at most
        256 in all.
    size
        Bytes of ciphertext in each message.
    seconds
        How long to measure.
    warm_up
        Seconds of load before that.
    runs
        How often, each time on a fresh relay: medians are told, with the lowest and the highest.
    codec
        The subprotocol all of them speak.
    sync_delay_ms
        Hold every commit up for so long, as a slower disk would. The relay is then a laboratory.
    conversations
        Only for `zipf`: how many there are. They begin with their first message.
    seed
        Only for `zipf`: of the draws of who sends next.
    url
        A relay that runs already, such as ws://127.0.0.1:8765/ksmp/v3; needs --tokens.
    tokens
        A file with one token a line, two for each pair, in pair order; of a hub its own first,
        then its peers'.
    history
        Keep what was recorded in this file, for `ksmp-relay check`.
    json
        Print JSON on standard output instead of a table.
    """
    require_both_or_neither(url, tokens)
    _require_one_run(runs, history)
    wanted = Shape(
        PAIRS[shape] if pairs is None else pairs,
        in_flight,
        size,
        seconds,
        warm_up,
        shape,
        codec,
        sync_delay_ms,
        conversations if shape == "zipf" else 0,
        seed,
    )
    with measuring():
        if url is None or tokens is None:
            say_what_is_lifted(lifted_for(wanted))
            report = measure_runs(lambda: measure_own_relay(wanted, history), runs)
        else:
            _require_own_relay(runs, sync_delay_ms)
            report = measure_relay_at(url, tokens, wanted, history)
    return tell(report, print_ordering, json=json)


def _require_one_run(runs: int, history: Path | None) -> None:
    if runs > 1 and history is not None:
        raise CommandError(
            ExitCode.USAGE,
            "This cannot be measured",
            "--history keeps one run, and --runs makes several",
            "Leave one of them out.",
        )


def _require_own_relay(runs: int, sync_delay_ms: float) -> None:
    if runs > 1 or sync_delay_ms:
        raise CommandError(
            ExitCode.USAGE,
            "This cannot be measured",
            "--runs and --sync-delay-ms need relays started for it, and --url names one that runs",
            "Leave --url and --tokens out.",
        )

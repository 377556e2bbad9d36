"""`ksmp-relay bench replay`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter, validators

from bench.pages.result import command_line
from bench.replay import ReplayReport, ReplayShape, measure_replay
from bench.run import GENERATOR_BOUND
from bench.telling import measured, print_lines, tell, verdict_lines

_POSITIVE: Final = validators.Number(gte=1)


def replay(
    *,
    records: Annotated[int, Parameter(validator=_POSITIVE)] = 1_000_000,
    size: Annotated[int, Parameter(validator=_POSITIVE)] = 300,
    pairs: Annotated[int, Parameter(validator=_POSITIVE)] = 16,
    rate: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 200.0,
    seconds: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=3_600))] = 10.0,
    seed: int = 1,
    ratio: Annotated[bool, Parameter(negative="")] = False,
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Let one client read a long inbox from the beginning, and measure what others notice of it.

    It starts a relay of its own on a store that is filled before. Exits with 1 when a record was
    missing, doubled or out of its place, or a promise to the others was broken.

    Parameters
    ----------
    records
        How many the inbox holds.
    size
        Bytes of ciphertext in each, and in each live message.
    pairs
        Pairs of other users, who write live.
    rate
        Live sends a second, of all together.
    seconds
        How long the live traffic is measured alone, before the replay.
    seed
        Decides who sends when.
    ratio
        Also measure 16 pairs × 16 in flight, and tell how many frames there are to one message.
    out
        A directory that gets result.json and report.html, with pictures where there are any.
    json
        Print JSON on standard output instead of lines.
    """
    shape = ReplayShape(records, size, pairs, rate, seconds, seed)
    command = command_line(
        *("ksmp-relay", "bench", "replay"),
        records=records,
        size=size,
        pairs=pairs,
        rate=rate,
        seconds=seconds,
        seed=seed,
        ratio=ratio,
    )
    report = measured(
        "replay",
        lambda: measure_replay(shape, ratio_seconds=max(2.0, seconds) if ratio else None),
        out=out,
        command=command,
    )
    return tell(report, _show, json=json)


def _show(report: ReplayReport) -> None:
    print_lines(_lines(report))


def _lines(report: ReplayReport) -> list[str]:
    memory, live = report.memory, report.live
    relay = "unknown" if report.relay_cpu is None else f"{report.relay_cpu:.0%} of a core"
    flat = "flat" if report.memory_flat else "not flat"
    lines = [
        (
            f"Replay: {report.frames:,} of {report.records:,} records in {report.seconds:.2f} s,"
            f" {report.frames_per_s:,.0f} frames/s, {report.bytes_per_s / 1e6:,.1f} MB/s."
        ),
        (
            f"Order: {report.out_of_place} out of place;"
            f" {'ends' if report.ends_right else 'does not end'} where it must."
        ),
        (
            f"The relay's own memory: {memory.own_first_kib / 1024:,.1f} MiB in the first third,"
            f" {memory.own_last_kib / 1024:,.1f} MiB in the last: {flat}"
            f" (with file pages {memory.resident_first_kib / 1024:,.1f} and"
            f" {memory.resident_last_kib / 1024:,.1f})."
        ),
        (
            f"Live acks: p99 {live.baseline_ack_ms.p99:.2f} ms without the replay"
            f" ({live.baseline_sends:,} sends), {live.meanwhile_ack_ms.p99:.2f} ms with it"
            f" ({live.meanwhile_sends:,} sends)."
        ),
        (
            f"CPU: relay {relay}, reader {report.reader_cpu:.0%}, live traffic"
            f" {live.generator_cpu:.0%} of a core."
        ),
    ]
    if report.reader_bound:
        lines.append(
            f"The reader took more than {GENERATOR_BOUND:.0%} of a core: a lower bound, no ratio."
        )
    if report.messages_per_s is not None:
        ratio = "none" if report.ratio is None else f"{report.ratio:.2f}"
        lines.append(
            f"16 pairs × 16 in flight: {report.messages_per_s:,.0f} messages/s; ratio {ratio}."
        )
    if live.unanswered:
        lines.append(f"Live sends without an answer: {live.unanswered}.")
    return lines + list(verdict_lines(report.checker))

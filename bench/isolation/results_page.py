"""The results of a campaign as Markdown: tables, a picture for each fault, the commands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bench.isolation import wording as w
from bench.isolation.findings import Findings
from bench.isolation.results import ON_DISK, RESULTS, Outcome, Results
from bench.pages import wording as words
from bench.pages.origin import machine_rows


def results_page(results: Results, pictures: str = "isolation") -> str:
    """The text; `pictures` is the directory of the pictures as the page sees it."""
    found = [one.findings for one in results.outcomes if one.findings is not None]
    paragraphs = [
        _surroundings(results, RESULTS),
        *_noticed(found),
        "What the fault did to its victims, and what the relay did about it:",
        _table(_VICTIMS, map(_of_victims, found)),
        "What is shared, and what it costs the others:",
        _table(_SHARED, _shared(results.outcomes)),
        *_failures(results),
        *_pictures(results.outcomes, pictures),
        *_commands(results),
    ]
    return "\n\n".join(paragraphs)


def page_on_disk(results: Results) -> str:
    """What bystanders noticed where the disk took part."""
    found = [one.findings for one in results.outcomes if one.findings is not None]
    paragraphs = _surroundings(results, ON_DISK), *_noticed(found), *_failures(results)
    return "\n\n".join((*paragraphs, *_commands(results)))


def _noticed(found: Iterable[Findings]) -> tuple[str, str]:
    table = _table(_BYSTANDERS, map(_of_bystanders, found))
    return "What bystanders noticed; allowed is what I17 allows:", table


def _failures(results: Results) -> Iterator[str]:
    for one in results.outcomes:
        if one.failure:
            yield f"`{one.fault}`: no measurement: {one.failure}."


def _commands(results: Results) -> tuple[str, str]:
    commands = "\n".join(("```text", *(one.command for one in results.outcomes), "```"))
    return "The commands, each of which does one of them again:", commands


_BYSTANDERS = (
    "fault",
    "conclusion",
    "sends per second",
    "samples",
    "ack p99, before → in the fault",
    "allowed",
    "worst, before → in the fault",
    "allowed",
)
_VICTIMS = (
    "fault",
    "victims",
    "acked within a second",
    "acked in the end",
    "recovery",
    "restarts",
    "quarantines",
    "dead letters",
    "relay's CPU",
    "promises broken",
)


_SHARED = (
    "shared",
    "fault",
    "what it does",
    "bystanders' p99 later by",
    "their worst later by",
    "victims' sends refused",
    "relay's CPU",
)


def _shared(outcomes: Iterable[Outcome]) -> Iterator[Sequence[str]]:
    """Where the fault strikes what everybody needs, how much of it comes through to the others."""
    for one in outcomes:
        found, slower = one.findings, f"{one.experiment.slower_ms} ms"
        shared = {
            "slow-sync": ("the disk", f"every commit takes {slower} longer"),
            "slow-loop": ("the event loop", f"it stands still for {slower}, a tenth of the time"),
            "stuck-actor": ("room for sends under way", "the victims' mailboxes are kept full"),
            "flood": ("interpreter and processor", "the victims' users send all they can"),
        }.get(one.fault)
        if shared is not None and found is not None:
            seen = found.bystanders
            yield (
                shared[0],
                f"`{one.fault}`",
                shared[1],
                _later(seen.baseline_p99_ms, seen.fault_p99_ms),
                _later(seen.baseline_worst_ms, seen.worst_ms),
                f"{found.victims.refused:,}",
                words.share(found.relay_cpu),
            )


def _later(before_ms: float | None, in_fault_ms: float | None) -> str:
    if before_ms is None or in_fault_ms is None:
        return words.NEVER
    return words.latency(in_fault_ms - before_ms) if in_fault_ms > before_ms else "nothing"


def _surroundings(results: Results, name: str) -> str:
    machine = dict(machine_rows(results.machine))
    on = results.machine
    sync, worst = words.latency(on.sync_ms), words.latency(on.worst_sync_ms)
    return (
        f"Measured at {results.written_at} on {machine['processor']}, {machine['cores']} cores,"
        f" {machine['memory']}, {machine['system']}, the store on"
        f" {machine['file system of the store']}, where a sync of 4 KiB took"
        f" {sync} (worst {worst});"
        f" relay {results.versions.relay}, {results.versions.python}. The whole figures are in"
        f" [{name}](isolation/{name})."
    )


def _of_bystanders(found: Findings) -> Sequence[str]:
    seen = found.bystanders

    def both(before_ms: float | None, in_fault_ms: float | None) -> str:
        return f"{w.of_bystanders(found, before_ms)} → {w.of_bystanders(found, in_fault_ms)}"

    return (
        f"`{found.fault}`",
        found.conclusion if found.conclusion != "not isolated" else f"**{found.conclusion}**",
        f"{found.rate_per_s:,.0f}",
        f"{seen.samples:,}",
        both(seen.baseline_p99_ms, seen.fault_p99_ms),
        w.bound(seen.allowed_p99_ms),
        both(seen.baseline_worst_ms, seen.worst_ms),
        w.bound(seen.allowed_worst_ms),
    )


def _of_victims(found: Findings) -> Sequence[str]:
    victims = found.victims
    return (
        f"`{found.fault}`",
        f"{victims.conversations:,}",
        words.share(victims.availability),
        f"{victims.acked:,} of {victims.sends:,}",
        words.if_seen(victims.recovery_ms),
        f"{found.restarts:,}",
        f"{found.quarantines:,}",
        f"{found.dead_letters:,}",
        words.share(found.relay_cpu),
        ", ".join(found.checker.violated) or "none",
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _pictures(outcomes: Iterable[Outcome], pictures: str) -> Iterator[str]:
    for one in outcomes:
        if one.plot is not None and one.findings is not None:
            yield f"![{w.headline(one.findings)}]({pictures}/{one.plot})"

"""One HTML page that holds a whole experiment: no script, nothing to load, nothing unescaped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from bench.checker.printing import excerpt_lines
from bench.isolation import wording as w
from bench.isolation.findings import Findings
from bench.pages import wording as words
from bench.pages.markup import Markup, element, table
from bench.pages.origin import machine_rows, sync_row, versions_rows
from bench.pages.page import figure, page, texts

if TYPE_CHECKING:
    from bench.isolation.bundle import Provenance
    from bench.pages.canvas import Picture

LEGEND: Final = (
    "Bystanders are conversations that the fault does not strike, victims those that it does. A"
    " latency counts from when a send was meant to be sent, so a sender that is held up hides"
    " nothing. The baseline is the time before the fault. I17 is the promise that bystanders are"
    " acked about as fast in the fault as before it."
)


def report_html(provenance: Provenance, findings: Findings, pictures: Sequence[Picture]) -> str:
    """The page, the same for the same experiment."""
    return page(
        f"Isolation experiment: {findings.fault}, {findings.conclusion}",
        *_conclusion(provenance, findings),
        *_figures(findings),
        element("h2", "Pictures"),
        *(figure(picture) for picture in pictures),
        *_verdicts(findings),
        *_origin(provenance, findings),
    )


def _conclusion(provenance: Provenance, findings: Findings) -> Iterator[Markup]:
    experiment = provenance.experiment
    if experiment.quick or findings.conclusion == "quick run, no result":
        yield element("p", "Quick run: this is no result", class_="quick", role="note")
    mood = {"isolated": "good", "not isolated": "bad"}.get(findings.conclusion, "open")
    yield element("h1", f"{w.headline(findings)}.", class_=mood if findings.ok else "bad")
    if sentence := w.broken(findings):
        yield element("p", element("strong", sentence))
    if sentence := w.unread(findings):
        yield element("p", element("strong", f"{sentence}."))
    yield element(
        "p",
        f"{findings.conversations:,} conversations, {findings.victims.conversations:,} of them"
        f" struck by the fault {findings.fault}, {findings.seconds:g} seconds in all, at"
        f" {words.rate(findings.rate_per_s)}. Of the victims' sends in the fault"
        f" {words.share(findings.victims.availability)} were acked within a second.",
    )
    yield element("p", LEGEND, class_="note")


def _figures(findings: Findings) -> Iterator[Markup]:
    yield element("h2", "Figures")
    yield _of_bystanders(findings)
    yield _of_victims(findings)
    yield _of_restarts(findings)


def _of_bystanders(findings: Findings) -> Markup:
    bystanders = findings.bystanders

    def of(latency_ms: float | None) -> str:
        return w.of_bystanders(findings, latency_ms)

    return table(
        f"Bystanders: {bystanders.conversations:,} conversations, {bystanders.samples:,} samples",
        ("", "baseline", "fault", "allowed"),
        (
            ("ack, median", of(bystanders.baseline_p50_ms), of(bystanders.fault_p50_ms), ""),
            (
                "ack, p99",
                of(bystanders.baseline_p99_ms),
                of(bystanders.fault_p99_ms),
                w.bound(bystanders.allowed_p99_ms),
            ),
            ("ack, p99, ratio", "1", words.ratio(bystanders.ratio), ""),
            (
                "ack, worst",
                of(bystanders.baseline_worst_ms),
                of(bystanders.worst_ms),
                w.bound(bystanders.allowed_worst_ms),
            ),
            (
                "delivery, p99",
                of(bystanders.delivery_baseline_p99_ms),
                of(bystanders.delivery_fault_p99_ms),
                "",
            ),
        ),
    )


def _of_victims(findings: Findings) -> Markup:
    victims = findings.victims
    return table(
        f"Victims: {victims.conversations:,} conversations, in the fault",
        ("", "figure"),
        (
            ("sends", f"{victims.sends:,}"),
            ("acked, sooner or later", f"{victims.acked:,}"),
            ("refusals", f"{victims.refused:,}"),
            ("availability: acked within a second", words.share(victims.availability)),
            ("ack, p99", words.latency(victims.fault_p99_ms) if victims.sends else words.UNKNOWN),
            (
                "from the end of the fault until all were acked again",
                words.if_seen(victims.recovery_ms),
            ),
        ),
    )


def _of_restarts(findings: Findings) -> Markup:
    restart = findings.time_to_restart
    return table(
        "What was done about it",
        ("", "figure"),
        (
            ("restarts", f"{findings.restarts:,}"),
            ("from a failure to the restart, median", words.if_seen(restart.p50_ms)),
            ("from a failure to the restart, worst", words.if_seen(restart.worst_ms)),
            ("quarantines", f"{findings.quarantines:,}"),
            ("dead letters", f"{findings.dead_letters:,}"),
        ),
    )


def _verdicts(findings: Findings) -> Iterator[Markup]:
    checked = findings.checker
    yield element("h2", "What the history checker says")
    whole = "The history is whole." if checked.whole else "The history is cut off."
    said = "Nothing contradicts the promises." if checked.ok else "This history is not good."
    yield element(
        "p", f"{checked.sends:,} sends and {checked.frames:,} frames were judged. {whole} {said}"
    )
    made = table(
        "Promises",
        ("", "promise", "examined", "verdict", "violations"),
        (
            (
                one.invariant,
                one.promise,
                f"{one.examined:,}",
                _word(one.verdict),
                f"{one.violations:,}",
            )
            for one in checked.verdicts
        ),
    )
    yield element("div", made, class_="texts")
    for verdict in checked.verdicts:
        if verdict.excerpt:
            yield element("h3", f"What contradicts {verdict.invariant}")
            yield element("pre", "\n".join(excerpt_lines(verdict)), tabindex="0")


def _word(verdict: str) -> Markup:
    mark = {"violated": "✗ ", "ok": "✓ "}.get(verdict, "")
    return element("strong" if verdict == "violated" else "span", f"{mark}{verdict}")


def _origin(provenance: Provenance, findings: Findings) -> Iterator[Markup]:
    machine = provenance.machine
    yield element("h2", "Where this comes from")
    yield texts("Configuration", _configuration(provenance, findings))
    yield texts("Versions", versions_rows(provenance.versions))
    yield texts("Machine", (*machine_rows(machine), sync_row(machine)))
    yield element("h2", "Run it again")
    yield element("p", "DIR is the directory of this report: the bundle with all it needs.")
    yield element("pre", element("code", "ksmp-relay bench rerun DIR"), tabindex="0")
    yield element("p", "To judge the history once more, and to draw all of this again:")
    again = "ksmp-relay check DIR/history\nksmp-relay bench report DIR"
    yield element("pre", element("code", again), tabindex="0")


def _configuration(provenance: Provenance, findings: Findings) -> Iterator[tuple[str, str]]:
    experiment = provenance.experiment
    yield "fault", findings.fault
    yield "conversations", f"{findings.conversations:,}"
    yield "of them victims", f"{findings.victims.conversations:,}"
    yield "seconds in all", f"{experiment.seconds:g}"
    for phase, (began_s, ended_s) in experiment.phases.items():
        yield phase, f"{began_s:g} s to {ended_s:g} s"
    yield "sends of all conversations", words.rate(findings.rate_per_s)
    yield "saturation, measured", words.rate(findings.saturation_per_s)
    yield "bytes of ciphertext", f"{experiment.size:,}"
    if findings.fault in ("slow-sync", "slow-loop"):
        yield "how long the relay was held up, each time", f"{experiment.slower_ms} ms"
    yield "seed", str(findings.seed)
    yield "load generator", f"{words.share(findings.generator_cpu)} of a core"
    yield "relay", f"{words.share(findings.relay_cpu)} of a core"
    if findings.flooder_cpu is not None:
        yield "flooders", f"{words.share(findings.flooder_cpu)} of a core"
    yield "written at", provenance.written_at

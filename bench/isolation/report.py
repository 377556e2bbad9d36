"""One HTML page that holds a whole experiment: no script, nothing to load, nothing unescaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from bench.checker.printing import excerpt_lines
from bench.isolation import wording as w
from bench.isolation.findings import Findings
from bench.isolation.markup import Markup, drawing, element, table

if TYPE_CHECKING:
    from bench.isolation.bundle import Provenance
    from bench.isolation.plots.canvas import Picture
    from bench.isolation.results import Results

# No policy lets this page load or run anything, so that none of its text ever could.
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"

STYLE: Final = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --soft: #595959; --line: #d5d5d5;
  --good: #007a5a; --bad: #b33c00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #161616; --soft: #a8a8a8; --line: #444; --good: #4fc3a1;
    --bad: #ff9a66; }
  figure svg { filter: invert(0.91) hue-rotate(180deg); }
}
body { font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; line-height: 1.3; border-left: 0.4rem solid var(--soft);
  padding-left: 0.8rem; }
h1.good { border-color: var(--good); } h1.bad { border-color: var(--bad); }
h2 { font-size: 1.2rem; margin-top: 2.2rem; }
.quick { font-size: clamp(2rem, 8vw, 4rem); font-weight: 800; line-height: 1.1; text-align: center;
  border: 0.4rem solid var(--bad); color: var(--bad); padding: 1rem; margin: 0 0 1rem; }
.wide, figure { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; }
caption { text-align: left; font-weight: 600; padding-bottom: 0.3rem; }
th, td { padding: 0.25rem 0.8rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; font-variant-numeric: tabular-nums; }
th[scope=row], .texts td, .texts th { text-align: left; } th { font-weight: 500; }
td.bad { color: var(--bad); font-weight: 700; }
figure svg { width: 100%; min-width: 40rem; height: auto; display: block; }
figcaption, .note { color: var(--soft); }
pre { overflow-x: auto; padding: 0.8rem; border: 1px solid var(--line); }
@media print { figure, table { break-inside: avoid; } figure svg { min-width: 0; } }
"""

LEGEND: Final = (
    "Bystanders are conversations that the fault does not strike, victims those that it does. A"
    " latency counts from when a send was meant to be sent, so a sender that is held up hides"
    " nothing. The baseline is the time before the fault. I17 is the promise that bystanders are"
    " acked about as fast in the fault as before it."
)


def report_html(provenance: Provenance, findings: Findings, pictures: Sequence[Picture]) -> str:
    """The page, the same for the same experiment."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("title", f"Isolation experiment: {findings.fault}, {findings.conclusion}"),
        element("style", Markup(STYLE)),
    )
    main = element(
        "main",
        *_conclusion(provenance, findings),
        *_figures(findings),
        element("h2", "Pictures"),
        *(_figure(picture) for picture in pictures),
        *_verdicts(findings),
        *_origin(provenance, findings),
    )
    page = element("html", head, element("body", main), lang="en")
    return f"<!doctype html>\n{page.html}\n"


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
        f" {w.rate(findings.rate_per_s)}. Of the victims' sends in the fault"
        f" {w.share(findings.victims.availability)} were acked within a second.",
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
            ("ack, p99, ratio", "1", w.ratio(bystanders.ratio), ""),
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
            ("availability: acked within a second", w.share(victims.availability)),
            ("ack, p99", w.latency(victims.fault_p99_ms) if victims.sends else w.UNKNOWN),
            (
                "from the end of the fault until all were acked again",
                w.if_seen(victims.recovery_ms),
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
            ("from a failure to the restart, median", w.if_seen(restart.p50_ms)),
            ("from a failure to the restart, worst", w.if_seen(restart.worst_ms)),
            ("quarantines", f"{findings.quarantines:,}"),
            ("dead letters", f"{findings.dead_letters:,}"),
        ),
    )


def _figure(picture: Picture) -> Markup:
    return element(
        "figure",
        drawing(picture.svg, picture.name, picture.title, picture.alt),
        element("figcaption", f"{picture.title}. {picture.alt}"),
        tabindex="0",
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
    yield element("h2", "Where this comes from")
    yield _texts("Configuration", _configuration(provenance, findings))
    yield _texts("Versions", versions_rows(provenance))
    yield _texts("Machine", (*machine_rows(provenance), _sync_row(provenance)))
    yield element("h2", "Run it again")
    yield element("p", "DIR is the directory of this report: the bundle with all it needs.")
    yield element("pre", element("code", "ksmp-relay bench rerun DIR"), tabindex="0")
    yield element("p", "To judge the history once more, and to draw all of this again:")
    again = "ksmp-relay check DIR/history\nksmp-relay bench report DIR"
    yield element("pre", element("code", again), tabindex="0")


def _texts(caption: str, rows: Iterable[tuple[str, str]]) -> Markup:
    return element("div", table(caption, ("", ""), rows), class_="texts")


def _configuration(provenance: Provenance, findings: Findings) -> Iterator[tuple[str, str]]:
    experiment = provenance.experiment
    yield "fault", findings.fault
    yield "conversations", f"{findings.conversations:,}"
    yield "of them victims", f"{findings.victims.conversations:,}"
    yield "seconds in all", f"{experiment.seconds:g}"
    for phase, (began_s, ended_s) in experiment.phases.items():
        yield phase, f"{began_s:g} s to {ended_s:g} s"
    yield "sends of all conversations", w.rate(findings.rate_per_s)
    yield "saturation, measured", w.rate(findings.saturation_per_s)
    yield "bytes of ciphertext", f"{experiment.size:,}"
    if findings.fault in ("slow-sync", "slow-loop"):
        yield "how long the relay was held up, each time", f"{experiment.slower_ms} ms"
    yield "seed", str(findings.seed)
    yield "load generator", f"{w.share(findings.generator_cpu)} of a core"
    yield "relay", f"{w.share(findings.relay_cpu)} of a core"
    if findings.flooder_cpu is not None:
        yield "flooders", f"{w.share(findings.flooder_cpu)} of a core"
    yield "written at", provenance.written_at


def versions_rows(provenance: Provenance) -> Iterator[tuple[str, str]]:
    """Name and version of all that ran."""
    versions = provenance.versions
    yield "relay", versions.relay
    yield "Python", versions.python
    yield "LMDB, the library", versions.lmdb_library
    yield from sorted(versions.packages.items())


def machine_rows(provenance: Provenance | Results) -> Iterator[tuple[str, str]]:
    """The facts about the machine that do not change from one minute to the next."""
    machine = provenance.machine
    yield "processor", machine.cpu or w.UNKNOWN
    yield "cores", str(machine.cores)
    yield "architecture", machine.architecture
    yield "system", f"{machine.system} {machine.kernel}"
    yield "memory", w.UNKNOWN if machine.memory_mib is None else f"{machine.memory_mib:,} MiB"
    yield "file system of the store", machine.file_system or w.UNKNOWN


def _sync_row(provenance: Provenance) -> tuple[str, str]:
    machine = provenance.machine
    sync, worst = w.latency(machine.sync_ms), w.latency(machine.worst_sync_ms)
    return "a sync of 4 KiB, with nothing else going on", f"median {sync}, worst {worst}"

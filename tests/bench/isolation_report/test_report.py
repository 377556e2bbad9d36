"""The page: whole by itself, nothing in it that runs or loads, and the conclusion first."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from html.parser import HTMLParser

import msgspec
import pytest
from msgspec import Struct
from msgspec.structs import fields, replace

from bench.isolation.bundle import FORMAT, Evidence, Provenance
from bench.isolation.findings import Findings
from bench.isolation.plots import draw
from bench.isolation.report import report_html
from bench.pages.canvas import Picture
from bench.pages.markup import element
from bench.pages.surroundings import Machine, Versions
from tests.bench.isolation_report.synthetic import EXPERIMENT, findings, report, timeline

EVIL = "<script>alert('1')</script>\"'&--><img src=x onerror=alert(2)>"
VOID = {"meta", "br", "img"}

PROVENANCE = Provenance(
    bundle=FORMAT,
    written_at=datetime(2026, 11, 23, tzinfo=UTC).isoformat(),
    experiment=EXPERIMENT,
    versions=Versions("0.1.0", "CPython 3.11.7", "0.9.36", {"trio": "0.35.0"}),
    machine=Machine("A processor", 2, "x86_64", "Linux", "6.1", 8_000, "ext4", 0.1, 3.0),
    files={"history": Evidence(1, "00")},
)


class Page(HTMLParser):
    """What a page consists of; fails where an element is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data

    def tags(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]


@cache
def pictures() -> tuple[Picture, ...]:
    return draw(timeline(), findings())


def page(found: Findings | None = None, provenance: Provenance = PROVENANCE) -> Page:
    return Page(report_html(provenance, found or findings(), pictures()))


def poisoned(value: object) -> object:
    """The same with every text replaced, but for those that are one of a few words."""
    match value:
        case str():
            return EVIL
        case dict():
            return {f"{key}{EVIL}": poisoned(one) for key, one in value.items()}
        case tuple():
            return tuple(poisoned(one) for one in value)
        case Struct():
            chosen = {"conclusion", "verdict", "fault"}
            names = [one.name for one in fields(value) if one.name not in chosen]
            return replace(value, **{name: poisoned(getattr(value, name)) for name in names})
    return value


def test_the_conclusion_comes_first_then_figures_pictures_and_verdicts():
    text = page().text

    order = [
        "Isolated: bystanders' ack p99 was 3.40 ms in the fault",
        "253 ms",
        "dead letters",
        "Latency over time",
        "What the history checker says",
        "Configuration",
        "Versions",
        "Machine",
        "ksmp-relay bench rerun DIR",
    ]
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_the_page_loads_nothing_and_runs_nothing():
    html = report_html(PROVENANCE, findings(), pictures())
    shown = Page(html)

    for tag, attributes in shown.elements:
        assert tag not in ("script", "link", "iframe", "object", "embed", "img", "base", "form")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "action", "data"):
                assert value is not None
                assert value.startswith("#")
    outside = set(re.findall(r"https?://[^\s\"']+", html))
    assert outside == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # are names
    assert "@import" not in html
    assert not re.findall(r"url\((?!#)", html)


def test_the_page_forbids_itself_to_load_or_run_anything():
    policies = [one["content"] for one in page().tags("meta") if "http-equiv" in one]

    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_no_text_becomes_markup():
    evil = poisoned(findings(checker=report(EVIL)))
    provenance = poisoned(PROVENANCE)
    assert isinstance(evil, Findings)
    assert isinstance(provenance, Provenance)
    evil_pictures = tuple(
        picture._replace(title=EVIL, alt=EVIL, name="evil") for picture in pictures()
    )

    html = report_html(provenance, evil, evil_pictures)

    assert "<script" not in html.lower()
    assert "<img" not in html.lower()
    assert "onerror=alert(2)>" not in html
    shown = Page(html)
    assert shown.tags("script") == []
    assert shown.text.count("<script>alert('1')</script>") > 20


def test_attributes_are_escaped_as_texts_are():
    made = element("p", EVIL, title=EVIL).html

    assert Page(made).tags("p") == [{"title": EVIL}]
    assert Page(made).text == EVIL


def test_ids_are_unique_and_every_reference_has_its_target():
    html = report_html(PROVENANCE, findings(), pictures())
    ids = re.findall(r'\bid="([^"]+)"', html)

    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', html)) <= set(ids)
    assert set(re.findall(r"url\(#([^)]+)\)", html)) <= set(ids)
    labels = [one for labels in re.findall(r'labelledby="([^"]+)"', html) for one in labels.split()]
    assert set(labels) <= set(ids)


def test_pictures_are_described_and_tables_have_headings():
    shown = page()

    drawings = shown.tags("svg")
    assert len(drawings) == 3
    assert all(one["role"] == "img" and one["aria-labelledby"] for one in drawings)
    assert all(picture.alt.split(".")[0] in shown.text for picture in pictures())
    assert all(one.get("scope") in ("col", "row") for one in shown.tags("th"))
    assert len(shown.tags("caption")) == len(shown.tags("table")) > 5
    assert shown.tags("html") == [{"lang": "en"}]
    assert any(one.get("name") == "viewport" for one in shown.tags("meta"))


def test_a_quick_run_is_called_no_result_in_large_letters():
    quick = findings(conclusion="quick run, no result")
    provenance = replace(PROVENANCE, experiment=replace(EXPERIMENT, quick=True))

    shown = page(quick, provenance)

    assert next(one.get("class") for one in shown.tags("p")) == "quick"
    assert "Quick run: this is no result" in shown.text
    html = report_html(provenance, quick, pictures())
    assert re.search(r"\.quick \{[^}]*font-size: clamp\(2rem", html)


def test_a_run_that_is_not_quick_is_not_called_so():
    assert "Quick" not in page().text


def test_what_was_broken_is_said_above_and_shown_below():
    text = page().text

    assert "The checker saw broken: I17." in text
    assert "0.1 s send\n" in text
    assert "not exercised" in text


def test_what_never_happened_is_called_never_and_what_was_not_measured_is_not():
    found = findings()
    lost = replace(found.bystanders, worst_ms=None, fault_p99_ms=None, ratio=None)
    unmeasured = replace(lost, samples=0)

    assert "bystanders' ack p99 was never in" in page(findings(bystanders=lost)).text
    assert "no bystander's send was measured" in page(findings(bystanders=unmeasured)).text


def test_figures_survive_as_json_and_are_shown_the_same():
    found = findings()
    again = msgspec.json.decode(msgspec.json.encode(found), type=Findings)

    assert page(again).text == page(found).text


@pytest.mark.parametrize(
    "words", ["A processor", "8,000 MiB", "ext4", "trio", "0.35.0", "7", "4,711.5 per s", "24 s to"]
)
def test_all_that_is_needed_to_compare_is_there(words):
    assert words in page().text

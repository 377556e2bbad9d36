"""Results on one page: in their order, whole by itself, and nothing hidden that went wrong."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from bench.checker.verdict import Verdict
from bench.offered.sweep import LatencyReport
from bench.pages.report import Shown, report_html
from bench.pages.result import (
    KINDS,
    Kind,
    Result,
    ResultError,
    read_result,
    result_of,
    write_result,
)
from bench.pages.section import Section
from bench.report import app
from bench.sections import shown
from tests.bench.isolation_report.test_report import Page
from tests.bench.made_up import CHECKED
from tests.bench.pages.made_up import made_up_reports, peers, run, sweep

EVIL = "<script>alert('1')</script>\"'&-->"


def result(report: LatencyReport | None = None, command: str = "a command") -> Result:
    return result_of("latency", report or sweep(), command, Path())


def page(*results: Result) -> Page:
    return Page(
        report_html([Shown(one, section_of(one.kind, bytes(one.report))) for one in results])
    )


@cache
def section_of(kind: Kind, report: bytes) -> Section:
    """Drawn once: the pictures take longer than all else here."""
    return shown(replace(result(), kind=kind, report=msgspec.Raw(report))).section


def test_every_kind_is_shown_in_the_order_of_the_kinds_whatever_order_they_come_in() -> None:
    reports = made_up_reports()
    assert set(reports) == set(KINDS)

    made = page(*(result_of(kind, reports[kind], f"do {kind}", Path()) for kind in reversed(KINDS)))

    places = [made.text.index(f"do {kind}") for kind in KINDS]
    assert places == sorted(places)
    for told in (
        "1.50 × · 1.25 … 2.00",  # beside nats, of the rounds
        "2.00 × · 2.00 … 2.00",  # its latency
        "NOT synced",
        "nats (2.9)",
        "inbox: none; idempotency: some",
        "Its own benchmark: a benchmark",
        "800 per s",
        "at most 2.5 ×",
        "20 conversations, 400 records",
        "1.07 ×",
        "990 of 1,000",
        "4.50 s",
        "19 after 60 s",
        "2 clients",
    ):
        assert told in made.text, told
    assert len(made.tags("svg")) == 3 + 2 + 1


@pytest.mark.parametrize("what", ["lost", "missed", "failed"])
def test_a_comparison_is_not_good_where_something_was_lost_missed_or_left_out(what: str) -> None:
    report = peers()
    (one,) = report.comparisons
    first, *others = one.relay
    bad = {
        "lost": replace(
            report, comparisons=(replace(one, relay=(replace(first, lost=1), *others)),)
        ),
        "missed": replace(report, floors=(replace(report.floors[0], verdict="missed"),)),
        "failed": replace(report, failure="it rained"),
    }

    assert shown(result_of("peers", report, "", Path())).section.is_good
    assert not shown(result_of("peers", bad[what], "", Path())).section.is_good


def test_a_kind_that_was_not_good_is_named_in_the_contents() -> None:
    reports = made_up_reports()
    results = [result_of(kind, reports[kind], kind, Path()) for kind in ("storm", "idle")]

    assert shown(results[0]).section.is_good
    assert not shown(results[1]).section.is_good  # one connection is gone
    (listed,) = re.findall(r"<ul>(.*?)</ul>", report_html([shown(one) for one in results]))
    assert listed.count("not every run was good") == 1


def test_a_page_of_two_results_holds_both_and_nothing_is_named_twice() -> None:
    made = page(result(), result(command="another command"))

    assert len(made.tags("svg")) == 2 * 3
    assert "a command" in made.text
    assert "another command" in made.text
    ids = [attributes["id"] for _, attributes in made.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    inside = [link["href"] for link in made.tags("a")]
    assert all(link and link.startswith("#") and link[1:] in ids for link in inside)
    assert made.text.count("processor") == 1


def test_figures_stand_in_the_table_with_the_share_of_saturation() -> None:
    text = page(result()).text

    assert "100 (10%)" in text
    assert "105 · 100 … 110" in text
    assert "1,000 acks per second" in text


def test_nothing_on_the_page_runs_or_loads_whatever_a_result_says() -> None:
    evil = replace(result(), command=EVIL, written_at=EVIL)
    evil = replace(evil, machine=replace(evil.machine, cpu=EVIL, file_system=EVIL))
    made = page(evil)

    assert {tag for tag, _ in made.elements} & {"script", "img", "link", "iframe"} == set()
    policies = [meta.get("content") for meta in made.tags("meta")]
    assert "default-src 'none'; style-src 'unsafe-inline'" in policies
    assert EVIL in made.text


def test_a_message_that_was_never_acked_is_told_and_so_is_a_broken_promise() -> None:
    broken = Verdict("I4", "a promise", 9, "violated", 1, ("what contradicts it",))
    judged = replace(CHECKED, ok=False, verdicts=(broken,))
    bad = replace(run(100.0, unacked=3), checker=judged)
    made = page(result(sweep(bad)))

    assert "Never acked: 3." in made.text
    assert "1 of the runs broke a promise" in made.text
    assert "what contradicts it" in made.text
    assert "Not every run was good" in made.text
    (heading,) = made.tags("h1")
    assert heading["class"] == "bad"


def test_the_same_results_make_the_same_page() -> None:
    one = result()

    assert report_html([shown(one)]) == report_html([shown(one)])


def test_a_report_that_is_not_of_its_kind_cannot_be_shown() -> None:
    with pytest.raises(ResultError, match="cannot be understood"):
        shown(replace(result(), kind="latency", report=result_of_nothing()))


def result_of_nothing() -> msgspec.Raw:
    return msgspec.Raw(b'{"loads": 3}')


def test_a_report_of_no_load_at_all_cannot_be_shown() -> None:
    with pytest.raises(ResultError, match="empty"):
        shown(result(replace(sweep(), loads=())))


def test_a_histogram_that_was_damaged_is_an_error_and_no_picture() -> None:
    one = run(100.0)
    damaged = replace(one, figures=replace(one.figures, ack_histogram="HISTFAAA"))

    with pytest.raises(ResultError, match="no HDR histogram"):
        shown(result(sweep(damaged)))


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    write_result(tmp_path, result())
    out = tmp_path / "made" / "report.html"

    code = app(
        [str(tmp_path / "result.json")] * 2 + ["--out", str(out)], result_action="return_value"
    )

    assert code == 0
    assert len(Page(out.read_text()).tags("svg")) == 6
    assert read_result(tmp_path / "result.json").kind == "latency"


def test_the_command_names_the_result_that_cannot_be_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_result(tmp_path, result())
    good, bad, out = tmp_path / "result.json", tmp_path / "bad.json", tmp_path / "report.html"
    bad.write_text("{}")

    code = app([str(good), str(bad), "--out", str(out)], result_action="return_value")

    assert code == 1
    assert "Result 2 cannot be shown" in capsys.readouterr().err
    assert not out.exists()

"""Results on one page: in their order, whole by itself, and nothing hidden that went wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from bench.checker.check import Report
from bench.checker.order import Order
from bench.checker.verdict import Verdict
from bench.latency import Histogram
from bench.offered.measuring import Figures
from bench.offered.sweep import LatencyReport, LoadRun, load_of
from bench.pages.report import report_html
from bench.pages.result import Result, ResultError, read_result, result_of, write_result
from bench.report import app
from bench.sections import shown
from tests.bench.isolation_report.test_report import Page

EVIL = "<script>alert('1')</script>\"'&-->"
CHECKED = Report("0", None, 1.0, 9, 11, 9, 0, True, True, Order(checked=9), ())


def run(rate: float, slower: int = 1, unacked: int = 0) -> LoadRun:
    histogram = Histogram({slower * microseconds: 50 for microseconds in range(900, 5_000, 100)})
    some = histogram.percentiles
    figures = Figures(
        rate, rate, rate, some, some, 5.0, 5.0, unacked, 0, histogram.encoded, histogram.encoded
    )
    return LoadRun(figures, CHECKED, 0, 0.4, 0.5)


def sweep(*runs: LoadRun) -> LatencyReport:
    made = runs or (run(100.0), run(110.0))
    loads = (load_of(100.0, made), load_of(200.0, [run(200.0, slower=3)]))
    return LatencyReport(1_000.0, 2, 64, 1.0, 7, loads)


def result(report: LatencyReport | None = None, command: str = "a command") -> Result:
    return result_of("latency", report or sweep(), command, Path())


def page(*results: Result) -> Page:
    return Page(report_html([shown(one) for one in results]))


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


def result_of_nothing() -> object:
    import msgspec

    return msgspec.Raw(b'{"loads": 3}')


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

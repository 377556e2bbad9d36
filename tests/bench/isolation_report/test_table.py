"""The table says what the report says, in the same words."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from bench.isolation.findings import Findings
from bench.isolation.table import print_findings
from bench.pages.wording import UNKNOWN
from tests.bench.isolation_report.synthetic import findings

FOUND = findings()
NOTHING_MEASURED = replace(
    FOUND.bystanders,
    samples=0,
    **{
        name: None
        for name in FOUND.bystanders.__struct_fields__
        if name.endswith("_ms") or name == "ratio"
    },
)


def rows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, found: Findings
) -> dict[str, list[str]]:
    """Of the table, by their headings."""
    monkeypatch.setenv("COLUMNS", "120")
    print_findings(found, Path("out"))
    lines = [line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    return {cells[1].strip(): [cell.strip() for cell in cells[2:-1]] for cells in lines}


def test_a_latency_that_never_ended_is_told_from_one_that_was_not_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    late = rows(
        capsys, monkeypatch, replace(FOUND, bystanders=replace(FOUND.bystanders, worst_ms=None))
    )
    unmeasured = rows(capsys, monkeypatch, replace(FOUND, bystanders=NOTHING_MEASURED))

    assert late["bystanders, fault"] == ["1.20 ms", "3.40 ms", "never", "3.70 ms"]
    assert late["victims, fault"] == ["", "never", "", ""]
    assert unmeasured["bystanders, baseline"] == unmeasured["bystanders, fault"] == [UNKNOWN] * 4


def test_after_a_baseline_that_never_ended_anything_is_allowed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    boundless = replace(FOUND.bystanders, allowed_p99_ms=None, allowed_worst_ms=None)

    printed = rows(capsys, monkeypatch, replace(FOUND, bystanders=boundless))

    assert printed["allowed"] == ["", "anything", "anything", ""]


def test_an_availability_that_is_not_whole_is_never_rounded_to_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    nearly = replace(FOUND.victims, availability=0.9999)
    print_findings(replace(FOUND, victims=nearly), Path("out"))

    assert "Victims: 99.99 % of 30 sends" in capsys.readouterr().out

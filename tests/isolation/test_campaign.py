"""Every fault gets its turn, and what is published is what was found."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from bench.isolation.campaign import (
    FAULTS,
    PAGE,
    PART,
    PART_ON_DISK,
    campaign,
    command_of,
    publish,
)
from bench.isolation.experiment import Experiment
from bench.isolation.findings import Conclusion, FaultName
from bench.isolation.page import PageError, marks_of, part_of, replaced
from bench.isolation.results import ON_DISK, SMALL_ENOUGH, plot_of, read_results
from bench.isolation.results_page import page_on_disk, results_page
from tests.isolation.made_up import MadeUp


def experiment(fault: FaultName, *, in_memory: bool = True) -> Experiment:
    return Experiment(fault, 200, 5, 60.0, None, seed=9, quick=False, in_memory=in_memory)


def page_with(*parts: str) -> str:
    marked = ("\n".join(marks_of(part)) for part in parts)
    return "".join(f"Before.\n\n{marks}\n\nAfter.\n" for marks in marked)


def test_what_one_fault_concludes_or_fails_to_measure_stops_none_of_the_others(
    tmp_path: Path,
) -> None:
    told: dict[str, Conclusion] = {**dict.fromkeys(FAULTS, "isolated"), "flood": "not isolated"}
    del told["poison"]
    run = MadeUp(told)
    results = campaign([experiment(fault) for fault in FAULTS], tmp_path / "out", run)
    by_fault = {one.fault: one for one in results.outcomes}

    assert [name for name, _, _ in run.done] == list(FAULTS)
    assert by_fault["poison"].findings is None
    assert "keep up" in str(by_fault["poison"].failure)
    assert by_fault["flood"].findings is not None
    assert by_fault["flood"].findings.conclusion == "not isolated"
    assert not results.ok
    assert read_results(tmp_path / "out") == results


def test_a_campaign_is_good_when_every_fault_stayed_where_it_was(tmp_path: Path) -> None:
    run = MadeUp(dict.fromkeys(FAULTS, "isolated"))

    assert campaign([experiment(fault) for fault in FAULTS], tmp_path / "out", run).ok


def test_a_command_repeats_the_experiment_with_the_rate_that_was_measured(tmp_path: Path) -> None:
    results = campaign([experiment("flood")], tmp_path / "out", MadeUp({"flood": "isolated"}))
    words = shlex.split(results.outcomes[0].command)

    assert words[:3] == ["ksmp-relay", "bench", "isolation"]
    words.remove("--in-memory")
    assert dict(zip(words[3::2], words[4::2], strict=True)) == {
        "--fault": "flood",
        "--conversations": "200",
        "--victims": "5",
        "--seconds": "60",
        "--rate": "4711.5",
        "--seed": "9",
        "--out": "var/flood",
    }
    assert "--rate" not in command_of(experiment("flood"))
    assert "--in-memory" not in command_of(experiment("flood", in_memory=False))


def test_published_results_replace_those_of_before_and_nothing_else(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    (docs / "isolation").mkdir(parents=True)
    (docs / "isolation" / "flood.png").write_bytes(b"of before")
    (docs / "isolation" / "proof.json").write_bytes(b"[]")
    (docs / PAGE).write_text(page_with(PART, "proof"), encoding="utf-8")
    told: dict[str, Conclusion] = {"flood": "isolated", "poison": "not isolated"}
    out = tmp_path / "out"
    faults: tuple[FaultName, ...] = ("flood", "poison", "slow-loop")
    results = campaign([experiment(fault) for fault in faults], out, MadeUp(told))

    publish(results, out, docs)
    publish(results, out, docs)
    page = (docs / PAGE).read_text(encoding="utf-8")
    shown = part_of(page, PART)

    assert {path.name for path in (docs / "isolation").iterdir()} == {
        "flood.svg",
        "poison.svg",
        "results.json",
        "proof.json",
    }
    assert shown == results_page(read_results(docs / "isolation"))
    assert "| `flood` | isolated |" in shown
    assert "| `poison` | **not isolated** |" in shown
    assert "`slow-loop`: no measurement" in shown
    assert "](isolation/flood.svg)" in shown
    assert replaced(page, PART, "") == replaced(page_with(PART, "proof"), PART, "")


def test_results_on_a_disk_have_a_table_of_their_own(tmp_path: Path) -> None:
    docs, out = tmp_path / "docs", tmp_path / "out"
    docs.mkdir()
    (docs / PAGE).write_text(page_with(PART, PART_ON_DISK), encoding="utf-8")
    told: dict[str, Conclusion] = {"flood": "not isolated"}
    results = campaign([experiment("flood", in_memory=False)], out, MadeUp(told))

    publish(results, out, docs)
    page = (docs / PAGE).read_text(encoding="utf-8")

    assert [path.name for path in (docs / "isolation").iterdir()] == [ON_DISK]
    assert read_results(docs / "isolation", ON_DISK) == results
    assert part_of(page, PART) == ""
    assert part_of(page, PART_ON_DISK) == page_on_disk(results)
    assert "| `flood` | **not isolated** |" in page_on_disk(results)


def test_a_picture_is_the_smaller_form_that_is_small_enough(tmp_path: Path) -> None:
    most = {size.suffix: size.most_bytes for size in SMALL_ENOUGH}
    svg, png = tmp_path / "latency.svg", tmp_path / "latency.png"
    svg.write_bytes(bytes(most[".svg"]))
    png.write_bytes(bytes(most[".png"]))

    assert plot_of(tmp_path) == png
    png.write_bytes(bytes(most[".png"] + 1))
    assert plot_of(tmp_path) == svg
    svg.write_bytes(bytes(most[".svg"] + 1))
    assert plot_of(tmp_path) is None


@pytest.mark.parametrize("page", ["", page_with(PART, PART), marks_of(PART)[0]])
def test_a_page_without_just_one_place_for_the_results_is_an_error(page: str) -> None:
    with pytest.raises(PageError, match=PART):
        replaced(page, PART, "text")

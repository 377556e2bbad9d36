"""docs/isolation.md says what the program has: fields, faults, options, results, proof."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, get_args

import pytest
from msgspec import Struct

from bench.checker.check import Report
from bench.checker.order import Order
from bench.checker.verdict import Verdict
from bench.isolation.campaign import FAULTS, PART, PART_ON_DISK
from bench.isolation.experiment import SHARES
from bench.isolation.findings import Bystanders, Conclusion, Findings, Restarts, Victims
from bench.isolation.judging import ENOUGH
from bench.isolation.page import part_of
from bench.isolation.results import ON_DISK, RESULTS, SMALL_ENOUGH, read_results
from bench.isolation.results_page import page_on_disk, results_page
from tests.isolation import proof
from tests.isolation.broken_relay import BREAKS
from tests.wire.relay_process import REPOSITORY

DOCS: Final = REPOSITORY / "docs"
PICTURES: Final = DOCS / "isolation"
PAGE: Final = (DOCS / "isolation.md").read_text(encoding="utf-8")


def first_cells(before: str) -> list[str]:
    """The first column of the table that follows these words, without its head."""
    _, found, rest = PAGE.partition(before)
    assert found, before
    table = re.search(r"^\|.*\|\n\|[-| ]+\|\n((?:\|.*\|\n)+)", rest, re.MULTILINE)
    assert table is not None, before
    return [line.split("|")[1].strip().strip("`") for line in table[1].splitlines()]


@pytest.mark.parametrize(
    ("before", "kind"),
    [
        ("`--json` prints what", Findings),
        ("`bystanders`:", Bystanders),
        ("`victims`, while the fault was on:", Victims),
        ("`time_to_restart`, from a failure", Restarts),
        ("`checker`, the verdict on the history:", Report),
    ],
    ids=lambda one: one if isinstance(one, str) else one.__name__,
)
def test_the_page_has_every_field_of_the_result_and_no_other(
    before: str, kind: type[Struct]
) -> None:
    assert first_cells(before) == list(kind.__struct_fields__)


@pytest.mark.parametrize("kind", [Order, Verdict], ids=lambda one: one.__name__)
def test_the_page_names_what_the_smallest_parts_of_a_result_hold(kind: type[Struct]) -> None:
    field = "order" if kind is Order else "verdicts"
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{field}` |")]

    assert set(kind.__struct_fields__) <= set(re.findall(r"`(\w+)`", row))


def test_the_page_has_every_fault_every_conclusion_every_phase_and_every_break() -> None:
    assert first_cells("## The faults") == list(FAULTS)
    assert first_cells("and the latest 2 d later.") == list(get_args(Conclusion))
    assert set(SHARES) <= set(first_cells("## What it does"))
    assert first_cells("## Does it notice?") == list(BREAKS)
    assert f"{ENOUGH:,}" in PAGE


def test_the_results_on_the_page_are_those_that_were_measured() -> None:
    in_memory, on_disk = read_results(PICTURES), read_results(PICTURES, ON_DISK)

    assert part_of(PAGE, PART) == results_page(in_memory)
    assert part_of(PAGE, PART_ON_DISK) == page_on_disk(on_disk)
    assert in_memory.in_memory
    assert not on_disk.in_memory


def test_the_proof_on_the_page_is_the_one_that_was_recorded() -> None:
    shown = proof.read_proof(PICTURES)

    assert part_of(PAGE, proof.PART) == proof.proof_page(shown)
    assert [one.broken for one in shown] == list(BREAKS)


def test_every_fault_has_its_results_and_a_picture_that_is_small_enough() -> None:
    on_disk, outcomes = (read_results(PICTURES, name).outcomes for name in (ON_DISK, RESULTS))
    pictures = {path for path in PICTURES.iterdir() if path.suffix != ".json"}

    assert [one.fault for one in outcomes] == [one.fault for one in on_disk] == list(FAULTS)
    assert {one.experiment.conversations for one in (*outcomes, *on_disk)} == {200}
    assert {PICTURES / str(one.plot) for one in outcomes} == pictures
    most = {size.suffix: size.most_bytes for size in SMALL_ENOUGH}
    for path in pictures:
        assert path.stat().st_size <= most[path.suffix], path.name
    assert {path.name for path in PICTURES.glob("*.json")} == {RESULTS, ON_DISK, proof.PROOF}


def test_the_page_is_found_from_where_people_look() -> None:
    for page in ("README.md", "docs/architecture.md", "docs/reliability.md"):
        text = (REPOSITORY / page).read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)#\s]+)", text)
        assert DOCS / "isolation.md" in {(REPOSITORY / page).parent / Path(link) for link in links}

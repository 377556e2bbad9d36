"""The proof holds only where the whole relay and the broken one are told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from bench.isolation.campaign import PAGE, PICTURES
from bench.isolation.findings import Conclusion
from bench.isolation.page import marks_of, part_of
from bench.relay_of_its_own import PROGRAM
from tests.isolation import proof
from tests.isolation.broken_relay import BREAKS
from tests.isolation.made_up import MadeUp

TOLD_APART: Final[dict[str, Conclusion]] = {
    **dict.fromkeys(proof.SHOWN_BY.values(), "isolated"),
    **dict.fromkeys(proof.SHOWN_BY, "not isolated"),
}


def test_each_break_is_put_to_its_fault_beside_the_whole_relay_in_the_same_experiment(
    tmp_path: Path,
) -> None:
    run = MadeUp(TOLD_APART)
    shown = proof.prove(tmp_path / "out", 60.0, run)
    programs = {name: program for name, _, program in run.done}
    experiments = {name: experiment for name, experiment, _ in run.done}

    assert set(proof.SHOWN_BY) == set(BREAKS)
    assert all(one.is_proven for one in shown)
    for broken, fault in proof.SHOWN_BY.items():
        assert programs[fault] == PROGRAM
        assert programs[broken][-2:] == ("tests.isolation.broken_relay", broken)
        assert experiments[broken] == experiments[fault] == proof.experiment_of(fault, 60.0)
    assert proof.read_proof(tmp_path / "out") == shown


@pytest.mark.parametrize(
    "changed",
    [
        {"crash-loop": "not isolated"},
        {"crash-loop": "not enough data"},
        {"supervisor-escalating": "isolated"},
        {"supervisor-escalating": "not enough data"},
        {"supervisor-escalating": "quick run, no result"},
    ],
    ids=str,
)
def test_it_is_no_proof_where_the_two_are_not_told_apart(
    tmp_path: Path, changed: dict[str, Conclusion]
) -> None:
    shown = proof.prove(tmp_path / "out", 60.0, MadeUp(TOLD_APART | changed))

    assert [one.is_proven for one in shown] == [False, True, True]


def test_an_experiment_that_could_not_measure_proves_nothing_and_stops_no_other(
    tmp_path: Path,
) -> None:
    told = {name: word for name, word in TOLD_APART.items() if name != "mailbox-unbounded"}
    shown = proof.prove(tmp_path / "out", 60.0, MadeUp(told))

    assert [one.is_proven for one in shown] == [True, False, True]
    assert "no measurement: the load generator" in proof.proof_page(shown)


def test_a_quick_proof_is_none(tmp_path: Path) -> None:
    assert proof.experiment_of("crash-loop", 59.0).quick
    assert not proof.experiment_of("crash-loop", 60.0).quick


def test_the_published_proof_is_the_one_that_was_recorded(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / PAGE).write_text("\n".join(marks_of(proof.PART)), encoding="utf-8")
    shown = proof.prove(tmp_path / "out", 60.0, MadeUp(TOLD_APART))
    proof.publish(shown, docs)
    text = part_of((docs / PAGE).read_text(encoding="utf-8"), proof.PART)

    assert text == proof.proof_page(proof.read_proof(docs / PICTURES))
    assert "`supervisor-escalating` | `crash-loop` | isolated: " in text
    assert "the relay was gone" in text

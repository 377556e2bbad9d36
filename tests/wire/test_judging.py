"""A run is not over before its verdict: who forgets to ask for one is told."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from bench.checker.check import check
from bench.history import Recorder
from tests.bench.checker.planted import SetsReadPositions
from tests.bench.checker.tale import Tale
from tests.wire.judging import Promised, require_verdict

FAULTS = Path(__file__).parents[1] / "faults"
PLANT = pytest.mark.promises


def judge(history: Path, mark: pytest.MarkDecorator) -> None:
    require_verdict(check(history), Promised.of(mark.mark), history)


@pytest.mark.parametrize("module", sorted(FAULTS.glob("test_*.py")), ids=lambda path: path.stem)
def test_every_fault_run_is_recorded_and_names_its_promises(module: Path) -> None:
    tree = ast.parse(module.read_text())
    tests = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    ]
    unmarked = [
        test.name
        for test in tests
        if not any("mark.promises(" in ast.unparse(one) for one in test.decorator_list)
    ]
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]

    assert tests
    assert unmarked == []
    assert "RelayProcess" not in map(ast.unparse, calls), "its relay is not one of `start`"


def test_a_good_history_passes_for_promises_that_it_puts_to_the_test(tmp_path: Path) -> None:
    history = tmp_path / "history"
    Tale(history, 1).tell(120)

    judge(history, PLANT("I1", "I13", "I17", "I21", "I23"))


def test_a_broken_promise_is_told_with_its_excerpt(tmp_path: Path) -> None:
    history = tmp_path / "history"
    SetsReadPositions(history, 1).tell(120)

    with pytest.raises(AssertionError, match=r"(?s)history is .*I13 is violated.*read up to"):
        judge(history, PLANT("I1"))
    judge(history, PLANT("I13", broken=True))


def test_what_was_to_be_found_broken_and_was_not_is_told(tmp_path: Path) -> None:
    history = tmp_path / "history"
    Tale(history, 1).tell(120)

    with pytest.raises(AssertionError, match=r"not found broken: .*I13"):
        judge(history, PLANT("I13", broken=True))


def test_a_promise_that_was_never_put_to_the_test_is_told(tmp_path: Path) -> None:
    history = tmp_path / "history"
    with Recorder(history, relay="0") as recorder:
        user = recorder.user("ann")
        line = recorder.connected(user, device="d", subprotocol="s", epoch="e", head=0)
        recorder.closed(line, 1000)

    judge(history, PLANT("I18"))
    with pytest.raises(AssertionError, match=r"never put to the test: \['I1', 'I9'\]"):
        judge(history, PLANT("I1", "I9", "I18"))


def test_a_history_that_is_cut_off_is_no_good_end(tmp_path: Path) -> None:
    history = tmp_path / "history"
    Tale(history, 1).tell(120)
    history.write_bytes(history.read_bytes()[:-4])

    with pytest.raises(Exception, match="cut off"):
        judge(history, PLANT("I1"))


def test_a_mark_names_something() -> None:
    with pytest.raises(AssertionError, match="name the promises"):
        Promised.of(PLANT().mark)
    with pytest.raises(AssertionError, match="no promise of the programme"):
        Promised.of(PLANT("I99").mark)

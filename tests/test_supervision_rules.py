"""Every sentence of docs/supervision.md is shown by a test that says so, and by none in vain."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from actors.dead_letters import DEAD_LETTERS
from actors.quarantines import (
    FIRST_SECONDS,
    FORGOTTEN_AFTER_SECONDS,
    GROWTH,
    LONGEST_SECONDS,
    MOST_QUARANTINES,
)
from actors.supervisor import Backoff, Intensity
from relay.admin.listener import PAUSE_SECONDS
from relay.exits import ExitCode
from relay.thinning import LINES_PER_SECOND

TESTS: Final = Path(__file__).parent
PAGE: Final = TESTS.parent / "docs" / "supervision.md"


class Marked(NamedTuple):
    """A test and one sentence that it shows."""

    rule: str
    test: str


def sentences() -> list[str]:
    """The numbers of all sentences, in the order of the page."""
    return re.findall(r"^- \*\*(S\d+)\*\* ", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def marked_in(source: str, place: str) -> Iterator[Marked]:
    """Every `pytest.mark.rule` in a file of tests; its arguments must be literals."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith(
                "mark.rule"
            ):
                assert node.name.startswith("test_"), f"{place}: {node.name} is no test"
                for argument in decorator.args:
                    yield Marked(str(ast.literal_eval(argument)), f"{place}::{node.name}")


def all_marked() -> list[Marked]:
    """In every file of tests."""
    return [
        marked
        for file in sorted(TESTS.rglob("test_*.py"))
        for marked in marked_in(
            file.read_text(encoding="utf-8"), file.relative_to(TESTS).as_posix()
        )
    ]


def test_the_search_for_marks_finds_each_argument_of_each() -> None:
    source = """
@pytest.mark.trio
@pytest.mark.rule("S1", "S2")
@pytest.mark.parametrize("x", [1])
async def test_one(x): ...

@pytest.mark.rule("S3")
def test_other(): ...

def test_unmarked(): ...
"""
    assert list(marked_in(source, "f")) == [
        ("S1", "f::test_one"),
        ("S2", "f::test_one"),
        ("S3", "f::test_other"),
    ]


def test_the_sentences_are_numbered_from_one_without_a_gap() -> None:
    numbers = sentences()

    assert numbers == [f"S{number}" for number in range(1, len(numbers) + 1)]
    assert len(numbers) > 40


def test_every_sentence_has_a_test_and_every_mark_a_sentence() -> None:
    shown = {marked.rule for marked in all_marked()}

    assert shown == set(sentences())


def sentence(rule: str) -> str:
    """The text of one sentence, on one line."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.search(rf"^- \*\*{rule}\*\* (.*?)(?=^- |^$)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, rule
    return " ".join(found[1].split())


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("S1", f"from {1_000 * Backoff().initial_seconds:.0f} ms to {Backoff().max_seconds:.0f} s"),
        ("S2", f"More than {Intensity().restarts} failures"),
        ("S2", f"within {Intensity().period_seconds:.0f} s"),
        ("S13", f"two delays of at most {Backoff().max_seconds:.0f} s"),
        ("S15", f"latest {DEAD_LETTERS} dead letters"),
        ("S19", f"takes {FIRST_SECONDS:.0f} s, each further one four times"),
        ("S19", f"up to {LONGEST_SECONDS / 60:.0f} minutes"),
        ("S21", f"begins at {FIRST_SECONDS:.0f} s again"),
        ("S21", f"good for {FORGOTTEN_AFTER_SECONDS / 60:.0f} minutes"),
        ("S27", f"{MOST_QUARANTINES:,} quarantines"),
        ("S32", f"{LINES_PER_SECOND} lines a second"),
        ("S34", f"within {Intensity().period_seconds:.0f} s"),
        ("S35", f"exit code {ExitCode.FAILED:d}"),
        ("S38", f"exit code {ExitCode.IO:d}"),
    ],
)
def test_the_numbers_of_a_sentence_are_those_of_the_code(rule: str, said: str) -> None:
    assert said in sentence(rule)
    assert (GROWTH, PAUSE_SECONDS) == (4.0, 60.0), "said in words"


def test_the_marker_is_one_that_pytest_can_select(pytestconfig: pytest.Config) -> None:
    declared = pytestconfig.getini("markers")

    assert any(line.startswith("rule(") for line in declared)

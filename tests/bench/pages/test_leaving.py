"""A result that cannot be left is known before there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.leaving import leaving
from relay.exits import CommandError, ExitCode
from tests.bench.pages.made_up import idle


def test_a_directory_that_cannot_be_made_is_told_before_anything_is_measured(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    measured = False

    with (
        pytest.raises(CommandError, match="cannot be written") as refused,
        leaving(tmp_path / "file" / "out", "idle", "a command", tmp_path),
    ):
        measured = True

    assert not measured
    assert refused.value.exit_code == ExitCode.FAILED
    assert str(tmp_path) not in str(refused.value)


def test_what_goes_wrong_in_the_measurement_is_not_taken_for_that(tmp_path: Path) -> None:
    with (
        pytest.raises(ConnectionError),
        leaving(tmp_path / "out", "idle", "a command", tmp_path),
    ):
        raise ConnectionError


def test_without_a_directory_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with leaving(None, "idle", "a command", tmp_path) as leave:
        leave(idle())

    assert list(tmp_path.iterdir()) == []


def test_a_result_without_pictures_is_left_with_its_page(tmp_path: Path) -> None:
    with leaving(tmp_path / "out", "idle", "a command", tmp_path) as leave:
        leave(idle())

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "report.html",
        "result.json",
    ]
    assert "19 after 60 s" in (tmp_path / "out" / "report.html").read_text()

"""What a measurement leaves behind: read again as it was, or refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from bench.pages.result import ResultError, command_line, read_result, result_of, write_result


class Few(Struct, frozen=True):
    figure: int


def written(directory: Path, **changes: Any) -> Path:
    write_result(directory, result_of("latency", Few(7), "a command", directory))
    path = directory / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return path


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    result = read_result(written(tmp_path))

    assert (result.kind, result.version, result.command) == ("latency", 1, "a command")
    assert json.loads(bytes(result.report)) == {"figure": 7}
    assert result.machine.cores > 0
    assert result.versions.python


def test_a_result_of_another_version_is_refused_by_its_number(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"of version 2; this program shows version 1"):
        read_result(written(tmp_path, version=2, machine="of another form"))


def test_a_result_of_an_unknown_kind_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="a kind that is not known here: 'weather'"):
        read_result(written(tmp_path, kind="weather"))


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff", b"null", b'{"kind": 1}'])
def test_what_is_no_result_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(content)

    with pytest.raises(ResultError, match="no result"):
        read_result(path)


def test_a_file_that_is_not_there_is_refused_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(ResultError) as refused:
        read_result(tmp_path / "result.json")

    assert str(tmp_path) not in str(refused.value)


def test_a_command_says_only_what_was_said() -> None:
    line = command_line(
        "bench", rate=None, pairs=2, warm_up=0.5, in_memory=True, json=False, url="a b"
    )

    assert line == "bench --pairs 2 --warm-up 0.5 --in-memory --url 'a b'"

"""One bundle for all tests that read, damage or repeat one: drawing it takes a while."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from bench.isolation.bundle import write_bundle
from tests.bench.isolation_report.synthetic import EXPERIMENT, findings, timeline


def record(directory: Path) -> None:
    """What the engine leaves."""
    (directory / "history").write_bytes(b"a history" * 100)
    (directory / "moments.json").write_bytes(msgspec.json.encode(timeline().moments))
    (directory / "relay.log").write_text('{"event":"relay.started"}\n')


@pytest.fixture(scope="session")
def whole_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundle") / "first"
    directory.mkdir()
    record(directory)
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    write_bundle(directory, EXPERIMENT, findings(), timeline(), now=now)
    return directory


@pytest.fixture
def bundle(whole_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole_bundle, tmp_path / "first"))

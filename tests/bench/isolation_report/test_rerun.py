"""Repeating an experiment: the same seed and rate, both results side by side, what differs told."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from bench.isolation.bundle import EVIDENCE, BundleError, Evidence, read_bundle
from bench.isolation.experiment import Experiment
from bench.isolation.findings import Findings
from bench.isolation.rerun import fresh_directory, repeat
from bench.run import RunError
from relay.cli import run
from relay.exits import ExitCode
from tests.bench.isolation_report.synthetic import EXPERIMENT, findings, timeline


class Engine:
    """Stands for the engine: leaves a copy of a bundle with the findings it was told to have."""

    def __init__(self, template: Path, found: Findings) -> None:
        self.template = template
        self.found = found
        self.asked: list[tuple[Experiment, Path]] = []
        self.changes: dict[str, dict[str, object]] = {}

    def run(self, experiment: Experiment, directory: Path) -> Findings:
        self.asked.append((experiment, directory))
        for name in EVIDENCE:
            shutil.copy(self.template / name, directory / name)
        (directory / "result.json").write_bytes(msgspec.json.encode(self.found))
        result = (directory / "result.json").read_bytes()
        facts = json.loads((self.template / "experiment.json").read_text())
        for part, changes in self.changes.items():
            facts[part] |= changes
        facts["files"]["result.json"] = evidence_of(result)
        (directory / "experiment.json").write_text(json.dumps(facts))
        return self.found


def evidence_of(content: bytes) -> object:
    return msgspec.to_builtins(Evidence(len(content), hashlib.sha256(content).hexdigest()))


@pytest.fixture
def engine(whole_bundle, monkeypatch):
    made = Engine(whole_bundle, findings(restarts=123, dead_letters=7))
    monkeypatch.setitem(sys.modules, "bench.isolation.run", SimpleNamespace(run=made.run))
    return made


def test_a_rerun_uses_the_seed_and_the_rate_that_was_measured_then(bundle, engine):
    repeat(bundle, bundle.parent / "second", engine.run)

    (experiment, directory), *others = engine.asked
    assert others == []
    assert EXPERIMENT.rate_per_s is None
    assert experiment.rate_per_s == findings().rate_per_s
    assert experiment.seed == findings().seed == EXPERIMENT.seed
    assert msgspec.structs.replace(experiment, rate_per_s=None) == EXPERIMENT
    assert directory == bundle.parent / "second"


def test_both_results_are_printed_side_by_side(bundle, engine, capsys):
    assert run(["bench", "rerun", str(bundle)]) == ExitCode.OK

    printed = capsys.readouterr().out
    rows = [line.split("│") for line in printed.splitlines() if "│" in line]
    shown = {row[1].strip(): (row[2].strip(), row[3].strip()) for row in rows}
    assert shown["restarts"] == ("400", "123")
    assert shown["dead letters"] == ("40", "7")
    assert shown["p99 in the fault"] == ("3.40 ms", "3.40 ms")
    assert shown["promises broken"] == ("I17", "I17")
    assert "The versions and the machine are the same." in printed


def test_what_differs_in_versions_and_machine_is_said(bundle, engine, capsys):
    engine.changes = {
        "machine": {"cpu": "Another processor", "sync_ms": 99.0},
        "versions": {"python": "CPython 9.9.9", "packages": {"trio": "7.7.7"}},
    }

    run(["bench", "rerun", str(bundle)])

    printed = capsys.readouterr().out
    then = read_bundle(bundle).provenance
    assert f"Another version: Python was {then.versions.python}, is CPython 9.9.9." in printed
    assert f"Another version: trio was {then.versions.packages['trio']}, is 7.7.7." in printed
    assert "is Another processor." in printed
    assert f"lmdb was {then.versions.packages['lmdb']}, is not there." in printed
    assert "99.0 ms" in printed
    assert "are the same" not in printed


def test_the_same_is_told_to_programs(bundle, engine, capsys):
    engine.changes = {"versions": {"python": "CPython 9.9.9"}}

    run(["bench", "rerun", str(bundle), "--json"])

    printed = json.loads(capsys.readouterr().out)
    assert (printed["then"]["restarts"], printed["now"]["restarts"]) == (400, 123)
    assert printed["ok"] is True
    (difference,) = printed["differences"]
    assert (difference["of"], difference["what"]) == ("version", "Python")
    assert difference["now"] == "CPython 9.9.9"


@pytest.mark.parametrize(("ok", "code"), [(True, ExitCode.OK), (False, ExitCode.FAILED)])
def test_a_rerun_ends_as_its_own_findings_do(bundle, engine, ok, code):
    engine.found = findings(ok=ok)

    assert run(["bench", "rerun", str(bundle), "--json"]) == code


def test_a_new_bundle_goes_beside_the_old_one_and_never_over_another(bundle, engine, tmp_path):
    run(["bench", "rerun", str(bundle), "--json"])
    run(["bench", "rerun", str(bundle), "--json"])
    run(["bench", "rerun", str(bundle), "--json", "--out", str(tmp_path / "elsewhere")])

    names = [directory.name for _, directory in engine.asked]
    assert names == ["first-rerun-1", "first-rerun-2", "elsewhere"]
    assert all(read_bundle(directory) for _, directory in engine.asked)


def test_the_directory_one_stands_in_has_a_name_too(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    assert fresh_directory(Path()).name == "here-rerun-1"


def test_a_directory_that_is_not_empty_is_left_as_it_is(bundle, engine, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("mine")

    with pytest.raises(BundleError, match="full is not empty"):
        repeat(bundle, tmp_path / "full", engine.run)
    assert engine.asked == []
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["precious"]


@pytest.mark.parametrize("command", ["rerun", "report"])
def test_what_is_no_bundle_is_refused_in_words(bundle, engine, command, capsys, monkeypatch):
    module = SimpleNamespace(timeline_of=lambda *_: timeline())
    monkeypatch.setitem(sys.modules, "bench.isolation.measuring", module)
    (bundle / "history").unlink()

    assert run(["bench", command, str(bundle)]) == ExitCode.FAILED

    complaint = capsys.readouterr().err
    assert "This bundle cannot be used" in complaint
    assert "history is missing" in complaint
    assert engine.asked == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"victims": 0}, "victims is 0"),
        ({"victims": 200}, "leave no bystanders"),
        ({"conversations": 1_000_000_000}, "conversations is 1e+09"),
        ({"seconds": -1.0}, "seconds is -1"),
        ({"size": 0}, "size is 0"),
        ({"slower_ms": -5}, "slower_ms is -5"),
    ],
)
def test_an_experiment_that_nobody_can_do_is_not_begun(
    bundle, engine, tmp_path, change, complaint, capsys
):
    written = json.loads((bundle / "experiment.json").read_bytes())
    written["experiment"] |= change
    (bundle / "experiment.json").write_text(json.dumps(written))

    code = run(["bench", "rerun", str(bundle), "--out", str(tmp_path / "again")])

    assert code == ExitCode.FAILED
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "again").exists()


def test_a_relay_that_does_not_start_is_told_in_words(bundle, monkeypatch, capsys):
    def fail(*_: object) -> Findings:
        raise RunError("the load generator ended early")

    monkeypatch.setitem(sys.modules, "bench.isolation.run", SimpleNamespace(run=fail))

    assert run(["bench", "rerun", str(bundle)]) == ExitCode.FAILED
    assert "the load generator ended early" in capsys.readouterr().err


def test_a_downloaded_bundle_is_drawn_again_from_its_history(bundle, monkeypatch, capsys):
    asked = []

    def timeline_of(history: Path, moments: object) -> object:
        asked.append((history, moments))
        return timeline()

    module = SimpleNamespace(timeline_of=timeline_of)
    monkeypatch.setitem(sys.modules, "bench.isolation.measuring", module)
    before = (bundle / "report.html").read_bytes()
    (bundle / "report.html").unlink()
    (bundle / "latency.png").unlink()

    assert run(["bench", "report", str(bundle)]) == ExitCode.OK

    assert asked == [(bundle / "history", tuple(timeline().moments))]
    assert (bundle / "report.html").read_bytes() == before
    assert (bundle / "latency.png").exists()
    assert "report.html" in capsys.readouterr().out

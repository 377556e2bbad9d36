"""A bundle: all of it or none, and nobody's names in it."""

from __future__ import annotations

import getpass
import json
import re
import socket
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import bench.isolation.plots
from bench.isolation.bundle import (
    EVIDENCE,
    FORMAT,
    BundleError,
    read_bundle,
    write_bundle,
    write_drawings,
)
from bench.pages.surroundings import NOT_INSTALLED, machine, versions
from tests.bench.isolation_report.conftest import record
from tests.bench.isolation_report.synthetic import EXPERIMENT, findings, timeline

DRAWINGS = {
    f"{name}.{suffix}"
    for name in ("latency", "distribution", "restarts")
    for suffix in ("svg", "png")
}


def test_a_bundle_holds_the_record_the_result_the_pictures_and_the_report(bundle):
    names = {path.name for path in bundle.iterdir()}

    assert names == {*EVIDENCE, *DRAWINGS, "experiment.json", "report.html"}
    for name in DRAWINGS:
        content = (bundle / name).read_bytes()
        if name.endswith("svg"):
            ET.fromstring(content)
        else:
            assert content.startswith(b"\x89PNG")


def test_what_is_read_is_what_was_written(bundle):
    read = read_bundle(bundle)

    assert read.findings == findings()
    assert read.provenance.experiment == EXPERIMENT
    assert read.provenance.bundle == FORMAT
    assert read.provenance.written_at == "2026-11-23T12:00:00+00:00"
    assert read.moments == tuple(timeline().moments)
    assert read.history.read_bytes() == b"a history" * 100


@pytest.mark.parametrize("name", [*EVIDENCE, "experiment.json"])
def test_a_bundle_without_one_of_its_files_is_refused_by_its_name(bundle, name):
    (bundle / name).unlink()

    with pytest.raises(BundleError, match=f"{re.escape(name)} is missing"):
        read_bundle(bundle)


@pytest.mark.parametrize("name", [*EVIDENCE, "experiment.json"])
def test_a_bundle_with_a_file_cut_off_half_way_is_refused_by_its_name(bundle, name):
    content = (bundle / name).read_bytes()
    (bundle / name).write_bytes(content[: len(content) // 2])

    with pytest.raises(BundleError, match=re.escape(name)):
        read_bundle(bundle)


def test_a_file_changed_without_its_length_is_noticed(bundle):
    content = bytearray((bundle / "history").read_bytes())
    content[5] ^= 1
    (bundle / "history").write_bytes(content)

    with pytest.raises(BundleError, match="history is not what was written"):
        read_bundle(bundle)


@pytest.mark.parametrize("version", [0, FORMAT + 1])
def test_a_bundle_of_another_format_version_is_refused_as_such(bundle, version):
    # Of another version, nothing else may be as it is here.
    (bundle / "experiment.json").write_text(json.dumps({"bundle": version, "new": []}))

    with pytest.raises(BundleError, match=f"of format {version}; this program reads format 1"):
        read_bundle(bundle)


@pytest.mark.parametrize("content", ["", "[]", '{"bundle":1}', '{"bundle":"1"}', "\udcff"])
def test_what_is_no_description_of_a_bundle_is_refused(bundle, content):
    (bundle / "experiment.json").write_bytes(content.encode(errors="surrogateescape"))

    with pytest.raises(BundleError, match=r"experiment\.json cannot be understood"):
        read_bundle(bundle)


def test_pictures_and_the_report_may_be_missing_and_are_drawn_again_the_same(bundle):
    drawn = {name: (bundle / name).read_bytes() for name in (*DRAWINGS, "report.html")}
    for name in drawn:
        (bundle / name).unlink()

    write_drawings(read_bundle(bundle), timeline())

    assert {name: (bundle / name).read_bytes() for name in drawn} == drawn


@pytest.mark.parametrize("name", ["history", "moments.json", "relay.log"])
def test_without_a_record_nothing_is_called_a_bundle(tmp_path, name):
    record(tmp_path)
    (tmp_path / name).unlink()

    with pytest.raises(BundleError, match=f"{re.escape(name)} is missing"):
        write_bundle(tmp_path, EXPERIMENT, findings(), timeline())
    assert not (tmp_path / "experiment.json").exists()


def test_a_bundle_whose_writing_ended_early_is_none_even_over_an_old_one(bundle, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bench.isolation.plots, "draw", fail)

    with pytest.raises(OSError, match="No space"):
        write_bundle(bundle, EXPERIMENT, findings(), timeline())
    with pytest.raises(BundleError, match=r"experiment\.json is missing"):
        read_bundle(bundle)


def test_neither_user_nor_host_nor_path_of_the_machine_is_in_what_is_written(bundle):
    for name in ("experiment.json", "result.json", "report.html"):
        text = (bundle / name).read_text()
        for private in (str(Path.home()), str(Path.cwd()), str(bundle), str(bundle.parent)):
            assert private not in text
    facts = json.loads((bundle / "experiment.json").read_text())
    words = re.findall(r"[\w.-]+", json.dumps([facts["versions"], facts["machine"]]))
    assert getpass.getuser() not in words
    assert socket.gethostname() not in words


def test_versions_are_of_all_that_ran():
    found = versions()

    assert found.relay != NOT_INSTALLED
    assert found.python.startswith("CPython 3.")
    assert re.fullmatch(r"\d+\.\d+\.\d+", found.lmdb_library)
    assert NOT_INSTALLED not in found.packages.values()
    assert {"trio", "msgspec", "lmdb", "websockets", "picows", "uvloop"} <= set(found.packages)


def test_the_machine_is_described_and_a_sync_of_its_disk_measured(tmp_path):
    found = machine(tmp_path)

    assert found.cores >= 1
    assert 0 < found.sync_ms <= found.worst_sync_ms
    assert list(tmp_path.iterdir()) == []
    known = Path("/proc/filesystems")
    if known.exists():
        assert found.file_system is not None
        assert found.file_system.partition(".")[0] in known.read_text().split()
        assert found.memory_mib is not None
        assert found.memory_mib > 100

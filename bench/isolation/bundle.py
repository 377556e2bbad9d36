"""A bundle: one directory that holds all of an experiment, to be read, redrawn and repeated.

The engine leaves `history`, `moments.json` and `relay.log` there; `write_bundle` adds the rest.
`experiment.json` is written last and names the others with their sizes and digests: where it is
missing or does not fit them, the bundle is cut off or changed, and is not read. Pictures and the
report are not among them, since `bench report` draws them again.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path
from tempfile import gettempdir
from typing import Final, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from bench.isolation.experiment import Experiment
from bench.isolation.findings import Findings
from bench.isolation.timeline import Moment, Timeline
from bench.pages.files import readable, write_whole
from bench.pages.surroundings import Machine, Versions, machine, versions

FORMAT: Final = 1

EXPERIMENT: Final = "experiment.json"
RESULT: Final = "result.json"
HISTORY: Final = "history"
MOMENTS: Final = "moments.json"
LOG: Final = "relay.log"
REPORT: Final = "report.html"
EVIDENCE: Final = (HISTORY, MOMENTS, LOG, RESULT)
"""What cannot be made again from the rest."""

T = TypeVar("T")


class BundleError(Exception):
    """A directory is no bundle that can be read; the message says why, by the names of files."""


class Evidence(Struct, frozen=True):
    """How long a file is, and its SHA-256 in hex."""

    size: int
    sha256: str


class Provenance(Struct, frozen=True):
    """What was done, with what, on what, and what came of it; `experiment.json` holds this."""

    bundle: int
    """The version of this format."""

    written_at: str
    """In UTC, as ISO 8601 has it."""

    experiment: Experiment
    versions: Versions
    machine: Machine
    files: dict[str, Evidence]


class _Format(Struct):
    """As much of `experiment.json` as all versions of it have in common."""

    bundle: int


class Bundle(NamedTuple):
    """One that is whole."""

    directory: Path
    provenance: Provenance
    findings: Findings
    moments: tuple[Moment, ...]

    @property
    def history(self) -> Path:
        """What the clients did and saw."""
        return self.directory / HISTORY


def write_bundle(
    directory: Path,
    experiment: Experiment,
    findings: Findings,
    timeline: Timeline,
    *,
    store: Path | None = None,
    now: datetime | None = None,
) -> None:
    """Make a bundle of a directory in which the engine has left what it recorded.

    `store` is where the relay's store was, or another directory of that file system: a relay of
    one's own has it among temporary files.

    Raises:
        BundleError: nothing was recorded there.
        OSError: something cannot be written.
    """
    (directory / EXPERIMENT).unlink(missing_ok=True)  # until all is there again, it is no bundle
    write_whole(directory / RESULT, readable(findings))
    provenance = Provenance(
        bundle=FORMAT,
        written_at=(now or datetime.now(UTC)).isoformat(timespec="seconds"),
        experiment=experiment,
        versions=versions(),
        machine=machine(store or Path(gettempdir())),
        files={name: _evidence(directory, name) for name in EVIDENCE},
    )
    moments = tuple(timeline.moments)
    write_drawings(Bundle(directory, provenance, findings, moments), timeline)
    write_whole(directory / EXPERIMENT, readable(provenance))


def write_drawings(bundle: Bundle, timeline: Timeline) -> None:
    """The pictures and the report, anew.

    Raises:
        OSError: one cannot be written.
    """
    from bench.isolation.plots import draw  # imports matplotlib
    from bench.isolation.report import report_html

    pictures = draw(timeline, bundle.findings)
    for picture in pictures:
        write_whole(bundle.directory / f"{picture.name}.svg", picture.svg)
        write_whole(bundle.directory / f"{picture.name}.png", picture.png)
    page = report_html(bundle.provenance, bundle.findings, pictures)
    write_whole(bundle.directory / REPORT, page.encode())


def read_bundle(directory: Path) -> Bundle:
    """A bundle that is whole and unchanged.

    Raises:
        BundleError: it is not, or not of this format.
    """
    provenance = _provenance(directory)
    for name in EVIDENCE:
        if name not in provenance.files:
            raise BundleError(f"{EXPERIMENT} does not speak of {name}")
        if _evidence(directory, name) != provenance.files[name]:
            raise BundleError(f"{name} is not what was written: it is cut off, or was changed")
    findings = _decoded(directory, RESULT, Findings)
    return Bundle(directory, provenance, findings, _decoded(directory, MOMENTS, tuple[Moment, ...]))


def _provenance(directory: Path) -> Provenance:
    if not (directory / EXPERIMENT).is_file():
        raise BundleError(f"{EXPERIMENT} is missing: this is no bundle, or its writing was cut off")
    version = _decoded(directory, EXPERIMENT, _Format).bundle
    if version != FORMAT:
        raise BundleError(f"it is of format {version}; this program reads format {FORMAT}")
    return _decoded(directory, EXPERIMENT, Provenance)


def _decoded(directory: Path, name: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode((directory / name).read_bytes(), type=kind)
    except OSError as error:
        raise BundleError(f"{name} cannot be read: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # A message of a decoder names the field and the type, and none of the values.
        raise BundleError(f"{name} cannot be understood: {error}") from None


def _evidence(directory: Path, name: str) -> Evidence:
    path = directory / name
    if not path.is_file():
        raise BundleError(f"{name} is missing")
    try:
        with path.open("rb") as file:
            return Evidence(path.stat().st_size, file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise BundleError(f"{name} cannot be read: {error.strerror}") from None

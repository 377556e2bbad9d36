"""What a campaign has shown: one experiment for each fault, and what all of them ran on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from bench.isolation.experiment import Experiment
from bench.isolation.findings import FaultName, Findings
from bench.pages.surroundings import Machine, Versions

RESULTS: Final = "results.json"
ON_DISK: Final = "on-disk.json"


class Outcome(Struct, frozen=True):
    """One experiment, and at which rate.

    `command` does it again; `plot` is the file that shows it on the page.
    """

    experiment: Experiment
    command: str
    plot: str | None
    findings: Findings | None
    failure: str | None = None
    """Why there was no measurement, where there are no findings."""

    @property
    def fault(self) -> FaultName:
        """What went wrong."""
        return self.experiment.fault


class Results(Struct, frozen=True):
    """All of a campaign; `results.json` holds this."""

    written_at: str
    """In UTC, as ISO 8601 has it."""

    versions: Versions
    machine: Machine
    outcomes: tuple[Outcome, ...]

    @property
    def in_memory(self) -> bool:
        """Whether the relays had their stores there."""
        return all(one.experiment.in_memory for one in self.outcomes)

    @property
    def ok(self) -> bool:
        """Whether every fault stayed where it happened."""
        return all(one.findings is not None and one.findings.ok for one in self.outcomes)


class Size(NamedTuple):
    """How large a picture in the documentation may be."""

    suffix: str
    most_bytes: int


SMALL_ENOUGH: Final = (Size(".svg", 256 << 10), Size(".png", 80 << 10))


def plot_of(bundle: Path, name: str = "latency") -> Path | None:
    """The smaller of a bundle's two forms of a picture; None where neither is small enough."""
    fitting = []
    for size in SMALL_ENOUGH:
        path = (bundle / name).with_suffix(size.suffix)
        if path.is_file() and path.stat().st_size <= size.most_bytes:
            fitting.append((path.stat().st_size, path))
    return min(fitting)[1] if fitting else None


def plots_of(results: Results, directory: Path) -> Iterator[tuple[Path, str]]:
    """Each picture that the results name: where the campaign left it, and its name on the page."""
    for one in results.outcomes:
        if one.plot is not None:
            yield (directory / one.fault / "latency").with_suffix(Path(one.plot).suffix), one.plot


def read_results(directory: Path, name: str = RESULTS) -> Results:
    """The results in a directory.

    Raises:
        OSError: there are none.
        msgspec.MsgspecError: they are of another form.
    """
    return msgspec.json.decode((directory / name).read_bytes(), type=Results)


def write_results(directory: Path, results: Results, name: str = RESULTS) -> None:
    """Leave them in a directory, for people to read as well.

    Raises:
        OSError: it cannot be written to.
    """
    text = msgspec.json.format(msgspec.json.encode(results), indent=1)
    (directory / name).write_bytes(text + b"\n")

"""Experiments that never took place, for what runs many of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import structs

from bench.isolation.experiment import Experiment
from bench.isolation.findings import Conclusion, Findings
from bench.relay_of_its_own import PROGRAM
from bench.run import RunError
from tests.bench.isolation_report.synthetic import findings, report


class MadeUp:
    """Concludes as it is told, by the name of the bundle; where it is told nothing, cannot."""

    def __init__(self, conclusions: Mapping[str, Conclusion], picture: bytes = b"<svg/>") -> None:
        self.done: list[tuple[str, Experiment, Sequence[str]]] = []
        self._conclusions = conclusions
        self._picture = picture

    def __call__(
        self, experiment: Experiment, directory: Path, *, program: Sequence[str] = PROGRAM
    ) -> Findings:
        self.done.append((directory.name, experiment, program))
        if directory.name not in self._conclusions:
            raise RunError("the load generator could not keep up with the rate")
        directory.mkdir(parents=True)
        (directory / "latency.svg").write_bytes(self._picture)
        conclusion = self._conclusions[directory.name]
        verdicts = tuple(
            structs.replace(one, verdict="ok" if conclusion == "isolated" else one.verdict)
            for one in report().verdicts
        )
        return findings(
            fault=experiment.fault,
            conclusion=conclusion,
            ok=conclusion == "isolated",
            seed=experiment.seed,
            rate_per_s=experiment.rate_per_s or 4_711.5,
            checker=structs.replace(report(), verdicts=verdicts),
            unread=400 if directory.name == "supervisor-escalating" else 0,
        )

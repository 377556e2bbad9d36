"""Records the small histories that `test_recorded` judges.

    python -m tests.isolation.record [--only NAME]

A quick experiment of every fault on the relay as it is, and of every break of `broken_relay` with
the fault that shows it. A recording is kept only where the checker's word is the right one: of the
relay as it is, that no promise is broken; of a broken one, that I17 is, and nothing else. A machine
that is busy for a moment breaks I17 too; so each is tried a few times.
"""

from __future__ import annotations

import argparse
import lzma
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from bench.checker.check import Report, check
from bench.isolation.campaign import FAULTS
from bench.isolation.experiment import Experiment
from bench.isolation.findings import FaultName
from bench.isolation.run import run
from bench.relay_of_its_own import PROGRAM, StartError
from bench.run import RunError
from tests.isolation.proof import SHOWN_BY, broken_relay

RECORDED: Final = Path(__file__).parent / "recorded"
VERDICTS: Final = RECORDED / "verdicts.json"
SUFFIX: Final = ".history.xz"

CONVERSATIONS: Final = 20
VICTIMS: Final = 2
RATE_PER_S: Final = 60.0
SECONDS: Final = 12.0
SHORTER: Final[Mapping[FaultName, float]] = {"flood": 6.0}
"""What the flooders sent is in the inboxes, and so in the history: this keeps it small."""

SEED: Final = 11
TRIES: Final = 8
MOST_BYTES: Final = 150 << 10
ISOLATION: Final = "I17"

Words = dict[str, str]
"""What the checker says of each promise."""


class Recording(NamedTuple):
    """One to be made: its name, the relay that it is made of, the fault that strikes it."""

    name: str
    program: Sequence[str]
    fault: FaultName
    is_whole: bool


def recordings() -> Iterator[Recording]:
    """All of them."""
    for fault in FAULTS:
        yield Recording(fault, PROGRAM, fault, is_whole=True)
    for broken, fault in SHOWN_BY.items():
        yield Recording(broken, broken_relay(broken), fault, is_whole=False)


def main() -> int:
    """The exit code: 0 if all were recorded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=[one.name for one in recordings()])
    only: str | None = parser.parse_args().only
    RECORDED.mkdir(exist_ok=True)
    wanted = [one for one in recordings() if only in (None, one.name)]
    missing = [one.name for one in wanted if not _record(one)]
    for name in missing:
        _say(f"{name}: not recorded")
    return 1 if missing else 0


def _record(recording: Recording) -> bool:
    """Try until one is good, and keep that; whether one was."""
    for _ in range(TRIES):
        with tempfile.TemporaryDirectory(prefix="ksmp-recording-") as name:
            try:
                run(experiment_of(recording.fault), Path(name), program=recording.program)
            except (StartError, RunError) as error:
                _say(f"{recording.name}: no measurement: {error}")
                continue
            history = Path(name) / "history"
            report, packed = check(history), lzma.compress(history.read_bytes(), preset=9)
        complaint = complaint_about(recording, report, len(packed))
        if complaint is None:
            (RECORDED / f"{recording.name}{SUFFIX}").write_bytes(packed)
            _keep_words(recording.name, words_of(report))
            _say(f"{recording.name}: {len(packed) >> 10} KiB")
            return True
        _say(f"{recording.name}: {complaint}; once more")
    return False


def experiment_of(fault: FaultName) -> Experiment:
    """Small, and the same each time."""
    return Experiment(
        fault=fault,
        conversations=CONVERSATIONS,
        victims=VICTIMS,
        seconds=SHORTER.get(fault, SECONDS),
        rate_per_s=RATE_PER_S,
        seed=SEED,
        quick=True,
    )


def complaint_about(recording: Recording, report: Report, size: int) -> str | None:
    """Why a recording is not to be kept, if it is not."""
    words = words_of(report)
    expected = () if recording.is_whole else (ISOLATION,)
    if not report.whole:
        return "the history is cut off"
    if words[ISOLATION] == "not exercised":
        return "there were too few bystanders"
    if report.violated != expected:
        said = next(one.excerpt for one in report.verdicts if one.invariant == ISOLATION)
        return f"promises broken: {', '.join(report.violated) or 'none'}; {'; '.join(said[-1:])}"
    if size > MOST_BYTES:
        return f"{size >> 10} KiB are too many"
    return None


def words_of(report: Report) -> Words:
    """The verdicts, by the names of the promises."""
    return {one.invariant: one.verdict for one in report.verdicts}


def read_words() -> dict[str, Words]:
    """Of each recording, what was said when it was made."""
    return msgspec.json.decode(VERDICTS.read_bytes(), type=dict[str, Words])


def _keep_words(name: str, words: Words) -> None:
    all_words = read_words() if VERDICTS.is_file() else {}
    all_words[name] = words
    ordered = dict(sorted(all_words.items()))
    VERDICTS.write_bytes(msgspec.json.format(msgspec.json.encode(ordered), indent=1) + b"\n")


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")


if __name__ == "__main__":
    sys.exit(main())

"""Makes the corpora that are kept: the seeds, and few and small inputs that lead elsewhere.

    … -m tests.fuzz.minimise [DIR]

Chooses out of the corpora as they are and what the fuzzer has found under DIR (`var/fuzz`). Files
whose name begins with `broke-`, because they once did, always stay.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Final

from tests.fuzz.promise import REACHED
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS, Target

MOST_INPUTS: Final = 100
MOST_BYTES: Final = 1_024
_PACKAGES: Final = ("/ksmp/", "/actors/", "/relay/", "/websockets/", "/h11/")

Feature = tuple[str, int, int] | str
"""A step from one line of a file to another, or an outcome."""


def minimise(target: Target, chosen: list[bytes], candidates: Iterable[bytes]) -> list[bytes]:
    """What is chosen already, and of the others, the smallest first, each that adds a feature."""
    seen = {feature for one in chosen for feature in features_of(target.take, one)}
    chosen = list(chosen)
    for candidate in sorted(set(candidates), key=lambda one: (len(one), one)):
        if len(candidate) <= MOST_BYTES and len(chosen) < MOST_INPUTS:
            features = features_of(target.take, candidate)
            if not features <= seen:
                seen |= features
                chosen.append(candidate)
    return chosen


def features_of(take: Callable[[bytes], None], source: bytes) -> set[Feature]:
    """Where the input leads."""
    features: set[Feature] = set()
    lines: dict[FrameType, int] = {}

    def enter(frame: FrameType, event: str, _: object) -> object:
        if not any(package in frame.f_code.co_filename for package in _PACKAGES):
            return None
        return step

    def step(frame: FrameType, event: str, _: object) -> object:
        if event == "line":
            before = lines.get(frame, 0)
            lines[frame] = frame.f_lineno
            features.add((frame.f_code.co_filename, before, frame.f_lineno))
        elif event == "return":
            lines.pop(frame, None)
        return step

    REACHED.clear()
    sys.settrace(enter)  # type: ignore[arg-type]
    try:
        take(source)
    finally:
        sys.settrace(None)
    return features | set(REACHED)


def main() -> None:
    """Write the corpora anew."""
    found = Path(sys.argv[1] if len(sys.argv) > 1 else "var/fuzz")
    for name, target in TARGETS.items():
        folders = [folder for folder in (target.corpus, found / name) if folder.is_dir()]
        files = [file for folder in folders for file in folder.iterdir()]
        chosen = minimise(target, seeds()[name], (file.read_bytes() for file in files))
        target.corpus.mkdir(parents=True, exist_ok=True)
        for file in target.corpus.glob("*.bin"):
            if not file.name.startswith("broke-"):
                file.unlink()
        for one in chosen:
            (target.corpus / f"{hashlib.sha256(one).hexdigest()[:12]}.bin").write_bytes(one)
        print(f"{name}: {len(chosen)} of {len(files)}, {sum(map(len, chosen))} bytes")


if __name__ == "__main__":
    main()

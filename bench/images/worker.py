"""Makes one recording and examines its images: `python -m bench.images.worker FILE SEED BEGIN END`.

A recording that is in FILE already is taken as it is. A line is printed as soon as an image is
examined: round, moment, and what is wrong if anything is. So whoever reads them knows where it was,
should an image end the process.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.images.recorder import record
from bench.images.recording import read_recording, write_recording
from bench.images.reserving import reserving_little
from bench.images.rounds import examine_images
from bench.places import IN_MEMORY


def work(file: Path, seed: int, begin: int, end: int) -> None:
    """Examine the images from `begin` to before `end`."""
    with reserving_little(), TemporaryDirectory(prefix="ksmp-images-", dir=IN_MEMORY) as name:
        if not file.exists():
            failed = file.with_suffix(".failed")
            write_recording(record(seed, Path(name), failed=failed), file)
        recording = read_recording(file)
        for one in examine_images(recording, begin, end, Path(name) / "image"):
            print(one.round, one.moment, one.problem or "", sep="\t", flush=True)


def main(arguments: Sequence[str]) -> None:
    """Work as told."""
    file, *numbers = arguments
    work(Path(file), *map(int, numbers))


if __name__ == "__main__":
    main(sys.argv[1:])

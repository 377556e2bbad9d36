"""Some inputs once more, in plain Python: `… -m tests.fuzz.replay codec FILE…`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.fuzz.promise import REACHED
from tests.fuzz.targets import TARGETS


def main() -> None:
    """Take each file, and say what it led to; a broken promise ends it with its traceback."""
    name, *files = sys.argv[1:]
    for file in files:
        REACHED.clear()
        TARGETS[name].take(Path(file).read_bytes())
        print(f"{file}: {', '.join(sorted(REACHED)) or 'nothing'}")


if __name__ == "__main__":
    main()

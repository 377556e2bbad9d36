"""What does not draw does not wait for what draws."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["bench", "--help"], ["bench", "rerun", "--help"], ["bench", "report", "--help"]],
)
def test_help_imports_nothing_that_draws(arguments):
    script = (
        "import sys; from relay.cli import run; code = run(sys.argv[1:]);"
        "print(code, [name for name in ('matplotlib', 'numpy') if name in sys.modules])"
    )

    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert ended.stdout.splitlines()[-1] == "0 []"

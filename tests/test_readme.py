"""What README shows works as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.wire.relay_process import REPOSITORY, RelayProcess


def example() -> str:
    readme = (REPOSITORY / "README.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    (block,) = [block for block in blocks if "ksmp.client" in block]
    return str(block)


def test_the_sender_and_the_receiver_in_readme_run_against_a_relay(tmp_path: Path) -> None:
    program = tmp_path / "example.py"
    program.write_text(example())

    with RelayProcess(tmp_path) as relay:
        tokens = relay.tokens(["alice", "bob"])
        printed = subprocess.run(
            [sys.executable, program, f"ws://{relay.host}:{relay.port}", *tokens],
            cwd=REPOSITORY,
            env={"PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )

    assert printed.stdout.splitlines() == ["stored as number 1", "received b'sealed for bob'"]

"""Whether a file is a sound LMDB file, found out without handing it to the engine.

The engine maps the file and trusts it; a damaged one can end the process. This reads page by page.
"""

from __future__ import annotations

import os
from pathlib import Path

from lmdb.verify import VerifyError, verify


def structure_problems(file: Path) -> list[str]:
    """What is wrong with pages, trees and the list of free pages; empty when all is well.

    Problems name tables and pages, never a key.
    """
    try:
        problems = verify(os.fspath(file), subdir=False)  # type: ignore[no-untyped-call]
    except VerifyError as error:
        return [str(error)]
    return [str(problem) for problem in problems]

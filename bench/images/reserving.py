"""Small files: what a store reserves ahead would take longer to copy than all the rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from storage import environment

LITTLE_BYTES: Final = 1 << 14


@contextmanager
def reserving_little() -> Iterator[None]:
    """Until the block ends, stores in this process grow by 16 KiB at a time instead of 16 MiB."""
    usual = environment._RESERVE_BYTES  # noqa: SLF001
    environment._RESERVE_BYTES = LITTLE_BYTES  # type: ignore[misc]  # noqa: SLF001
    try:
        yield
    finally:
        environment._RESERVE_BYTES = usual  # type: ignore[misc]  # noqa: SLF001

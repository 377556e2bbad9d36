"""What is in a store that may be damaged, found out in a process that may die of it.

    python -m bench.torture.examining

Each line in is the directory of a store; each line out an `Examined` in JSON.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from select import select
from types import TracebackType
from typing import Final, Self

import msgspec
from msgspec import Struct

from bench.ending import undisturbed
from bench.run import PACKAGES
from storage.engine import open_read_only
from storage.environment import find_unfolded, unfolded_rows
from storage.errors import StorageError
from storage.journal import Found
from storage.rows import ROW_TABLES, View
from storage.tables import open_tables, read_folded
from storage.verify import verify

META: Final = b"meta"
END_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 60.0


class Examined(Struct, frozen=True):
    """What the offline check says; where it finds nothing wrong, what there is."""

    problems: tuple[str, ...]
    records: int = 0
    tables: dict[str, str] = {}
    """By table, a digest of all its rows, those of the journal included."""

    frames: int = 0
    """In the journal, and not in the tables."""

    shorter: tuple[dict[str, str], ...] = ()
    """The same digests as if the last frame had not been written, the last two, and so on."""


def examine(store: Path, *, shorter: int = 0) -> Examined:
    """Look at it; `shorter` is how many frames less are looked at, too."""
    try:
        found = verify(store)
        if not found.ok:
            return Examined(tuple(found.problems))
        return _content(store, found.records, shorter)
    except StorageError as error:
        return Examined((f"{error.what}: {error.why}",))


def _content(store: Path, records: int, shorter: int) -> Examined:
    env = open_read_only(store)
    try:
        with env.begin() as transaction:
            tables = open_tables(store, env, transaction)
            folded, key = read_folded(store, transaction, tables)
            found = find_unfolded(store, folded, key)

            def digests(journal: Found) -> dict[str, str]:
                generations = unfolded_rows(store, journal).generations
                view = View(generations, transaction, tables)
                told = {name.decode(): _digest(view.range(name)) for name in ROW_TABLES}
                rows = transaction.cursor(tables[META])
                return told | {"meta": _digest(rows)}

            frames = len(found.current) + len(found.other)
            without = [_without(found, number) for number in range(1, min(shorter, frames) + 1)]
            return Examined(
                (), records, digests(found), frames, tuple(digests(one) for one in without)
            )
    finally:
        env.close()


def _without(found: Found, last: int) -> Found:
    """All frames but the last ones."""
    current = found.current[: max(0, len(found.current) - last)]
    other = found.other[: len(found.other) - max(0, last - len(found.current))]
    return found._replace(current=current, other=other)


def _digest(rows: Iterable[tuple[bytes, bytes]]) -> str:
    digest = blake2b(digest_size=16)
    for key, row in rows:
        digest.update(len(key).to_bytes(4, "big") + key + len(row).to_bytes(4, "big") + row)
    return digest.hexdigest()


# ── in a process of its own ──────────────────────────────────────────────────────────────────


class Question(Struct, frozen=True):
    """A store, and how many frames less of its journal are to be looked at, too."""

    store: str
    shorter: int = 0


class Examiner:
    """Asks that process, and starts another one when it has died. Leaving the block ends it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def ask(self, store: Path, *, shorter: int = 0) -> Examined | None:
        """What there is; None where looking at it ended the process, or did not end."""
        if self._process is None:
            with undisturbed():
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "bench.torture.examining"],
                    cwd=PACKAGES,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    bufsize=0,  # what it does not read any more is not kept for it
                    process_group=0,
                )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):  # it has died; there will be no answer
            process.stdin.write(msgspec.json.encode(Question(str(store), shorter)) + b"\n")
        is_answered, _, _ = select([process.stdout], [], [], ANSWER_SECONDS)
        answer = process.stdout.readline() if is_answered else b""
        if not answer:
            self._end()
            return None
        return msgspec.json.decode(answer, type=Examined)

    def _end(self) -> None:
        if self._process is not None:
            with self._process as process:
                process.kill()
                process.wait(END_SECONDS)
            self._process = None


def main() -> None:
    """Answer until nobody asks any more."""
    for line in sys.stdin.buffer:
        asked = msgspec.json.decode(line, type=Question)
        examined = examine(Path(asked.store), shorter=asked.shorter)
        sys.stdout.buffer.write(msgspec.json.encode(examined) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()

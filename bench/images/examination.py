"""One crash image: it opens, has what was promised, goes on, and opens again with all of that.

What is opened is what the relay opens, and what looks for damage is what `verify` looks with. A
file that is damaged is not handed to the engine, which would trust it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

from bench.images.letters import Letter, append_of, rows_of, talk
from bench.images.promises import Content, Promises
from bench.images.store_files import Files, write_files
from ksmp.types import ConversationKey, Epoch, ServerSeq, TimeMs
from storage.environment import Environment, open_environment
from storage.errors import StorageError, StoreIncompatibleError
from storage.log import Appended, ConversationHead, MarkRead, ReadHead, ReadMarked
from storage.rows import ROW_TABLES
from storage.transaction import Writer
from storage.verify import verify

PLENTY: Final = 1 << 40
MAP_BYTES: Final = 1 << 18
NEW_TALK: Final = talk("bob", "erna")
"""Not one of those that are recorded."""

VERIFIED_AGAIN: Final = 0.2
"""Of the images, so many are also verified when they have been opened and written to."""


class _BrokenError(Exception):
    """Something is wrong. Says what."""


def examine(
    store: Path, files: Files, promises: Promises, segment_bytes: int, chance: random.Random
) -> str | None:
    """What is wrong with the image `files`; None when all is well. `store` is written over."""
    write_files(store, files)
    if chance.random() < 0.5:
        (store / "lock.mdb").unlink(missing_ok=True)
    try:
        _Examination(store, promises, segment_bytes, chance).run()
    except _BrokenError as error:
        return str(error)
    except StorageError as error:
        return f"refused: {error.what.removesuffix(str(store)).strip()}: {error.why}"
    except Exception as error:  # noqa: BLE001 - whatever it is, a start must not raise it
        return f"raised: {type(error).__name__}: {error}"
    return None


class _Examination:
    def __init__(
        self, store: Path, promises: Promises, segment_bytes: int, chance: random.Random
    ) -> None:
        self._store = store
        self._promises = promises
        self._segment_bytes = segment_bytes
        self._chance = chance

    def run(self) -> None:
        """Raises what is wrong."""
        if self._promises.epoch is not None:
            self._verify()
        with self._opened() as environment:
            writer = Writer(environment, lambda: PLENTY)
            found = _content(environment)
            self._compare(environment, found)
            if self._chance.random() < 0.3:
                writer.fold()
            expected = self._go_on(environment, writer, found)
            if self._chance.random() < 0.3:
                writer.finish()
        with self._opened() as environment:
            Writer(environment, lambda: PLENTY)
            if _content(environment) != expected:
                raise _BrokenError("a second opening finds something else")
        if self._chance.random() < VERIFIED_AGAIN:
            self._verify()

    def _verify(self) -> None:
        try:
            problems = verify(self._store).problems
        except StoreIncompatibleError:
            return  # of an older format, which opening upgrades
        if problems:
            raise _BrokenError(f"damaged: {problems[0]}")

    @contextmanager
    def _opened(self) -> Iterator[Environment]:
        environment = open_environment(
            self._store,
            new_epoch=lambda: Epoch("epoch-of-an-image"),
            new_lock=nullcontext,
            map_size_bytes=MAP_BYTES,
            segment_bytes=self._segment_bytes,
        )
        try:
            yield environment
        finally:
            environment.close()

    def _compare(self, environment: Environment, found: Content) -> None:
        epoch = self._promises.epoch
        if epoch is not None and environment.epoch != epoch:
            raise _BrokenError("the epoch is another")
        for problem in self._promises.broken(found):
            raise _BrokenError(problem)

    def _go_on(self, environment: Environment, writer: Writer, found: Content) -> Content:
        """Send and read in an old conversation and a new one; what the store must have then."""
        known = list(self._promises.conversations)
        keys = [*([self._chance.choice(known)] if known else ()), NEW_TALK]
        for number, key in enumerate(keys):
            self._send(writer, key, number)
        now = _content(environment)
        for table in (b"log", b"keys", b"inbox", b"users", b"conversations"):
            if not found[table].items() <= now[table].items():
                raise _BrokenError(f"going on has changed a row of {table.decode()}")
        if len(now[b"log"]) != len(found[b"log"]) + len(keys):
            raise _BrokenError("what was appended is not there")
        return now

    def _send(self, writer: Writer, key: ConversationKey, number: int) -> None:
        (head,) = writer.transact([ReadHead(key)])
        if not isinstance(head, ConversationHead):
            raise _BrokenError(f"a head is told as {head}")
        promised = self._promises.conversations.get(key, 0)
        if head.server_seq < promised:
            raise _BrokenError(f"a conversation of {promised} goes on from {head.server_seq}")
        new = append_of(key, head, [Letter(key.low, f"image-{number}", b"after the crash")])
        read = MarkRead(key, key.high, ServerSeq(head.server_seq + 1), False, TimeMs(9))
        appended, marked = writer.transact([new, read])
        if not isinstance(appended, Appended) or not isinstance(marked, ReadMarked):
            raise _BrokenError(f"going on has {appended}, {marked}")
        if marked.own.server_seq != next(iter(rows_of(new))):
            raise _BrokenError("a read position does not rise")


def _content(environment: Environment) -> Content:
    with environment.reading() as view:
        return {table: dict(view.range(table)) for table in ROW_TABLES}

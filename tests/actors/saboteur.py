"""A failure planted at one checkpoint of a coroutine, so that a test can try them all."""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any


class Planted(Exception):
    """The failure that a test plants."""


class Saboteur:
    """Runs a coroutine and raises into it once, when it comes back from its n-th checkpoint."""

    def __init__(self, at: int) -> None:
        self.left = at

    @types.coroutine
    def run(self, victim: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                trap = victim.send(value) if error is None else victim.throw(error)
            except StopIteration:
                return
            value, error = None, None
            try:
                value = yield trap
            except BaseException as thrown:  # noqa: ASYNC103, BLE001 - passed on to the victim
                error = thrown
                continue  # noqa: ASYNC104
            self.left -= 1
            if self.left == 0:
                error = Planted()

    @property
    def has_struck(self) -> bool:
        return self.left <= 0

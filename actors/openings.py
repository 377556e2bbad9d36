"""Who has begun how many conversations within the last hour.

Whoever sends a conversation's first record begins it. Counted in memory: a restart forgets, and
everyone may begin as many again. A user who has begun none for an hour is forgotten when the number
of those remembered has doubled.
"""

from __future__ import annotations

from typing import Final

import trio

from actors.limits import Limits
from actors.rates import Window
from ksmp.types import UserId

PERIOD_SECONDS: Final = 3_600.0
_SWEEP_FROM: Final = 1_000  # users; fewer are not worth looking for those to forget


class Openings:
    """Owns the count of every user, over all conversations."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._windows: dict[UserId, Window] = {}
        self._sweep_at = _SWEEP_FROM

    def adopt(self, limits: Limits) -> None:
        """Judge by `limits` from now on; what has been counted stays counted."""
        self._limits = limits

    def wait(self, user: UserId) -> float:
        """0.0 where `user` may begin a conversation, or the seconds until that will be so."""
        window = self._windows.get(user)
        if window is None:
            return 0.0
        return window.wait(self._limits.new_conversations_per_hour, trio.current_time())

    def count(self, user: UserId) -> None:
        """`user` begins a conversation."""
        window = self._windows.get(user)
        if window is None:
            if len(self._windows) >= self._sweep_at:
                self._forget_who_begins_none()
            window = self._windows[user] = Window(PERIOD_SECONDS)
        window.count(trio.current_time())

    def take_back(self, user: UserId) -> None:
        """The record that was to begin one has not been stored."""
        window = self._windows.get(user)
        if window is not None:
            window.take_back()

    @property
    def remembered_users(self) -> int:
        """Of how many users anything is remembered."""
        return len(self._windows)

    def _forget_who_begins_none(self) -> None:
        """Rare enough that its cost, shared by those counted since the last time, is constant."""
        now = trio.current_time()
        self._windows = {
            user: window for user, window in self._windows.items() if not window.is_empty(now)
        }
        self._sweep_at = max(_SWEEP_FROM, 2 * len(self._windows))

"""What the writer remembers of names: which number a user or a conversation has.

Only what is committed is remembered, and numbers never change, so the memory is never wrong. It
is bounded: what was used longest ago is forgotten and read again when it is needed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, Generic, TypeVar

from ksmp.types import ConversationKey, UserId
from storage.keys import ConversationNumbers

REMEMBERED_NAMES: Final = 100_000
"""Of each kind; about 30 MiB in all when full."""

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A mapping that holds at most `limit` entries, those used last."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The value, which counts as a use, or None."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def learn(self, entries: Mapping[K, V]) -> None:
        """Remember `entries`, and forget as many of the oldest as are too many."""
        known = self._entries
        known.update(entries)
        while len(known) > self._limit:
            known.popitem(last=False)


class Names:
    """The numbers of users and conversations that the writer met last."""

    def __init__(self, limit: int = REMEMBERED_NAMES) -> None:
        self.users: Recent[UserId, int] = Recent(limit)
        self.conversations: Recent[ConversationKey, ConversationNumbers] = Recent(limit)
        self.last_numbers: dict[bytes, int] = {}
        """Of each table of names, the last number that was given."""

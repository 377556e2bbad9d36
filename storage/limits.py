"""What the store may take, and which records of an append would be too much for someone's quota.

Both quotas count stored bytes: the length of a record's row in `log`. A record counts once for its
sender, and once for each inbox that holds it, which is both participants'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ksmp.types import UserId
from storage.keys import InboxState, record_bytes
from storage.log import Append

DEFAULT_COMMIT_BYTES: Final = 4 << 20
"""Of records, in one transaction; a single append may be larger, and then goes alone."""

DEFAULT_MIN_FREE_BYTES: Final = 64 << 20
"""Free space below which only reading goes on."""


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """What one transaction, the disk and each user may take."""

    commit_bytes: int = DEFAULT_COMMIT_BYTES
    min_free_bytes: int = DEFAULT_MIN_FREE_BYTES
    stored_bytes_per_sender: int = 0
    """Of all records that one user has sent; 0 is no limit."""
    stored_bytes_per_inbox: int = 0
    """Of all records in the inbox of one user; 0 is no limit."""

    @property
    def has_quotas(self) -> bool:
        """Whether anyone can be over a quota."""
        return bool(self.stored_bytes_per_sender or self.stored_bytes_per_inbox)


def over_quota(
    limits: StoreLimits, append: Append, states: Mapping[UserId, InboxState]
) -> frozenset[int]:
    """Which records, by index, would be too much, each judged after those before it that are not.

    `states` are the participants'. A record that is too much for either inbox is too much.
    """
    per_sender = limits.stored_bytes_per_sender or float("inf")
    per_inbox = limits.stored_bytes_per_inbox or float("inf")
    sent = {user: state.sent_bytes for user, state in states.items()}
    fullest = max(state.inbox_bytes for state in states.values())
    refused = set()
    for index, record in enumerate(append.records):
        size = record_bytes(record.recorded)
        if fullest + size > per_inbox or sent[record.sender] + size > per_sender:
            refused.add(index)
        else:
            fullest += size
            sent[record.sender] += size
    return frozenset(refused)

"""How much room the store takes, and how much there is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoreUsage:
    """Of one moment, in bytes."""

    file_bytes: int
    """What the store's files occupy on the disk."""

    map_bytes: int
    """The address space it may grow to before its map does."""

    used_bytes: int
    """How far the map is in use."""

    can_grow: bool
    """Whether the map grew when it last had to."""

    free_bytes: int
    """What is free on the disk."""

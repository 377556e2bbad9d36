"""How a round ends that does not end well."""

from __future__ import annotations


class BrokenError(Exception):
    """A promise was broken, or the relay did what it may not; the message says what was seen."""


class NotPossibleError(Exception):
    """This fault cannot be had here; the message says what is missing."""

"""What is wrong with the order of frames, in the four words that the ordering benchmark reports.

    gap          a record was skipped and never came on this connection
    duplicate    a record came twice
    reordered    a record came after a later one
    chain break  a number is another message elsewhere, or its chain does not follow

The promises say the same in more detail: I9 finds the first three, I3 the last.
"""

from __future__ import annotations

from msgspec import Struct

from bench.checker.index import base_of, first_allowed, good_resume
from bench.checker.story import Connection, Story


class Order(Struct):
    """What was examined, and what was wrong with it. Nothing examined is no good verdict."""

    checked: int = 0
    gaps: int = 0
    duplicates: int = 0
    reordered: int = 0
    chain_breaks: int = 0

    @property
    def violations(self) -> int:
        """How often order was seen broken."""
        return self.gaps + self.duplicates + self.reordered + self.chain_breaks


def order_of(story: Story, chain_breaks: int) -> Order:
    """Count over all connections; the breaks of the chain have been counted."""
    order = Order(checked=len(story.frames.at), chain_breaks=chain_breaks)
    for connection in story.connections:
        _count(story, connection, order)
    return order


def _count(story: Story, connection: Connection, order: Order) -> None:
    asked = good_resume(connection.asked)
    if asked is None:
        return
    numbers, links = story.frames.global_inbox_seq, story.frames.previous
    rows = connection.rows[first_allowed(asked) :]
    cursor = base_of(asked)
    for position, row in enumerate(rows):
        number = numbers[row]
        if number > cursor:
            order.gaps += links[row] > cursor and not connection.jumps
            cursor = number
        elif any(numbers[earlier] == number for earlier in rows[:position]):
            order.duplicates += 1
        else:
            order.reordered += 1
            order.gaps -= order.gaps > 0  # it was skipped, and has come

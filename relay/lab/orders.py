"""A file of orders: one JSON object a line. Empty lines are fine."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from relay.exits import CommandError, ExitCode
from storage.fault_orders import InvalidOrderError, Order, decode_order

MOST_ORDERS: Final = 256
"""In force at once, from the file and from operators."""


class OrdersFileError(Exception):
    """The file holds what is no order, or cannot be read. The text says where and why."""


def read_orders(path: Path) -> tuple[Order, ...]:
    """Every order in the file.

    Raises:
        OrdersFileError: one of them is none, there are too many, or there is no such file.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise OrdersFileError(f"cannot be read: {error.strerror}") from None
    orders = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                orders.append(decode_order(line))
            except InvalidOrderError as invalid:
                raise OrdersFileError(f"line {number}: {invalid}") from None
    if len(orders) > MOST_ORDERS:
        raise OrdersFileError(f"holds {len(orders)} orders, and {MOST_ORDERS} are the most")
    return tuple(orders)


def load_orders(path: Path | None) -> tuple[Order, ...]:
    """The orders that a configuration names; none where it names no file.

    Raises:
        CommandError: the file cannot be used.
    """
    if path is None:
        return ()
    try:
        return read_orders(path)
    except OrdersFileError as error:
        raise CommandError(
            ExitCode.CONFIGURATION,
            f"The faults in {path} cannot be ordered",
            str(error),
            "Write one order a line, as docs/failpoints.md says.",
        ) from None

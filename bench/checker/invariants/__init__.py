"""One promise each; `ALL` is in the order of their numbers."""

from __future__ import annotations

from typing import Final

from bench.checker.invariants.answers import I5, I18, I23
from bench.checker.invariants.inboxes import I12, I14
from bench.checker.invariants.isolation import I17
from bench.checker.invariants.log import I1, I2, I3, I4, I6
from bench.checker.invariants.order import I7, I8, I21
from bench.checker.invariants.positions import I13
from bench.checker.invariants.restarts import I11
from bench.checker.invariants.streams import I9, I10
from bench.checker.verdict import Invariant

ALL: Final[tuple[Invariant, ...]] = (
    *(I1, I2, I3, I4, I5, I6, I7, I8, I9, I10, I11, I12, I13, I14),
    *(I17, I18, I21, I23),
)

"""How cases ended, and which endings other than a plain pass are right for this relay, and why.

A case has to pass as the suite understands it, `OK`, but for the ones that `EXPECTED` names. Each
of those has to end as it says there; what ends better than expected is told as well, so that the
list never claims what has ceased to be true.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal

CASES_BY_SECTION: Final = {
    "1": 16,
    "2": 11,
    "3": 7,
    "4": 10,
    "5": 20,
    "6": 145,
    "7": 37,
    "9": 54,
    "10": 1,
    "12": 90,
    "13": 126,
}

Subject = Literal["websockets", "trio-websocket", "client"]
"""What is put to the test: the relay's transports, and the client's end."""

SUBJECTS: Final[tuple[Subject, ...]] = ("websockets", "trio-websocket", "client")

OK: Final = "OK"
NON_STRICT: Final = "NON-STRICT"
INFORMATIONAL: Final = "INFORMATIONAL"
UNIMPLEMENTED: Final = "UNIMPLEMENTED"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one case ended, in the suite's words; `was_late` when the suite lost its patience."""

    case: str
    behavior: str
    closing: str
    close_code: int | None
    milliseconds: int
    explanation: str
    was_late: bool

    @property
    def section(self) -> str:
        """The part of the suite it is in."""
        return self.case.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Expected:
    """Cases (`12.*` is all of a section) that do not have to end with `OK`, and why.

    `or_ok` where it depends on how the bytes arrive: both endings are right then.
    """

    cases: tuple[str, ...]
    behavior: str
    reason: str
    on: tuple[Subject, ...] = SUBJECTS
    or_ok: bool = False

    @property
    def ending(self) -> str:
        """How such a case ends, in a word or two."""
        ending = self.behavior.lower()
        return f"{ending}, or ok" if self.or_ok else ending

    def covers(self, case: str, subject: Subject) -> bool:
        """Whether this is about that case, played on that."""
        return subject in self.on and any(fnmatchcase(case, pattern) for pattern in self.cases)

    def allows(self, outcome: Outcome) -> bool:
        """Whether the case ended as this says."""
        if self.or_ok and (outcome.behavior, outcome.closing) == (OK, OK):
            return True
        closing = INFORMATIONAL if self.behavior == INFORMATIONAL else OK
        return (outcome.behavior, outcome.closing) == (self.behavior, closing)


MANY_AT_ONCE: Final[tuple[Subject, ...]] = ("websockets", "client")
"""Where all the frames of a read are taken at once."""

EXPECTED: Final = (
    Expected(
        ("3.2", "3.3", "3.4", "4.1.3", "4.1.4", "4.1.5", "4.2.3", "4.2.4", "4.2.5", "5.15"),
        NON_STRICT,
        "A whole message is followed by a broken frame. The message is taken, and the connection "
        "closed with 1002 at once. Where both come in one read, an answer to the message would "
        "follow the close frame, so there is none; whoever sent it repeats it.",
        on=MANY_AT_ONCE,
        or_ok=True,
    ),
    Expected(
        ("6.4.1", "6.4.2"),
        NON_STRICT,
        "The second fragment of a text makes it other than UTF-8. It is refused with 1007 when the "
        "message is complete, not at once: no text is decoded before it is all there, and how much "
        "of one is held is bounded by its size all the same.",
        on=MANY_AT_ONCE,
    ),
    Expected(
        ("6.4.3", "6.4.4"),
        NON_STRICT,
        "The same inside one frame, whose bytes come with pauses: refused with 1007 when the frame "
        "is complete.",
    ),
    Expected(
        ("7.1.6",),
        INFORMATIONAL,
        "256 KiB, and a close frame that does not wait for an answer: whether one still arrives is "
        "left open. The close frame is answered first, and nothing is sent behind that.",
    ),
    Expected(
        ("7.13.1", "7.13.2"),
        INFORMATIONAL,
        "What close codes 5000 and 65536 lead to is undefined. They are answered with 1002.",
    ),
    Expected(
        ("12.*", "13.*"),
        UNIMPLEMENTED,
        "Compression is offered and none negotiated: ciphertext does not compress, and how far "
        "something does tells about it. The upgrade succeeds without.",
    ),
)


def wrong(outcomes: Iterable[Outcome], subject: Subject) -> list[Outcome]:
    """The outcomes that are neither a plain pass nor what is expected of their case."""
    return [outcome for outcome in outcomes if not _is_right(outcome, subject)]


def _is_right(outcome: Outcome, subject: Subject) -> bool:
    for entry in EXPECTED:
        if entry.covers(outcome.case, subject):
            return entry.allows(outcome)
    return (outcome.behavior, outcome.closing) == (OK, OK)


def count_by_section(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """How many cases of each section were played; one played twice counts once."""
    return dict(Counter(case.partition(".")[0] for case in {outcome.case for outcome in outcomes}))


def table() -> str:
    """What `EXPECTED` says, as a table for the documentation."""
    rows = []
    for entry in EXPECTED:
        cases = ", ".join(f"`{case}`" for case in entry.cases)
        on = "all" if entry.on == SUBJECTS else ", ".join(f"`{subject}`" for subject in entry.on)
        rows.append(f"| {cases} | {on} | {entry.ending} | {entry.reason} |")
    return "\n".join(("| cases | on | ending | why |", "|---|---|---|---|", *rows))

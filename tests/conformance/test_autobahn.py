"""Autobahn's cases pass on both transports and at the client's end; a failure would be seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
import trio

from actors.transport import Transport
from tests.conformance.echo import Echo, echo_server
from tests.conformance.outcomes import (
    CASES_BY_SECTION,
    EXPECTED,
    INFORMATIONAL,
    NON_STRICT,
    OK,
    UNIMPLEMENTED,
    Outcome,
    Subject,
    count_by_section,
    table,
    wrong,
)
from tests.conformance.playing import (
    MOST_LATE,
    TENS_OF_THOUSANDS_OF_FRAGMENTS,
    Selection,
    against_server,
    play_everything,
    play_patiently,
)

PAGE: Final = Path(__file__).parents[2] / "docs" / "conformance.md"


@pytest.mark.parametrize("subject", ["websockets", "client"])
async def test_every_case_of_the_suite_ends_as_it_should(subject: Subject) -> None:
    run = await play_everything(subject)

    assert count_by_section(run.outcomes) == CASES_BY_SECTION
    assert len(run.outcomes) == 517
    assert wrong(run.outcomes, subject) == []


async def test_so_does_every_case_on_trio_websocket_that_is_short_enough_for_each_day() -> None:
    run = await play_everything("trio-websocket", leave_out=TENS_OF_THOUSANDS_OF_FRAGMENTS)

    assert count_by_section(run.outcomes) == CASES_BY_SECTION | {"9": 50}
    assert len(run.outcomes) == 513
    assert wrong(run.outcomes, "trio-websocket") == []


def test_the_documentation_lists_every_ending_that_is_not_a_plain_pass() -> None:
    assert table() in PAGE.read_text(encoding="utf-8"), "see python -m tests.conformance --table"


# ── the judgement ────────────────────────────────────────────────────────────────────────────


def ended(case: str, behavior: str, closing: str = OK) -> Outcome:
    return Outcome(case, behavior, closing, 1000, 1, "", was_late=False)


@pytest.mark.parametrize(
    ("outcome", "subject"),
    [
        (ended("1.1.1", OK), "websockets"),
        (ended("3.2", OK), "client"),
        (ended("3.2", NON_STRICT), "client"),
        (ended("3.2", OK), "trio-websocket"),
        (ended("6.4.1", NON_STRICT), "websockets"),
        (ended("6.4.1", OK), "trio-websocket"),
        (ended("7.1.6", INFORMATIONAL, INFORMATIONAL), "trio-websocket"),
        (ended("12.5.18", UNIMPLEMENTED), "client"),
    ],
    ids=str,
)
def test_what_is_expected_of_a_case_is_right(outcome: Outcome, subject: Subject) -> None:
    assert wrong([outcome], subject) == []


@pytest.mark.parametrize(
    ("outcome", "subject"),
    [
        (ended("1.1.1", "FAILED"), "websockets"),
        (ended("1.1.1", OK, "UNCLEAN"), "websockets"),
        (ended("1.1.1", OK, "WRONG CODE"), "websockets"),
        (ended("1.1.1", OK, "FAILED BY CLIENT"), "websockets"),
        (ended("1.1.1", NON_STRICT), "websockets"),
        (ended("1.1.1", UNIMPLEMENTED), "websockets"),
        (ended("1.1.1", INFORMATIONAL, INFORMATIONAL), "websockets"),
        (ended("3.2", "FAILED"), "websockets"),
        (ended("3.2", NON_STRICT, "UNCLEAN"), "websockets"),
        (ended("3.2", NON_STRICT), "trio-websocket"),
        (ended("6.4.1", OK), "websockets"),
        (ended("6.4.1", NON_STRICT), "trio-websocket"),
        (ended("7.1.6", INFORMATIONAL, "UNCLEAN"), "client"),
        (ended("12.1.1", OK), "client"),
    ],
    ids=str,
)
def test_any_other_ending_is_wrong_be_it_a_better_one(outcome: Outcome, subject: Subject) -> None:
    assert wrong([ended("2.1", OK), outcome], subject) == [outcome]


def test_no_case_is_expected_to_end_in_two_ways() -> None:
    names = [(name, subject) for entry in EXPECTED for name in entry.cases for subject in entry.on]

    assert len(names) == len(set(names))


# ── what the suite would find ────────────────────────────────────────────────────────────────


class TrustingEcho(Echo):
    """Takes any text for UTF-8."""

    def answer(self, message: bytes | bytearray, is_text: bool, transport: Transport) -> None:
        transport.send(bytes(message))


class ForgetfulEcho(Echo):
    """Does not return the `forgotten` first messages."""

    def __init__(self, forgotten: int) -> None:
        self._forgotten = forgotten

    def answer(self, message: bytes | bytearray, is_text: bool, transport: Transport) -> None:
        if self._forgotten:
            self._forgotten -= 1
        else:
            super().answer(message, is_text, transport)


async def play_one(echo: Echo, case: str) -> tuple[Outcome, tuple[str, ...]]:
    async with echo_server("websockets", echo) as urls:
        run = await play_patiently(against_server(urls), "websockets", Selection((case,)))
    (outcome,) = run.outcomes
    return outcome, run.repeated


async def test_an_echo_that_takes_any_text_for_utf8_fails() -> None:
    outcome, _ = await play_one(TrustingEcho(), "6.3.1")

    assert outcome.behavior == "FAILED"
    assert wrong([outcome], "websockets") == [outcome]


async def test_a_case_that_the_suite_gave_up_is_played_once_more() -> None:
    outcome, repeated = await play_one(ForgetfulEcho(1), "1.1.2")

    assert repeated == ("1.1.2",)
    assert wrong([outcome], "websockets") == []


async def test_a_case_that_the_suite_gave_up_twice_fails() -> None:
    outcome, repeated = await play_one(ForgetfulEcho(2), "1.1.2")

    assert repeated == ("1.1.2",)
    assert wrong([outcome], "websockets") == [outcome]
    assert outcome.was_late


async def test_a_case_that_went_wrong_in_time_is_not_played_again() -> None:
    played: list[Selection] = []

    async def play(selection: Selection) -> list[Outcome]:
        await trio.lowlevel.checkpoint()
        played.append(selection)
        return [ended("1.1.1", "FAILED"), replace(ended("1.1.2", OK), was_late=True)]

    run = await play_patiently(play, "websockets", Selection(("1.1.*",)))

    assert played == [Selection(("1.1.*",))]
    assert [outcome.case for outcome in wrong(run.outcomes, "websockets")] == ["1.1.1"]


async def test_where_much_is_late_nothing_is_played_again() -> None:
    late = [
        replace(ended(f"1.{number}", "FAILED"), was_late=True) for number in range(MOST_LATE + 1)
    ]
    played: list[Selection] = []

    async def play(selection: Selection) -> list[Outcome]:
        await trio.lowlevel.checkpoint()
        played.append(selection)
        return late

    run = await play_patiently(play, "websockets", Selection(("1.*",)))

    assert played == [Selection(("1.*",))]
    assert wrong(run.outcomes, "websockets") == late

"""A traceback names places and types, all of them, and nothing that an exception says."""

from __future__ import annotations

from relay.frames import frames_of

CANARY = "canary-7f3a"


def caught(raises) -> list[str]:
    try:
        raises()
    except Exception as error:  # noqa: BLE001
        return list(frames_of(error))
    raise AssertionError


def innermost() -> None:
    text = CANARY
    raise ValueError(text)


def middle() -> None:
    try:
        innermost()
    except ValueError as error:
        raise LookupError(error) from error


def in_passing() -> None:
    try:
        innermost()
    except ValueError:
        _ = dict[str, str]()["key"]


def hidden() -> None:
    try:
        innermost()
    except ValueError:
        raise LookupError from None


def grouped() -> None:
    members = []
    for raises in (innermost, middle):
        try:
            raises()
        except (ValueError, LookupError) as error:
            members.append(error)
    raise ExceptionGroup(CANARY, members)


def circular() -> None:
    error = ValueError(CANARY)
    other = LookupError(CANARY)
    other.__cause__ = error
    raise error from other


def shape(lines: list[str]) -> list[str]:
    """Functions and types alone, in order."""
    return [line.rpartition(", in ")[2] if " File " in line else line for line in lines]


def test_each_frame_and_the_type_are_shown_and_the_text_is_not():
    assert shape(caught(innermost)) == ["caught", "innermost", "builtins.ValueError"]


def test_causes_come_first():
    assert shape(caught(middle)) == [
        *["middle", "innermost", "builtins.ValueError", "which caused:"],
        *["caught", "middle", "builtins.LookupError"],
    ]


def test_what_was_being_dealt_with_comes_first_too_unless_it_is_suppressed():
    assert shape(caught(in_passing)) == [
        *["in_passing", "innermost", "builtins.ValueError", "while dealing with which came:"],
        *["caught", "in_passing", "builtins.KeyError"],
    ]
    assert shape(caught(hidden)) == ["caught", "hidden", "builtins.LookupError"]


def test_every_member_of_a_group_is_shown():
    lines = caught(grouped)

    assert shape(lines) == [
        *["caught", "grouped", "builtins.ExceptionGroup"],
        *["grouped", "innermost", "  | builtins.ValueError"],
        *["middle", "innermost", "  | builtins.ValueError", "  | which caused:"],
        *["grouped", "middle", "  | builtins.LookupError"],
    ]
    assert CANARY not in "\n".join(lines)


def test_exceptions_that_name_each_other_as_cause_come_to_an_end():
    lines = caught(circular)

    assert shape(lines)[-1] == "builtins.ValueError"
    assert CANARY not in "\n".join(lines)

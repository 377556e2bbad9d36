"""A traceback without what its exceptions say: their texts may quote what a client sent."""

from __future__ import annotations

import traceback
from collections.abc import Iterator


def frames_of(error: BaseException) -> Iterator[str]:
    """Lines: the type of each exception under the frames it came through, causes first.

    Of a group, the members follow, indented.
    """
    return _lines(error, "", frozenset())


def _lines(error: BaseException, indent: str, seen: frozenset[int]) -> Iterator[str]:
    seen |= {id(error)}
    cause, context = error.__cause__, error.__context__
    earlier = context if cause is None and not error.__suppress_context__ else cause
    if earlier is not None and id(earlier) not in seen:
        yield from _lines(earlier, indent, seen)
        yield indent + ("which caused:" if cause else "while dealing with which came:")
    for frame in traceback.extract_tb(error.__traceback__):
        yield f'{indent}  File "{frame.filename}", line {frame.lineno}, in {frame.name}'
    yield f"{indent}{type(error).__module__}.{type(error).__qualname__}"
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _lines(member, f"{indent}  | ", seen)

"""What may be said of an exception: its type and where it was raised, never its text or locals."""

from __future__ import annotations

from pathlib import PurePath


def describe(error: BaseException) -> dict[str, str]:
    """Fields for a log line about `error`: `error` is its type, `at` the code that raised it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    at = "unknown"
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        at = f"{PurePath(code.co_filename).name}:{traceback.tb_lineno} {code.co_name}"
        traceback = traceback.tb_next
    return {"error": type(error).__name__, "at": at}

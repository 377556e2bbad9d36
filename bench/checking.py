"""`ksmp-relay check`: judge a recorded history."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from bench.checker.check import check as check_history
from bench.checker.printing import print_report
from bench.checker.reading import HistoryError
from bench.run import judging_bar
from bench.telling import print_json
from relay.exits import CommandError, ExitCode


def check(
    history: Annotated[Path, Parameter(validator=validators.Path(exists=True, dir_okay=False))],
    *,
    json: bool = False,
) -> int:
    """Judge a history that was recorded of a relay: which promises were kept, which were broken.

    Exits with 1 when one was broken, or when the history is cut off or is none.

    Parameters
    ----------
    history
        A file in the format of docs/history.md: MessagePack or JSON lines.
    json
        Print JSON on standard output instead of a table.
    """
    try:
        with judging_bar() as show:
            report = check_history(history, show)
    except (HistoryError, OSError) as error:
        raise CommandError(
            ExitCode.FAILED,
            "This history cannot be judged",
            str(error),
            "Nothing was judged. Record it again; docs/history.md has the format.",
        ) from None
    if json:
        print_json(report)
    else:
        print_report(report)
    return ExitCode.OK if report.ok else ExitCode.FAILED

"""Several results on one page: `python -m bench.report RESULT.json … --out FILE`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from bench.pages.files import write_whole
from bench.pages.report import report_html
from bench.pages.result import ResultError, read_result
from bench.sections import shown

app = App(name="bench.report", help="Show the results of measurements on one page.")


@app.default
def report(
    results: Annotated[tuple[Path, ...], Parameter(negative="")],
    /,
    *,
    out: Path,
) -> int:
    """Gather results in one HTML page that needs nothing else; exits with 1 if that cannot be.

    Parameters
    ----------
    results
        The files `result.json` that measurements have left with their --out.
    out
        The page.
    """
    console = Console(stderr=True, highlight=False, markup=False)
    gathered = []
    for number, path in enumerate(results, 1):
        try:
            gathered.append(shown(read_result(path)))
        except ResultError as error:
            console.print(f"Result {number} cannot be shown: {error}.", soft_wrap=True)
            return 1
    if not gathered:
        console.print("There is nothing to show: name at least one result.json.")
        return 1
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, report_html(gathered).encode())
    except OSError as error:
        console.print(f"The page cannot be written: {error.strerror}.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))

"""Autobahn's cases as `kosoku` plays them, in a process of its own.

    python -m tests.conformance.suite server '{"url": …, "cases": …, "exclude": …, "at_a_time": …}'
    python -m tests.conformance.suite client '{"cases": …, "exclude": …}'

The first is a client to the server under test; the second serves a client under test, and first
prints the port it has taken. Both print one line of JSON per case. The suite changes `binascii` and
the import path of whatever process it is loaded into: nothing imports this module.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from typing import Final

from kosoku import FailureError, run_fuzzingclient, run_fuzzingserver
from kosoku._kosoku import CaseResult

OUT_OF_PATIENCE: Final = frozenset({"KLE", "TIE"})
"""Marks in the log of a case: the suite ended the connection, because its time was over."""


async def drive_server(url: str, cases: list[str], exclude: list[str], at_a_time: int) -> None:
    """Play against a server, and tell how each case ended, failures or not."""
    try:
        tell(await run_fuzzingclient(url, cases, exclude, at_a_time))
    except FailureError as failure:
        tell(failure.results)


async def drive_client(cases: list[str], exclude: list[str]) -> None:
    """Be the server of a client, until it asks for the reports."""
    async with run_fuzzingserver(cases, exclude, host="127.0.0.1", port=0) as server:
        print(json.dumps({"port": server.port}), flush=True)
        try:
            tell(await server.get_result())
        except FailureError as failure:
            tell(failure.results)


def tell(results: Sequence[CaseResult]) -> None:
    """Print what is needed of the results."""
    for result in results:
        outcome = {
            "case": result.case_id,
            "behavior": result.behavior.value,
            "closing": result.behavior_close.value,
            "close_code": result.remote_close_code,
            "milliseconds": result.duration,
            "explanation": f"{result.result} {result.result_close}",
            "was_late": any(entry[0] in OUT_OF_PATIENCE for entry in result.wirelog),
        }
        print(json.dumps(outcome))


if __name__ == "__main__":
    arguments = json.loads(sys.argv[2])
    asyncio.run(drive_server(**arguments) if sys.argv[1] == "server" else drive_client(**arguments))
    sys.stdout.flush()
    # All is told. Threads of the suite outlive its last call, and one that wants the interpreter
    # while that is being taken down aborts the process.
    os._exit(0)

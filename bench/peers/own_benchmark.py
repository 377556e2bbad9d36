"""What a peer's own benchmark says of the same server settings, to stand beside our figure."""

from __future__ import annotations

import csv
import io
import os
import subprocess
from typing import Final
from urllib.parse import urlsplit

from bench.peers.server import Server, program
from bench.run import RunError
from bench.shape import Shape

LIMIT_SECONDS: Final = 300.0


def redis_benchmark(server: Server, shape: Shape, messages: int) -> float:
    """Entries per second that redis-benchmark adds, from as many clients as the shape has.

    Raises:
        NotInstalledError: there is none.
        RunError: it failed.
    """
    where = urlsplit(server.url)
    clients = 2 * shape.pairs
    words = [
        program("redis-benchmark", "redis-tools"),
        *("-h", str(where.hostname), "-p", str(where.port), "--csv"),
        *("-c", str(clients), "-P", str(shape.in_flight), "-n", str(max(messages, clients))),
        *("-r", str(shape.pairs)),  # so many values of __rand_int__
        *(
            "XADD",
            "dm:__rand_int__",
            "*",
            "id",
            "0.0.123456",
            "c",
            os.urandom(shape.size // 2).hex(),
        ),
    ]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=LIMIT_SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise RunError(f"redis-benchmark failed: {type(error).__name__}") from None
    return requests_per_second(done.stdout.decode(errors="replace"))


def requests_per_second(table: str) -> float:
    """The figure in what redis-benchmark prints as CSV.

    Raises:
        RunError: there is none.
    """
    try:
        (row,) = csv.DictReader(io.StringIO(table))
        return float(row["rps"])
    except (ValueError, KeyError):
        raise RunError("redis-benchmark printed no requests per second") from None

"""`ksmp-relay serve`: run the relay until it is told to stop."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from relay.hangup import Hangup

_PORT = validators.Number(gte=0, lte=65_535)


def serve(
    *,
    config: Path | None = None,
    data: Path | None = None,
    host: str | None = None,
    port: Annotated[int | None, Parameter(validator=_PORT)] = None,
    admin_port: Annotated[int | None, Parameter(validator=_PORT)] = None,
    ports_file: Path | None = None,
    lab: Annotated[bool, Parameter(negative="")] = False,
    failpoints: Path | None = None,
) -> int:
    """Run the relay. The first start makes the store and a signing key.

    SIGTERM stops it in order: what was accepted is committed and answered. A second one stops it
    at once. SIGHUP has it read its configuration, keys and certificate again.

    Parameters
    ----------
    config
        A TOML file; `ksmp-relay config init` writes one.
    data
        The data directory.
    host
        The address to listen on.
    port
        The port to listen on; 0 takes a free one.
    admin_port
        The port of the admin listener, on loopback; 0 takes a free one.
    ports_file
        Where to write the addresses as JSON, once connections are accepted.
    lab
        Make this relay a laboratory: whoever has the admin token can order faults.
    failpoints
        A file of faults to begin with, one order a line; with --lab.
    """
    hangup = Hangup()  # before what takes time: importing, and reading files
    import trio

    from relay.app import serve as run_relay
    from relay.commands.loading import found, load

    finding = (load, found)  # the same, told at once or in the words of a reload
    first, again = (
        partial(
            find,
            config,
            data=data,
            host=host,
            port=port,
            admin_port=admin_port,
            lab=lab or None,
            failpoints=failpoints,
            check_files=True,
        )
        for find in finding
    )
    return trio.run(run_relay, first(), again, hangup, ports_file)

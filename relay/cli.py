"""`ksmp-relay`: which commands there are, and how each of them ends.

A command is named here and imported when it runs, so that help comes at once. Errors are lines for
people (what, why, what to do; of a store, one line) and an exit code. `--debug` adds a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Final, NoReturn

from cyclopts import App, CycloptsError, Parameter

from actors.failures import describe
from relay.exits import CommandError, ExitCode

DISTRIBUTION: Final = "ksmp-relay"


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "not installed"  # run from its source tree


app = App(
    name=DISTRIBUTION,
    help="A relay for end-to-end encrypted direct messages: durable, ordered, idempotent.",
    version=_version,
    help_format="plaintext",  # what marks a text up takes longer to import than all else
    result_action="return_value",
)
app.command("relay.commands.serve:serve", help="Run the relay.")
app.command("relay.commands.token:token", help="Print tokens signed with the relay's own key.")
app.command("relay.commands.store:verify", help="Check a store that no relay is running on.")
app.command(
    "relay.commands.revoke:revoke", help="Refuse the tokens of a user, a device, or one token."
)
app.command(
    "relay.commands.store:new_epoch",
    name="new-epoch",
    help="Begin a new epoch in a copied or restored store.",
)
app.command(
    "relay.commands.config:app", name="config", help="Check, show or write a configuration."
)
app.command(
    "bench.checking:check", help="Judge a recorded history: which promises a relay has kept."
)
app.command("bench.cli:app", name="bench", help="Measure a relay, and check it while it is loaded.")


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    debug: Annotated[bool, Parameter(negative="", show_default=False)] = False,  # noqa: ARG001
) -> object:
    """Run the command that the words name. `run` looks for --debug itself.

    Parameters
    ----------
    debug
        Show a traceback when something goes wrong.
    """
    return app(tokens, exit_on_error=False, print_error=False)


def main() -> NoReturn:
    """The console script. It never returns: the exit code is the answer."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line to its end; the exit code."""
    try:
        code = app.meta(arguments, exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except CycloptsError as error:
        _complain(str(error).strip(), "See `ksmp-relay --help`, or --help behind the command.")
        return ExitCode.USAGE
    except KeyboardInterrupt:
        return 130  # as a shell reports SIGINT
    except BrokenPipeError:  # whoever read along, such as `head`, has seen enough
        _say_no_more()
        return 141  # as a shell reports SIGPIPE
    except Exception as error:  # noqa: BLE001 - whatever it is, the command has ended
        code = _explain(error)
        if "--debug" in arguments:
            from relay.frames import frames_of

            _complain(*frames_of(error))
    return code if isinstance(code, int) else ExitCode.OK


def _explain(error: Exception) -> ExitCode:
    """Say what went wrong; how the process should end."""
    from relay.keys import KeyFileError
    from storage.errors import StorageError, StoreBusyError, StoreUnavailableError

    cause = _cause(error)
    match cause:
        case CommandError():
            _complain(cause.what, cause.why, cause.what_to_do)
            return cause.exit_code
        case StorageError():
            _complain(f"{cause.what}: {cause.why}. {cause.what_to_do}")
            if isinstance(cause, StoreBusyError | StoreUnavailableError):
                return ExitCode.CANNOT_CREATE
            return ExitCode.IO
        case KeyFileError():
            _complain(cause.what, cause.why, cause.what_to_do)
            return ExitCode.CONFIGURATION
        case _:
            # The text of an exception may quote what a client sent: its type and place must do.
            failure = describe(cause)
            _complain(
                "ksmp-relay failed, by a fault of its own",
                f"{failure['error']} at {failure['at']}",
                "Run it again with --debug to see more, and report it.",
            )
            return ExitCode.FAILED


def _cause(error: Exception) -> Exception:
    """Out of what several tasks raised, what a person can act on; else the first."""
    if not isinstance(error, ExceptionGroup):
        return error
    causes = [_cause(inner) for inner in error.exceptions]
    return next((one for one in causes if hasattr(one, "what_to_do")), causes[0])


def _say_no_more() -> None:
    """What is still in a buffer goes nowhere, or Python would complain of it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _complain(*lines: str) -> None:
    sys.stderr.write("".join(f"{line}\n" for line in lines if line))


if __name__ == "__main__":
    main()

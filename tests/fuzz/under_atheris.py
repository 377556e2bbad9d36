"""One target under the fuzzer, in this process, to its end: `… -m tests.fuzz.under_atheris codec`.

Whatever follows the target's name is for libFuzzer. Input that breaks a promise is written where
`-artifact_prefix` says, and the process exits with another code than 0.
"""

from __future__ import annotations

import sys

import atheris

from tests.fuzz.instrumented import INSTRUMENTED


def main() -> None:
    """Fuzz until libFuzzer has had its time."""
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=list(INSTRUMENTED)):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    options += [f"-max_len={target.most_bytes}", f"-dict={target.dictionary}"]
    atheris.Setup([name, *options], target.take)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""Whoever is told to end while a process is being started still knows it, and ends it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from bench.ending import undisturbed, unwound_when_told_to_end
from bench.running import running, stop
from tests.wire.relay_process import REPOSITORY


def test_ctrl_c_waits_until_the_block_is_over() -> None:
    done = False
    with pytest.raises(KeyboardInterrupt), undisturbed():
        signal.raise_signal(signal.SIGINT)
        done = True

    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_so_does_whatever_else_unwinds(number: signal.Signals) -> None:
    done = False
    with pytest.raises(SystemExit) as ended, unwound_when_told_to_end():
        with undisturbed():
            signal.raise_signal(number)
            done = True

    assert done
    assert ended.value.code == 128 + number
    assert signal.getsignal(number) is signal.SIG_DFL


def test_an_interrupt_is_not_forgotten_where_the_block_fails() -> None:
    with pytest.raises(KeyboardInterrupt), undisturbed():
        signal.raise_signal(signal.SIGINT)
        raise OSError


def test_what_ends_a_program_on_the_spot_still_does() -> None:
    with undisturbed():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("end", [stop, subprocess.Popen.kill])
def test_a_process_that_is_interrupted_while_it_starts_is_ended_all_the_same(
    end: Callable[[subprocess.Popen[bytes]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, words: list[str], **how: Any) -> None:
            super().__init__(words, **how)
            started.append(self)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    words = [sys.executable, "-c", "input()"]
    with (
        pytest.raises(KeyboardInterrupt),
        running(words, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, end=end),
    ):
        pytest.fail("the block was entered")

    (process,) = started
    assert process.returncode is not None
    assert process.stdout is not None
    assert process.stdout.closed


@pytest.mark.parametrize("module", ["bench.generator", "bench.idlers", "bench.isolation.load"])
@pytest.mark.parametrize("said", [b"", b'{"url": "ws://127'])
def test_a_load_that_was_not_told_everything_ends_without_a_word(module: str, said: bytes) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", module],
        cwd=REPOSITORY,
        input=said,
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")

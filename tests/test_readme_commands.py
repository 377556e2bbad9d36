"""What README tells people to type is there, and does what it says there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import IO, Any, Final

import pytest

from actors.limits import Limits
from relay.config import Config, LimitsConfig
from relay.exits import ExitCode
from tests.wire.relay_process import PROGRAM, REPOSITORY, RelayProcess

README: Final = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    found = re.search(rf"^## {heading}$\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


def rows(heading: str) -> list[tuple[str, str]]:
    """First and second cell of every row of a section's tables, their heads included."""
    lines = re.findall(r"^\| (.+?) \| (.*?) \|", section(heading), re.MULTILINE)
    assert lines, heading
    return [(str(first), str(second)) for first, second in lines]


# ── the program for any other client ─────────────────────────────────────────────────────────


@pytest.fixture
def talk(tmp_path: Path) -> tuple[str, Path]:
    """How to run what README shows as `talk.py`."""
    (block,) = re.findall(
        r"^```python\n(.*?)^```$", section("With any other client"), re.DOTALL | re.MULTILINE
    )
    program = tmp_path / "talk.py"
    program.write_text(block)
    return sys.executable, program


def test_two_clients_that_know_nothing_of_the_relay_exchange_a_message(
    tmp_path: Path, talk: tuple[str, Path]
) -> None:
    with RelayProcess(tmp_path) as relay:
        alice, bob = relay.tokens(["alice", "bob"])
        with subprocess.Popen([*talk, relay.url, bob], stdout=subprocess.PIPE) as listening:
            try:
                assert listening.stdout is not None
                assert event(listening.stdout)["type"] == "ksmpv3.resume.complete"
                printed = subprocess.run(
                    [*talk, relay.url, alice, "bob", "hello, bob"],
                    capture_output=True,
                    timeout=30,
                    check=True,
                ).stdout
                frame = event(listening.stdout)
            finally:
                listening.kill()

    ack = json.loads(printed)
    assert (ack["type"], ack["serverSeq"]) == ("ksmpv3.send.ack", 1)
    assert frame["envelope"]["senderUserId"] == "alice"
    assert frame["envelope"]["ciphertext"] == "aGVsbG8sIGJvYg=="
    assert frame["chain"] == ack["chain"]


def event(printed: IO[bytes]) -> Any:
    return json.loads(printed.readline())


# ── commands, exit codes, settings, limits ───────────────────────────────────────────────────


def commands() -> dict[tuple[str, ...], set[str]]:
    """Each command of the table, and the options named beside it."""
    found = {}
    for command, text in rows("Commands"):
        words = re.match(r"`ksmp-relay ((?:[a-z-]+ ?)+)", command)
        if words is not None:
            found[tuple(words[1].split())] = set(re.findall(r"`(--[a-z-]+)", text))
    return found


@pytest.mark.parametrize(
    ("command", "options"), commands().items(), ids=[" ".join(each) for each in commands()]
)
def test_every_command_has_the_options_that_readme_names(
    command: tuple[str, ...], options: set[str]
) -> None:
    shown = subprocess.run(
        [*PROGRAM, *command, "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout

    assert f"Usage: ksmp-relay {' '.join(command)}" in shown
    assert options | {"--debug"} <= set(re.findall(r"--[a-z-]+", shown))


def test_readme_has_every_command() -> None:
    shown = subprocess.run(
        [*PROGRAM, "--help"], cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=True
    ).stdout

    assert {command[0] for command in commands()} == set(
        re.findall(r"^│ ([a-z][\w-]*)", shown, re.M)
    )


def test_readme_has_every_exit_code() -> None:
    shown = {int(code) for code, _ in rows("Commands") if code.isdigit()}

    assert shown == set(ExitCode)


def test_every_setting_that_readme_names_is_one() -> None:
    for setting, _ in rows("Configure")[1:]:
        named = re.fullmatch(r"`\[(\w+)\] (\w+)`((?:, `\w+`)*)", setting)
        assert named is not None, setting
        keys = [named[2], *re.findall(r"\w+", named[3])]
        known = {field.name for field in fields(getattr(Config(), named[1]))}
        assert set(keys) <= known, setting


def test_the_limits_in_readme_are_the_defaults() -> None:
    limits, configured = Limits(), LimitsConfig()

    def kib(size: int) -> str:
        return f"{size // 1024} KiB" if size < 1 << 20 else f"{size >> 20} MiB"

    connections = (
        limits.connections_per_user,
        limits.connections_per_address,
        limits.connections,
    )
    assert configured.stored_bytes_per_sender == configured.stored_bytes_per_inbox == 0
    assert [default for _, default in rows("Limits")[1:]] == [
        f"{kib(limits.max_ciphertext_bytes)}, {kib(limits.max_frame_bytes)}",
        f"{limits.sends_per_second}, {limits.sends_burst}",
        f"{limits.unacked_sends}, or {kib(limits.unacked_bytes)}",
        f"{limits.mailbox_length:,}, or {kib(limits.mailbox_bytes)}",
        kib(limits.outbound_bytes),
        f"{configured.write_seconds:g} s",
        f"{limits.new_conversations_per_hour:,}",
        "off, off",
        ", ".join(f"{number:,}" for number in connections),
        kib(configured.min_free_bytes),
    ]

"""What people type, what they read, and how each command ends."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from relay.cli import app, run
from relay.config import load_config
from relay.exits import ExitCode
from storage.errors import StoreCorruptError, StoreFailedError

ROOT: Final = Path(__file__).parents[2]
PROGRAM: Final = [sys.executable, "-c", "from relay.cli import main; main()"]
COMMANDS: Final = {"serve", "token", "revoke", "verify", "new-epoch", "config", "bench"}


def environment(**settings: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KSMP_")}
    return clean | {"PYTHONPATH": str(ROOT)} | settings


def ksmp_relay(*arguments: object, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(**settings),
        check=False,
    )


@contextmanager
def relay_on(
    data: Path, *, prefix: Sequence[str] = (), **settings: str
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A relay process on this data directory, and its port."""
    ports = data.parent / "ports.json"
    ports.unlink(missing_ok=True)
    process = subprocess.Popen(
        [*prefix, *PROGRAM, "serve", "--data", data, "--port", "0", "--ports-file", ports],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**settings),
    )
    try:
        deadline = time.monotonic() + 30
        while not ports.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield process, json.loads(ports.read_text())["relay"]["port"]
    finally:
        process.kill()
        process.communicate()


def claims(token: str) -> dict[str, object]:
    payload = token.split(".")[1]
    content: dict[str, object] = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return content


def test_help_names_every_command_and_is_there_at_once():
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        ended = ksmp_relay("--help")
        seconds.append(time.perf_counter() - start)

        assert ended.returncode == 0
        assert all(f" {command} " in ended.stdout for command in COMMANDS)

    # 0.16 s where this was written, with nothing else running.
    assert min(seconds) < 1.0


def test_help_imports_none_of_what_commands_need():
    script = (
        "import sys; from relay.cli import run; run(['--help']);"
        "print([name for name in ('pydantic', 'trio', 'lmdb', 'joserfc') if name in sys.modules])"
    )

    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
    )

    assert ended.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_can_be_imported_and_explains_itself(command, capsys):
    assert command in set(app)

    assert run([command, "--help"]) == 0
    assert f"Usage: ksmp-relay {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["srve"],
        ["serve", "--prot", "1"],
        ["serve", "--port", "many"],
        ["serve", "--port", "70000"],
        ["token"],
        ["token", "alice", "--ttl", "0"],
        ["token", "not an identifier"],
        ["token", "alice", "--device", ""],
        ["config", "shw"],
    ],
)
def test_a_command_line_that_makes_no_sense_ends_with_2_and_says_so(arguments, capsys, tmp_path):
    assert run([*arguments, *(["--data", str(tmp_path)] if "token" in arguments else [])]) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) >= 2
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("command", ["serve", "token alice", "verify", "new-epoch", "config check"])
def test_every_command_ends_with_78_on_a_configuration_that_cannot_be_used(command, tmp_path):
    file = tmp_path / "relay.toml"
    file.write_text("[server]\nprot = 1\n")

    ended = ksmp_relay(*command.split(), "--config", file)

    assert ended.returncode == ExitCode.CONFIGURATION
    assert ended.stdout == ""
    assert f"{file}:2: [server] prot is not a setting. Did you mean port?" in ended.stderr


def test_tokens_are_alone_on_standard_output_one_a_line(tmp_path):
    ended = ksmp_relay(
        "token", "alice", "bob", "--device", "phone", "--ttl", 60, "--data", tmp_path
    )

    assert ended.returncode == 0
    assert ended.stderr == ""
    found = [claims(token) for token in ended.stdout.splitlines()]
    assert [(one["sub"], one["device"], one["aud"]) for one in found] == [
        ("alice", "phone", "ksmp-relay"),
        ("bob", "phone", "ksmp-relay"),
    ]
    assert abs(int(str(found[0]["exp"])) - time.time() - 60) < 30


def test_tokens_carry_what_the_configuration_asks_of_them(tmp_path):
    ended = ksmp_relay(
        "token", "alice", "--data", tmp_path, KSMP_AUTH__AUDIENCE="a", KSMP_AUTH__ISSUER="i"
    )

    found = claims(ended.stdout)
    assert (found["aud"], found["iss"]) == ("a", "i")


def test_no_token_is_made_that_the_relay_would_refuse(tmp_path):
    ended = ksmp_relay("token", "alice", "--data", tmp_path, KSMP_AUTH__ALGORITHMS='["ES256"]')

    assert ended.returncode == ExitCode.CONFIGURATION
    assert ended.stdout == ""


def test_the_signing_key_is_made_once_for_its_owner_alone(tmp_path):
    ksmp_relay("token", "alice", "--data", tmp_path / "data")
    key = tmp_path / "data" / "signing-key.json"
    first = key.read_bytes()
    ksmp_relay("token", "alice", "--data", tmp_path / "data")

    assert key.read_bytes() == first
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_signing_key_that_others_can_read_is_refused(tmp_path):
    ksmp_relay("token", "alice", "--data", tmp_path)
    (tmp_path / "signing-key.json").chmod(0o644)

    ended = ksmp_relay("token", "alice", "--data", tmp_path)

    assert ended.returncode == ExitCode.CONFIGURATION
    assert ended.stdout == ""
    assert "chmod 600" in ended.stderr


@pytest.mark.parametrize("command", ["verify", "new-epoch"])
def test_a_missing_store_is_said_to_be_missing_and_not_made(command, tmp_path):
    ended = ksmp_relay(command, "--data", tmp_path / "none")

    assert ended.returncode == ExitCode.IO
    assert "there is no store" in ended.stderr
    assert not (tmp_path / "none").exists()


def test_a_relay_serves_drains_on_sigterm_and_leaves_a_sound_store(tmp_path):
    data = tmp_path / "data"
    with relay_on(data) as (process, port):
        socket.create_connection(("127.0.0.1", port)).close()
        assert ksmp_relay("token", "alice", "--data", data).returncode == 0
        for command in ("verify", "new-epoch"):
            assert ksmp_relay(command, "--data", data).returncode == ExitCode.CANNOT_CREATE
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0

    ended = ksmp_relay("verify", "--data", data, "--json")

    assert ended.returncode == 0
    assert json.loads(ended.stdout) == {
        "ok": True,
        "records": 0,
        "conversations": 0,
        "inboxes": 0,
        "problems": [],
    }
    assert "The store is sound: 0 records" in ksmp_relay("verify", "--data", data).stdout


def test_a_damaged_store_ends_verify_with_1_and_names_the_damage(tmp_path):
    data = tmp_path / "data"
    with relay_on(data):
        pass
    (database,) = data.rglob("data.mdb")
    content = bytearray(database.read_bytes())
    content[: 2 * 4096] = bytes(2 * 4096)
    database.write_bytes(content)

    ended = ksmp_relay("verify", "--data", data, "--json")

    verdict = json.loads(ended.stdout)
    assert ended.returncode == ExitCode.FAILED
    assert verdict["ok"] is False
    assert verdict["problems"]


def test_a_new_epoch_is_another_every_time(tmp_path):
    data = tmp_path / "data"
    with relay_on(data):
        pass

    epochs = {ksmp_relay("new-epoch", "--data", data).stdout for _ in range(2)}

    assert len(epochs) == 2
    assert "" not in epochs


def test_a_second_relay_on_the_same_data_is_refused(tmp_path):
    with relay_on(tmp_path / "data"):
        ended = ksmp_relay("serve", "--data", tmp_path / "data", "--port", 0)

    assert ended.returncode == ExitCode.CANNOT_CREATE
    assert "in use" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_that_is_taken_ends_serve_with_69(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = ksmp_relay("serve", "--data", tmp_path, "--port", port)

    assert ended.returncode == ExitCode.CANNOT_BIND
    assert str(port) in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_data_directory_that_cannot_be_made_ends_serve_with_73(tmp_path):
    (tmp_path / "file").write_text("")

    ended = ksmp_relay("serve", "--data", tmp_path / "file" / "data", "--port", 0)

    assert ended.returncode == ExitCode.CANNOT_CREATE
    assert "Traceback" not in ended.stderr


def test_config_init_writes_a_file_that_check_accepts_and_never_overwrites_one(tmp_path):
    file = tmp_path / "relay.toml"

    assert ksmp_relay("config", "init", file).returncode == 0
    written = file.read_text()
    again = ksmp_relay("config", "init", file)

    assert ksmp_relay("config", "check", "--config", file).returncode == 0
    assert again.returncode == ExitCode.CANNOT_CREATE
    assert file.read_text() == written


def test_config_show_prints_the_configuration_in_force(tmp_path):
    shown = ksmp_relay("config", "show", KSMP_LIMITS__SENDS_BURST="7")
    as_json = ksmp_relay("config", "show", "--json", KSMP_LIMITS__SENDS_BURST="7")
    file = tmp_path / "shown.toml"
    file.write_text(shown.stdout)

    assert load_config(file).limits.sends_burst == 7
    assert json.loads(as_json.stdout)["limits"]["sends_burst"] == 7


def test_config_check_looks_at_the_files_that_are_named(tmp_path):
    ended = ksmp_relay("config", "check", KSMP_AUTH__JWKS_FILE=str(tmp_path / "none.json"))

    assert ended.returncode == ExitCode.CONFIGURATION
    assert "[auth] jwks_file cannot be read" in ended.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_seen_enough_is_no_fault(unbuffered):
    reading, writing = os.pipe()
    os.close(reading)
    settings = environment(PYTHONUNBUFFERED=unbuffered)
    with (
        open(writing, "wb") as gone,
        subprocess.Popen(
            [*PROGRAM, "config", "show"], stdout=gone, stderr=subprocess.PIPE, env=settings
        ) as process,
    ):
        _, said = process.communicate(timeout=60)

    assert (process.returncode, said) == (141, b"")


def test_a_fault_of_our_own_shows_its_place_and_a_traceback_only_on_request(monkeypatch, capsys):
    def broken(*_: object, **__: object) -> None:
        raise ValueError("what a client wrote")

    monkeypatch.setattr("relay.commands.config.load", broken)

    assert run(["config", "check"]) == ExitCode.FAILED
    told = capsys.readouterr().err
    assert "ValueError at test_cli.py:" in told
    assert "what a client wrote" not in told
    assert run(["config", "check", "--debug"]) == ExitCode.FAILED
    traced = capsys.readouterr().err
    assert traced.startswith(told)
    assert ", in broken\n" in traced
    assert traced.endswith("builtins.ValueError\n")
    assert "what a client wrote" not in traced


def test_debug_changes_neither_the_exit_code_nor_the_lines_of_a_relay_that_cannot_start(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        serve = ["serve", "--data", tmp_path, "--port", taken.getsockname()[1]]
        plain, debug = ksmp_relay(*serve), ksmp_relay(*serve, "--debug")
    lines = [line for line in plain.stderr.splitlines() if not line.startswith("{")]
    traced = [line for line in debug.stderr.splitlines() if not line.startswith("{")]

    assert debug.returncode == plain.returncode == ExitCode.CANNOT_BIND
    assert len(lines) == 3
    assert traced[:3] == lines
    assert traced[3].startswith('  File "')
    assert traced[-1] == "relay.exits.CommandError"
    assert "relay.crashed" not in debug.stderr


@pytest.mark.parametrize(
    ("failure", "code"),
    [(StoreFailedError, ExitCode.IO), (StoreCorruptError, ExitCode.IO)],
)
def test_a_store_that_fails_is_one_line_of_what_and_why_and_what_to_do(
    failure, code, monkeypatch, capsys
):
    def broken(*_: object, **__: object) -> None:
        raise ExceptionGroup("as nurseries do", [failure("It broke", "of age", "Mend it.")])

    monkeypatch.setattr("relay.commands.config.load", broken)

    assert run(["config", "check"]) == code
    assert capsys.readouterr().err == "It broke: of age. Mend it.\n"


def test_too_few_descriptors_for_what_is_configured_are_told_at_the_start(tmp_path):
    settings = {"KSMP_LIMITS__CONNECTIONS": "200", "KSMP_LIMITS__HANDSHAKES": "100"}

    def told(limit: int) -> list[dict[str, object]]:
        prefix = ("prlimit", f"--nofile={limit}")
        with relay_on(tmp_path / "data", prefix=prefix, **settings) as (process, _):
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
            assert process.stderr is not None
            lines = [json.loads(line) for line in process.stderr]
        return [line for line in lines if line["event"] == "relay.descriptors_low"]

    most = 200 + 20 + 100 + 100  # connections, replaced ones, handshakes, and its own
    (line,) = told(most - 1)
    assert told(most) == []

    assert (line["level"], line["descriptors"], line["needed"]) == ("warning", most - 1, most)
    assert "LimitNOFILE" in str(line["problem"])

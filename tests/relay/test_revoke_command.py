"""What `ksmp-relay revoke` writes, shows, takes back and refuses; no relay is needed for it."""

from __future__ import annotations

import json
import os
import shlex
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ksmp.types import DeviceId, TimeMs, UserId
from relay.cli import run
from relay.exits import CommandError, ExitCode
from relay.revocation_file import (
    REVOCATIONS_FILE,
    RevokedSince,
    change_revocations,
    read_revocations,
    stamp_of,
)
from relay.revocations import Revocation


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory in which a relay has been."""
    (tmp_path / "store").mkdir()
    return tmp_path


def revoke(data: Path, *words: str) -> int:
    return run(["revoke", *words, "--data", str(data)])


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


WORDS = [
    ("alice",),
    ("bob", "--device", "phone"),
    ("bob", "--jti", "a 'quoted' one"),
    ("bob", "--jti", "ü" * 512),
    ("bob", "--device", "tablet", "--jti", "\x1b[31mred"),
]


def test_list_shows_every_revocation_in_the_words_that_lift_it(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = int(time.time() * 1000)
    assert revoke(data, "--list") == revoke(data, "--list", "--json") == 0
    assert printed(capsys) == ["[]"]
    for words in WORDS:
        assert revoke(data, *words) == 0
    assert all(line.startswith("Revoked: ") for line in printed(capsys))

    revoke(data, "--list")
    listed = [line.partition("  ")[2] for line in printed(capsys)]
    revoke(data, "--list", "--json")
    rows = json.loads(printed(capsys)[0])

    assert [tuple(shlex.split(line)) for line in listed[:-1]] == WORDS[:-1]
    assert listed[-1] == r"bob --device tablet --jti '\x1b[31mred'"
    assert [(row["user"], row["device"], row["jti"]) for row in rows] == [
        ("alice", None, None),
        ("bob", "phone", None),
        ("bob", None, "a 'quoted' one"),
        ("bob", None, "ü" * 512),
        ("bob", "tablet", "\x1b[31mred"),
    ]
    assert all(before <= row["revokedAtMs"] <= time.time() * 1000 for row in rows)
    for words in WORDS:
        assert revoke(data, *words, "--lift") == 0
    assert read_revocations(data) == {}


def test_revoking_twice_is_fine_and_says_so(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert revoke(data, "alice", "--device", "phone") == 0
    first = stamp_of(data)
    assert revoke(data, "alice", "--device", "phone") == 0

    assert printed(capsys) == [
        "Revoked: alice --device phone.",
        "Revoked before: alice --device phone.",
    ]
    assert stamp_of(data) == first, "there was nothing to write"


def test_lifting_what_is_not_revoked_is_answered_with_1_and_what_else_there_is(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    revoke(data, "alice", "--device", "phone")
    capsys.readouterr()

    assert revoke(data, "alice", "--lift") == 1
    assert printed(capsys) == [
        "There is no revocation of: alice.",
        "Other revocations of this user are in force: 1. See --list.",
    ]
    assert len(read_revocations(data)) == 1


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("not an identifier",),
        ("a" * 129,),
        ("alice", "--device", ""),
        ("alice", "--jti", ""),
        ("alice", "--jti", "j" * 513),
        ("alice", "--jti", "\udcff"),
        ("alice", "--list"),
        ("alice", "--json"),
        ("--list", "--lift"),
        ("--device", "phone"),
    ],
)
def test_what_no_token_can_hold_or_makes_no_sense_is_refused_with_2(
    words: tuple[str, ...], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert revoke(data, *words) == ExitCode.USAGE

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Nothing was done\n")
    assert stamp_of(data) is None


def test_a_directory_without_a_relay_is_refused_and_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert revoke(tmp_path / "misspelt", "alice") == ExitCode.IO

    assert "there is no relay's store" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# ── the file ─────────────────────────────────────────────────────────────────────────────────


def add(*revocations: Revocation) -> Callable[[RevokedSince], bool]:
    def change(revoked: RevokedSince) -> bool:
        revoked.update(dict.fromkeys(revocations, TimeMs(5)))
        return True

    return change


ALICE = Revocation(UserId("alice"))
BOB = Revocation(UserId("bob"), DeviceId("phone"), "a token's id\n")


def test_what_was_written_is_read_and_belongs_to_its_owner_alone(data: Path) -> None:
    change_revocations(data, add(ALICE, BOB))

    assert read_revocations(data) == {ALICE: 5, BOB: 5}
    assert stat.S_IMODE((data / REVOCATIONS_FILE).stat().st_mode) == 0o600
    assert {path.name for path in data.iterdir()} == {"store", REVOCATIONS_FILE}


def test_every_version_of_the_file_has_a_stamp_of_its_own(data: Path) -> None:
    stamps = [stamp_of(data)]
    for number in range(50):
        change_revocations(data, add(Revocation(UserId(f"user-{number % 10}"))))
        stamps.append(stamp_of(data))

    assert len(set(stamps)) == len(stamps)


def test_changes_at_the_same_time_lose_nothing(data: Path) -> None:
    everyone = [Revocation(UserId(f"user-{number}")) for number in range(200)]

    with ThreadPoolExecutor(8) as pool:  # each change opens, and so locks, for itself
        list(pool.map(lambda one: change_revocations(data, add(one)), everyone))

    assert set(read_revocations(data)) == set(everyone)


def test_a_change_that_dies_half_way_leaves_the_file_as_it_was(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_revocations(data, add(ALICE))

    def fail(_path: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", fail)
        with pytest.raises(CommandError) as refused:
            change_revocations(data, add(BOB))
    assert refused.value.exit_code is ExitCode.CANNOT_CREATE
    assert set(read_revocations(data)) == {ALICE}

    change_revocations(data, add(BOB))
    assert set(read_revocations(data)) == {ALICE, BOB}
    assert {path.name for path in data.iterdir()} == {"store", REVOCATIONS_FILE}


def test_it_is_synced_before_it_takes_its_place_and_so_is_its_name(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    synced, replaced = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        calls.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        synced(descriptor)

    def replace(path: Path, target: Path) -> Path:
        calls.append("replace")
        return replaced(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    change_revocations(data, add(ALICE))

    assert calls == [f"sync .{REVOCATIONS_FILE}.new", "replace", f"sync {data.name}"]


def test_whoever_revokes_for_the_relay_leaves_a_file_that_the_relay_may_read(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = data.stat()
    given: list[tuple[str, int, int]] = []

    def fchown(descriptor: int, user: int, group: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
        given.append((name, user, group))

    monkeypatch.setattr(os, "fchown", fchown)
    change_revocations(data, add(ALICE))
    assert given == [], "it is the relay's already"

    monkeypatch.setattr(os, "geteuid", lambda: owner.st_uid + 1)
    change_revocations(data, add(BOB))
    assert given == [(f".{REVOCATIONS_FILE}.new", owner.st_uid, owner.st_gid)]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a name changed": lambda content: content.replace(b'"alice"', b'"alicf"'),
    "cut off at a line": lambda content: content[: content.rstrip().rindex(b"\n") + 1],
    "cut off in the middle": lambda content: content[:-10],
    "emptied": lambda _content: b"",
    "zeros": lambda content: bytes(len(content)),
    "not ours": lambda _content: b"alice\nbob\n",
    "not UTF-8": lambda _content: b'{"format":1,"sha256":"\xff"}\n',
    "a line twice": lambda content: content + content[content.index(b"\n") + 1 :],
    "a later format": lambda content: content.replace(b'"format":1', b'"format":2'),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_not_believed_and_not_touched(
    damage: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_revocations(data, add(ALICE, BOB))
    file = data / REVOCATIONS_FILE
    damaged = DAMAGE[damage](file.read_bytes())
    assert damaged != file.read_bytes()
    file.write_bytes(damaged)

    for words in (["carol"], ["alice", "--lift"], ["--list"]):
        assert revoke(data, *words) == ExitCode.CONFIGURATION
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "who were revoked would be let in" in captured.err
        assert "alic" not in captured.err
    assert file.read_bytes() == damaged

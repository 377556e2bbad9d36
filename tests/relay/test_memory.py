"""The sum of all buffers follows from the limits, and is said where an operator looks."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from actors.dead_letters import DEAD_LETTERS
from ksmp.codec import JSON
from ksmp.events import InboxFrame, RecordedEnvelope
from ksmp.types import GlobalInboxSeq, ServerSeq, TimeMs
from relay.banner import banner
from relay.config import KIB, MIB, AdminConfig, Config, LimitsConfig, ServerConfig
from relay.memory import ADMIN_ANSWER_BYTES, ANSWER_BYTES, Part, human, most_bytes, parts
from tests.wire.relay_process import REPOSITORY, RelayProcess

# What bounds memory in no other way than through another limit, or bounds time, disk or a rate.
OF_NO_CONSEQUENCE = {
    "unacked_bytes",  # in all they are sends under way
    "mailbox_length",
    "mailbox_bytes",
    "sends_per_second",
    "sends_burst",
    "connections_per_user",
    "connections_per_address",
    "write_seconds",
    "handshake_seconds",
    "control_frames_per_second",
    "fragments_per_frame",
    "keepalive_seconds",
    "conversation_idle_seconds",
    "new_conversations_per_hour",
    "stored_bytes_per_sender",
    "stored_bytes_per_inbox",
    "min_free_bytes",
}


@pytest.mark.parametrize("limit", [field.name for field in fields(LimitsConfig)])
def test_every_limit_that_bounds_memory_is_in_the_sum_and_no_other(limit: str) -> None:
    usual = Config()
    doubled = replace(
        usual, limits=replace(usual.limits, **{limit: 2 * getattr(usual.limits, limit)})
    )

    is_counted = most_bytes(doubled) > most_bytes(usual)
    assert is_counted != (limit in OF_NO_CONSEQUENCE)


def test_the_sum_is_that_of_its_parts_each_named_once() -> None:
    listed = parts(Config())

    assert most_bytes(Config()) == sum(part.number * part.bytes_each for part in listed)
    assert len({part.name for part in listed}) == len(listed)
    assert all(part.bytes > 0 for part in listed)


def test_tls_costs_something_for_every_connection_and_handshake() -> None:
    secure = Config(server=ServerConfig(tls_certificate=Path("c"), tls_key=Path("k")))

    more = {part.name for part in parts(secure)} - {part.name for part in parts(Config())}
    assert more == {"connections, TLS", "handshakes, TLS"}


def test_a_relay_without_an_admin_listener_holds_nothing_for_one() -> None:
    without = Config(admin=AdminConfig(enabled=False))

    less = {part.name for part in parts(Config())} - {part.name for part in parts(without)}
    assert less == {"admin connections", "admin pages"}


def test_no_admin_page_is_longer_than_is_reckoned_with() -> None:
    hashed, code, place = "f" * 64, "E" * 64, "w" * 200
    dead = {"at_ms": 2**53, "kind": code, "conversation": hashed, "error": code, "at": place}
    longest = {"total": 2**53, "latest": [dead] * DEAD_LETTERS}
    assert len(json.dumps(longest)) <= ADMIN_ANSWER_BYTES


@pytest.mark.parametrize("ciphertext_bytes", [1, 2, 3, 1_000, 256 * KIB])
def test_no_event_is_larger_than_the_largest_that_is_reckoned_with(ciphertext_bytes: int) -> None:
    longest, most = "x" * 128, 2**53 - 1
    envelope = RecordedEnvelope(
        "ksmpv3",
        *(longest,) * 4,  # type: ignore[arg-type]
        bytes(ciphertext_bytes),
        "system",
        TimeMs(most),
        ServerSeq(most),
        TimeMs(most),
        longest,  # type: ignore[arg-type]
    )
    frame = JSON.encode(InboxFrame(GlobalInboxSeq(most), GlobalInboxSeq(most), envelope, bytes(32)))
    reckoned = LimitsConfig(max_ciphertext_bytes=ciphertext_bytes).largest_event_bytes
    assert len(frame) <= reckoned
    assert reckoned - len(frame) < 2 * ANSWER_BYTES, "nor is it much smaller"


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (1, "1 KiB"),
        (10 * MIB - 1, "10,240 KiB"),
        (10 * MIB, "10 MiB"),
        (10 * MIB + 1, "11 MiB"),
        (36 * 1024 * MIB - 1, "36 GiB"),
    ],
)
def test_sizes_are_told_rounded_up(size: int, said: str) -> None:
    assert human(size) == said


def test_the_banner_and_readme_say_the_same_of_the_defaults() -> None:
    (line,) = (
        one
        for one in banner(Config(), {"relay": ("127.0.0.1", 8765)}, "ksmp-relay").splitlines()
        if one.startswith("  memory")
    )

    assert human(most_bytes(Config())) in line
    assert line in (REPOSITORY / "README.md").read_text().splitlines()


def test_the_command_lists_what_the_start_has_said(tmp_path: Path) -> None:
    with RelayProcess(tmp_path, {"KSMP_LIMITS__CONNECTIONS": "77"}) as relay:
        listed = json.loads(relay.run("config", "memory", "--json"))
        printed = relay.run("config", "memory").decode().splitlines()
        assert relay.terminate() == 0
        said = relay.output().decode()

    expected = parts(Config(limits=LimitsConfig(connections=77)))
    assert [Part(*(one[name] for name in Part._fields)) for one in listed["parts"]] == [*expected]
    assert listed["bytes"] == sum(part.bytes for part in expected)
    assert f'"most_memory_bytes":{listed["bytes"]}' in said
    assert f"at most {human(listed['bytes'])}, if all 77 connections" in said
    assert [re.split(r" {2,}", line)[:2] for line in printed] == [
        *([part.name, human(part.bytes)] for part in expected),
        ["in all", human(listed["bytes"])],
    ]

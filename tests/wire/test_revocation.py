"""What is revoked is out: live, at the door and at a refresh, now and after a restart."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from tests.wire.clients import ANSWER_SECONDS, Peer
from tests.wire.connecting import Clients
from tests.wire.credentials import Issuer
from tests.wire.log_lines import await_line, lines
from tests.wire.messages import fresh
from tests.wire.relay_process import RelayProcess

POLL_SECONDS = 0.05


def revoke(client: Clients, *words: str) -> str:
    """Run the command beside the relay; what it prints."""
    data = str(client.relay.data_directory)
    return client.relay.run("revoke", *words, "--data", data).decode()


def in_thread(client: Clients, *words: str) -> Callable[[], str]:
    return lambda: revoke(client, *words)


def status(client: Clients, token: str) -> int:
    return client.request(token).status


def await_status(client: Clients, token: str, wanted: int) -> None:
    """Return once a handshake with this token is answered like that."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while status(client, token) != wanted:
        assert time.monotonic() < deadline
        time.sleep(POLL_SECONDS)


def beside(client: Clients, user: str, jti: str) -> str:
    """A token with this id for another device, so that trying it replaces nobody."""
    return client.issuer.token(user, "another", jti=jti)


async def assert_ended(peer: Peer) -> None:
    """It is told that its token is good no more, and closed."""
    assert await peer.close_code() == 4401
    told = [event for event in peer.kept() if event["type"] == "ksmpv3.error"]
    assert [(event["code"], event["action"]) for event in told] == [
        ("unauthenticated", "reauthenticate")
    ]
    assert "about" not in told[0]


def without_date(raw: bytes) -> bytes:
    return re.sub(rb"(?im)^date:[^\r]*\r\n", b"", raw)


# ── who is out, and who is not ───────────────────────────────────────────────────────────────


@pytest.mark.trio
async def test_a_revoked_user_loses_every_connection_and_gets_no_other(client: Clients) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    async with (
        client.connect(alice, device="phone") as phone,
        client.connect(alice, device="tablet") as tablet,
        client.connect(bob, device="phone") as other,
    ):
        await phone.resume(0)
        said = await trio.to_thread.run_sync(in_thread(client, alice))
        await assert_ended(phone)
        await assert_ended(tablet)
        assert await other.before_pong() == []

    assert said == f"Revoked: {alice}.\n"
    refused = client.request(client.issuer.token(alice, "a-device-of-tomorrow"))
    assert refused.status == 401
    assert without_date(refused.raw) == without_date(client.request("garbage").raw)
    assert status(client, client.issuer.token(bob)) == 101
    assert alice.encode() not in client.relay.output()


@pytest.mark.trio
async def test_a_revoked_device_is_out_and_the_others_of_its_user_are_not(client: Clients) -> None:
    alice = fresh("alice")
    async with (
        client.connect(alice, device="phone") as phone,
        client.connect(alice, device="tablet") as tablet,
    ):
        await trio.to_thread.run_sync(in_thread(client, alice, "--device", "phone"))
        await assert_ended(phone)
        assert await tablet.before_pong() == []

    assert status(client, client.issuer.token(alice, "phone")) == 401
    assert status(client, client.issuer.token(alice, "tablet")) == 101


@pytest.mark.trio
async def test_a_revoked_token_is_out_and_its_device_comes_back_with_another(
    client: Clients,
) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    lost, kept = (client.issuer.token(alice, jti=jti) for jti in ("lost and found", "kept"))
    async with (
        client.connect(alice, token=lost) as thief,
        client.connect(bob, token=client.issuer.token(bob, jti="lost and found")) as other,
    ):
        await trio.to_thread.run_sync(in_thread(client, alice, "--jti", "lost and found"))
        await assert_ended(thief)
        assert await other.before_pong() == []

    assert status(client, lost) == 401
    assert status(client, kept) == 101
    assert status(client, client.issuer.token(alice)) == 101


def test_of_a_device_and_a_token_given_together_both_must_fit(client: Clients) -> None:
    alice = fresh("alice")
    revoke(client, alice, "--device", "phone", "--jti", "t-1")

    await_status(client, client.issuer.token(alice, "phone", jti="t-1"), 401)
    assert status(client, client.issuer.token(alice, "tablet", jti="t-1")) == 101
    assert status(client, client.issuer.token(alice, "phone", jti="t-2")) == 101


def test_tokens_issued_after_the_revocation_are_refused_until_it_is_lifted(
    client: Clients,
) -> None:
    alice = fresh("alice")
    revoke(client, alice)
    await_status(client, client.issuer.token(alice), 401)
    (own,) = client.relay.tokens([alice])
    assert status(client, own) == 401

    assert revoke(client, alice, "--lift") == f"Lifted: {alice}.\n"
    await_status(client, own, 101)
    assert status(client, client.issuer.token(alice)) == 101


# ── refreshes ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.trio
async def test_a_refresh_with_a_revoked_token_is_refused(client: Clients) -> None:
    alice = fresh("alice")
    revoked = client.issuer.token(alice, jti="revoked")
    async with client.connect(alice, token=client.issuer.token(alice, jti="good")) as peer:
        await trio.to_thread.run_sync(in_thread(client, alice, "--jti", "revoked"))
        await trio.to_thread.run_sync(await_status, client, beside(client, alice, "revoked"), 401)
        assert await peer.before_pong() == []

        await peer.tell({"type": "ksmpv3.auth", "token": revoked})
        assert await peer.close_code() == 4401
        (refusal,) = peer.kept()
        assert (refusal["code"], refusal["about"]) == ("unauthenticated", {"type": "ksmpv3.auth"})


@pytest.mark.trio
async def test_a_connection_is_judged_by_the_token_it_showed_last(client: Clients) -> None:
    alice = fresh("alice")
    first, second = (client.issuer.token(alice, jti=jti) for jti in ("first", "second"))
    async with client.connect(alice, token=first) as peer:
        await peer.tell({"type": "ksmpv3.auth", "token": second})
        assert (await peer.receive())["type"] == "ksmpv3.auth.ok"
        await trio.to_thread.run_sync(in_thread(client, alice, "--jti", "first"))
        await trio.to_thread.run_sync(await_status, client, beside(client, alice, "first"), 401)
        assert await peer.before_pong() == []

        await trio.to_thread.run_sync(in_thread(client, alice, "--jti", "second"))
        await assert_ended(peer)


# ── it lasts ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def own(issuer: Issuer, key_set: Path, tmp_path: Path) -> Iterator[Clients]:
    """A relay of the test's own; how it speaks WebSocket is all the same here."""
    with RelayProcess(tmp_path, {"KSMP_AUTH__JWKS_FILE": str(key_set)}) as relay:
        yield Clients(issuer, relay)


def test_revocations_outlast_kill_and_restart_and_can_be_made_of_a_relay_that_is_stopped(
    own: Clients,
) -> None:
    revoke(own, "alice")
    own.relay.kill()
    revoke(own, "bob", "--device", "phone")
    own.relay.start()

    assert lines(own.relay, "revocations.loaded")[-1]["revocations"] == 2
    assert status(own, own.issuer.token("alice")) == 401
    assert status(own, own.issuer.token("bob", "phone")) == 401
    assert status(own, own.issuer.token("bob", "tablet")) == 101


def _spoil(content: bytes) -> bytes:
    """One person's name, exchanged for one who was never revoked."""
    return content.replace(b'"alice"', b'"alicf"')


def test_a_relay_does_not_start_on_revocations_that_are_damaged(own: Clients) -> None:
    revoke(own, "alice")
    own.relay.kill()
    file = own.relay.data_directory / "revocations.json"
    good = file.read_bytes()
    file.write_bytes(_spoil(good))
    data = ("--data", str(own.relay.data_directory))
    for command in (("serve", "--port", "0"), ("revoke", "bob")):
        ended = own.relay.attempt(*command, *data)
        assert ended.returncode == 78, command
        what, why, what_to_do = ended.stderr.decode().splitlines()[-3:]
        assert "revocations.json cannot be used" in what
        assert "who were revoked would be let in" in why
        assert "Restore it from a backup" in what_to_do
    assert file.read_bytes() == _spoil(good), "it must be left for whoever repairs it"

    file.write_bytes(good)
    own.relay.start()
    assert status(own, own.issuer.token("alice")) == 401


def test_a_running_relay_keeps_what_was_revoked_when_the_file_is_damaged_or_gone(
    own: Clients,
) -> None:
    file = own.relay.data_directory / "revocations.json"
    revoke(own, "alice")
    await_status(own, own.issuer.token("alice"), 401)
    good = file.read_bytes()

    for count in (1, 2):
        if count == 1:
            file.write_bytes(_spoil(good))
        else:
            file.unlink()
        told = await_line(own.relay, "revocations.unusable", count)
        assert told["level"] == "error"
        assert "revocations.json cannot be used" in told["problem"]
        assert "Restore it from a backup" in told["problem"]
        assert status(own, own.issuer.token("alice")) == 401
        assert status(own, own.issuer.token("bob")) == 101

    repaired = file.with_suffix(".repaired")
    repaired.write_bytes(good)
    repaired.replace(file)
    revoke(own, "bob")
    await_status(own, own.issuer.token("bob"), 401)
    assert status(own, own.issuer.token("alice")) == 401
    assert len(lines(own.relay, "revocations.unusable")) == 2, "once for each damage"

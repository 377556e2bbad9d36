"""SIGHUP: all of a changed configuration is taken on, or nothing; whoever is connected stays so."""

from __future__ import annotations

import os
import signal
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from tests.wire import clients
from tests.wire.codecs import MSGPACK
from tests.wire.connecting import Clients
from tests.wire.credentials import Issuer
from tests.wire.log_lines import await_line, lines
from tests.wire.messages import envelope, fresh
from tests.wire.relay_process import RelayProcess


class Reloadable:
    """A relay that runs from a configuration file, and a hand that changes it."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "relay.toml"
        self.key_set = directory / "keys.json"
        self.issuer = Issuer()
        self.issuer.write_key_set(self.key_set)
        self.relay = RelayProcess(directory, options=("--config", str(self.file)))
        self.client = Clients(self.issuer, self.relay)
        self.configure()

    def configure(self, **settings: object) -> None:
        """Write a file with the key set and these settings, such as `limits__connections=2`."""
        text = f'auth.jwks_file = "{self.key_set}"\n'
        for name, value in settings.items():
            text += f"{name.replace('__', '.')} = {value}\n"
        self.file.write_text(text)

    def reload(self) -> None:
        """SIGHUP, and wait until it is taken on."""
        done = len(lines(self.relay, "relay.reloaded"))
        self.relay.signal(signal.SIGHUP)
        await_line(self.relay, "relay.reloaded", done + 1)

    def refused_reload(self, problems: int = 1) -> list[str]:
        """SIGHUP, and what the relay says is wrong, once it has said so much."""
        before = len(lines(self.relay, "relay.not_reloaded"))
        self.relay.signal(signal.SIGHUP)
        await_line(self.relay, "relay.not_reloaded", before + problems)
        told = lines(self.relay, "relay.not_reloaded")[before:]
        assert all(line["level"] == "error" for line in told)
        return [line["problem"] for line in told]

    def status(self, token: str | None = None, **changes: Any) -> int:
        return self.client.request(token or self.issuer.token(fresh("user")), **changes).status


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Reloadable]]:
    """Starts a relay from a file with these settings."""
    with ExitStack() as stack:

        def start(**settings: object) -> Reloadable:
            reloadable = Reloadable(tmp_path)
            reloadable.configure(**settings)
            stack.enter_context(reloadable.relay)
            return reloadable

        yield start


MakeReloadable = Callable[..., Reloadable]


@pytest.mark.trio
async def test_keys_audience_and_issuer_are_reloaded_and_who_is_connected_stays(
    make: MakeReloadable,
) -> None:
    here = make()
    newcomer = Issuer()
    async with here.client.connect(fresh("alice")) as peer:
        newcomer.write_key_set(here.key_set)
        here.reload()
        assert here.status() == 401
        assert here.status(newcomer.token("bob")) == 101

        here.configure(auth__audience='"ours"', auth__issuer='"https://id.example"')
        here.reload()
        assert here.status(newcomer.token("bob")) == 401
        assert here.status(newcomer.token("bob", aud="ours", iss="https://id.example")) == 101

        here.configure(auth__algorithms='["ES256"]')
        here.reload()
        assert here.status(newcomer.token("bob")) == 401
        assert here.status(newcomer.sign_es256(newcomer.claims("bob"))) == 101
        assert await peer.before_pong() == [], "its token was good when it was shown"


@pytest.mark.trio
async def test_limits_are_reloaded_and_a_connection_keeps_those_it_was_told(
    make: MakeReloadable,
) -> None:
    here = make()
    alice, bob = fresh("alice"), fresh("bob")
    async with here.client.connect(alice, device="old") as old:
        here.configure(
            limits__max_ciphertext_bytes=100,
            limits__sends_burst=2,
            limits__sends_per_second=1,
            limits__connections_per_user=2,
            limits__min_free_bytes=0,
            limits__handshakes=50,
        )
        here.reload()
        async with here.client.connect(alice, device="new") as new:
            assert old.connected["limits"]["maxCiphertextBytes"] == 262_144
            assert new.connected["limits"]["maxCiphertextBytes"] == 100
            assert new.connected["limits"]["sendsBurst"] == 2
            for _ in range(5):
                await old.send(envelope(alice, bob, ciphertext=b"x" * 101))
            too_large = (await new.answer_to(envelope(alice, bob, ciphertext=b"x" * 101))).event
            assert too_large["code"] == "too_large"
            answers = [(await new.answer_to(envelope(alice, bob))).event for _ in range(3)]
            assert [answer.get("code") for answer in answers] == [None, None, "rate_limited"]
            assert here.status(here.issuer.token(alice, "third")) == 429


def test_origins_and_proxies_are_reloaded(make: MakeReloadable) -> None:
    here = make(limits__connections_per_address=1)
    page = (b"Origin", b"https://chat.example")
    forwarded = [(b"X-Forwarded-For", b"192.0.2.%d" % number) for number in range(3)]
    assert here.status(extra=[page]) == 403
    with here.client.connect_raw():
        assert here.status(extra=forwarded[:1]) == 429

        here.configure(
            server__allowed_origins='["https://chat.example"]',
            server__trusted_proxies='["127.0.0.0/8"]',
            limits__connections_per_address=1,
        )
        here.reload()
        assert here.status(extra=[forwarded[0]]) == 101
        assert here.status(extra=[forwarded[1], page]) == 101
        assert here.status(extra=[forwarded[2], (b"Origin", b"https://else.example")]) == 403


@pytest.mark.trio
async def test_the_log_level_is_reloaded_in_both_directions(make: MakeReloadable) -> None:
    here = make()
    async with here.client.connect(fresh("alice")) as peer:
        await peer.before_pong()
        assert lines(here.relay, "event.received") == []
        here.configure(log__level='"debug"')
        here.reload()
        await peer.before_pong()
        assert len(lines(here.relay, "event.received")) == 1
        here.configure(log__level='"warning"')
        here.relay.signal(signal.SIGHUP)
        # At this level it does not say that it is done: what it says of a bad file comes after.
        here.configure(log__level='"loud"')
        assert "log.level" in here.refused_reload()[0].replace("] ", ".").replace("[", "")


# ── the certificate ──────────────────────────────────────────────────────────────────────────


def write_certificate(authority: trustme.CA, certificate: Path, key: Path) -> None:
    issued = authority.issue_cert("localhost")
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    tls = ssl.create_default_context()
    authority.configure_trust(tls)
    return tls


@pytest.mark.trio
async def test_the_certificate_is_reloaded_for_the_next_and_who_is_connected_stays(
    make: MakeReloadable, tmp_path: Path
) -> None:
    before, after = trustme.CA(), trustme.CA()
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    write_certificate(before, certificate, key)
    tls = {"server__tls_certificate": f'"{certificate}"', "server__tls_key": f'"{key}"'}
    here = make(**tls)

    async def secured(authority: trustme.CA) -> trio.SSLStream[trio.SocketStream]:
        stream = await trio.open_tcp_stream(*here.relay.address)
        wrapped = trio.SSLStream(
            stream, trusting(authority), server_hostname="localhost", https_compatible=True
        )
        try:
            await wrapped.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return wrapped

    token = here.issuer.token("alice")
    stream = await secured(before)
    async with clients.connected_over(stream, token, "alice", MSGPACK) as peer:
        write_certificate(after, certificate, key)
        here.reload()
        await peer.send(envelope("alice", "bob"))
        await (await secured(after)).aclose()
        with pytest.raises(trio.BrokenResourceError):
            await secured(before)

        write_certificate(before, certificate, tmp_path / "another key.pem")
        (problem,) = here.refused_reload()
        assert "certificate chain and its private key" in problem
        await peer.send(envelope("alice", "bob"))
        await (await secured(after)).aclose()


# ── what cannot be used ──────────────────────────────────────────────────────────────────────


@pytest.mark.trio
async def test_a_file_that_cannot_be_used_changes_nothing_and_every_problem_is_told(
    make: MakeReloadable,
) -> None:
    here = make(limits__connections_per_user=1)
    alice, good_keys = fresh("alice"), here.key_set.read_bytes()
    async with here.client.connect(alice, device="phone") as peer:

        async def assert_nothing_has_changed() -> None:
            assert await peer.before_pong() == []
            assert here.status(here.issuer.token(alice, "tablet")) == 429
            assert here.status() == 101

        here.file.write_text("limits.connections_per_user = 7\n[limits\n")
        (problem,) = here.refused_reload()
        assert f"{here.file} is not TOML" in problem
        await assert_nothing_has_changed()

        here.configure(limits__connections_per_user=7, server__prot=1, limits__handshakes=-1)
        problems = here.refused_reload(2)
        assert [f"{here.file}:{line}: " in "\n".join(problems) for line in (3, 4)] == [True, True]
        assert any("[server] prot is not a setting. Did you mean port?" in one for one in problems)
        await assert_nothing_has_changed()

        here.configure(limits__connections_per_user=7)
        for keys in (b"{}", None):
            here.key_set.unlink() if keys is None else here.key_set.write_bytes(keys)
            (problem,) = here.refused_reload()
            assert str(here.key_set) in problem or "[auth] jwks_file" in problem
            await assert_nothing_has_changed()

        here.key_set.write_bytes(good_keys)
        here.reload()
        assert here.status(here.issuer.token(alice, "tablet")) == 101


def test_what_only_a_restart_can_change_is_named_and_the_rest_is_taken_on(
    make: MakeReloadable, tmp_path: Path
) -> None:
    here = make()
    here.configure(
        server__host='"127.0.0.2"',
        store__map_size_bytes=2**24,
        log__format='"pretty"',
        server__allowed_origins='["https://chat.example"]',
    )
    here.reload()

    named = lines(here.relay, "relay.needs_restart")
    assert [(line["level"], line["setting"]) for line in named] == [
        ("warning", "server.host"),
        ("warning", "store.map_size_bytes"),
        ("warning", "log.format"),
    ]
    assert here.status(extra=[(b"Origin", b"https://chat.example")]) == 101


# ── at any time ──────────────────────────────────────────────────────────────────────────────


def test_many_hangups_in_a_row_end_with_what_is_on_disk(make: MakeReloadable) -> None:
    here = make()
    page = [(b"Origin", b"https://chat.example")]
    for number in range(20):
        here.configure(server__allowed_origins=f'["https://site-{number}.example"]')
        here.relay.signal(signal.SIGHUP)
    here.configure(server__allowed_origins='["https://chat.example"]')
    here.relay.signal(signal.SIGHUP)

    deadline = time.monotonic() + clients.ANSWER_SECONDS
    while here.status(extra=page) != 101:
        assert time.monotonic() < deadline
    assert here.relay.terminate() == 0


@pytest.mark.trio
async def test_a_hangup_during_a_drain_does_not_disturb_it(make: MakeReloadable) -> None:
    here = make()
    async with here.client.connect(fresh("alice")) as peer:
        here.relay.signal_terminate()
        for _ in range(5):
            here.relay.signal(signal.SIGHUP)
        assert await peer.close_code() == 1001
    for _ in range(5):
        here.relay.signal(signal.SIGHUP)
    assert await trio.to_thread.run_sync(here.relay.wait) == 0


def test_a_hangup_during_the_start_is_obeyed_after_it(tmp_path: Path) -> None:
    here = Reloadable(tmp_path)
    configured = here.file.read_bytes()
    here.file.unlink()
    os.mkfifo(here.file)  # whoever reads the configuration waits until it is written
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(here.relay.start)
        try:
            with here.file.open("wb") as pipe:  # opens when the relay has opened the other end
                here.relay.signal(signal.SIGHUP)
                here.file.unlink()
                here.configure()
                pipe.write(configured)
            starting.result()
            await_line(here.relay, "relay.reloaded")
            assert here.status() == 101
        finally:
            here.relay.kill()

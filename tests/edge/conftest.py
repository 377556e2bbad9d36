"""Relays for the table: one process for each transport and profile, started when first needed."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import trio
import trustme

from tests.edge.case import SETTINGS, Case, Profile, Way
from tests.edge.latency import PROPERTY
from tests.edge.relays import WatchedRelay, settings
from tests.edge.rows import RunRow, RunRows
from tests.edge.run import run, run_together
from tests.edge.stage import Stage
from tests.wire.credentials import Issuer
from tests.wire.relay_process import RelayProcess


class Certificates(NamedTuple):
    """What a relay that speaks TLS is given, and what its clients trust."""

    settings: dict[str, str]
    trust: ssl.SSLContext


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    """The issuer whose keys every relay of the table trusts."""
    return Issuer()


@pytest.fixture(scope="session")
def key_set(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The issuer's public keys, in a file."""
    path = tmp_path_factory.mktemp("issuer") / "jwks.json"
    issuer.write_key_set(path)
    return path


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A certificate for localhost, in files."""
    directory = tmp_path_factory.mktemp("tls")
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    for number, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(certificate, append=number > 0)
    issued.private_key_pem.write_to_path(key)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return Certificates(
        {"KSMP_SERVER__TLS_CERTIFICATE": str(certificate), "KSMP_SERVER__TLS_KEY": str(key)}, trust
    )


class Relays:
    """The relays of one test session, by transport and profile."""

    def __init__(
        self, issuer: Issuer, key_set: Path, certificates: Certificates, directory: Path
    ) -> None:
        self._issuer = issuer
        self._key_set = key_set
        self._certificates = certificates
        self._directory = directory
        self._running: dict[tuple[str, Profile], WatchedRelay] = {}

    async def running(self, transport: str, profile: Profile) -> WatchedRelay:
        """The relay of this profile on this transport, past its first connections."""
        relay = self._running.get((transport, profile))
        if relay is None:
            relay = WatchedRelay(self._start(transport, profile), transport)
            self._running[transport, profile] = relay
            await self._warm(relay, profile)
        return relay

    def tls_of(self, profile: Profile) -> ssl.SSLContext | None:
        """What a client of such a relay trusts; None where it speaks in the clear."""
        return self._certificates.trust if profile is Profile.TLS else None

    def _start(self, transport: str, profile: Profile) -> RelayProcess:
        directory = self._directory / f"{transport}-{profile.name.lower()}"
        directory.mkdir()
        environment = settings(self._key_set, transport)
        environment |= {f"KSMP_{name}": value for name, value in SETTINGS[profile].items()}
        if profile is Profile.TLS:
            environment |= self._certificates.settings
        process = RelayProcess(directory, environment)
        process.start()
        return process

    async def _warm(self, relay: WatchedRelay, profile: Profile) -> None:
        """Let it open what it opens once, so that this is part of the baseline."""
        nobody = Case("", "", "", "", _do_nothing)
        stage = Stage(nobody, Way.ALONE, relay, self._issuer, self.tls_of(profile))
        async with stage.connect_fresh() as connection:
            await connection.good_events()
        with trio.fail_after(10):
            while (await relay.status())["connections"]:
                pass
        await relay.settle()

    def end(self) -> None:
        """Stop them all: each in good order, and with nothing said that a client chose."""
        for relay in self._running.values():
            try:
                assert relay.process.terminate() == 0
                relay.assert_never_said()
            finally:
                relay.process.kill()


async def _do_nothing(_stage: Stage) -> None:
    pass


@pytest.fixture(scope="session")
def relays(
    issuer: Issuer,
    key_set: Path,
    certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Relays]:
    """All relays of this session."""
    running = Relays(issuer, key_set, certificates, tmp_path_factory.mktemp("relays"))
    try:
        yield running
    finally:
        running.end()


@pytest.fixture
def run_row(
    relays: Relays, issuer: Issuer, record_property: Callable[[str, object], None]
) -> RunRow:
    """Runs a row; the latencies of a bystander go with the test's report."""

    async def run_it(case: Case, way: Way, transport: str) -> None:
        relay = await relays.running(transport, case.profile)
        latencies = await run(case, way, relay, issuer, relays.tls_of(case.profile))
        if latencies:
            record_property(PROPERTY, {"group": case.group, "seconds": latencies})

    return run_it


@pytest.fixture
def run_rows_together(
    relays: Relays, issuer: Issuer, record_property: Callable[[str, object], None]
) -> RunRows:
    """The same for many rows side by side, in every way."""

    async def run_them(cases: Sequence[Case], transport: str) -> None:
        profiles = {case.profile for case in cases}
        for profile in profiles:
            relay = await relays.running(transport, profile)
            rows = [case for case in cases if case.profile is profile]
            latencies = await run_together(rows, relay, issuer, relays.tls_of(profile))
            record_property(PROPERTY, {"group": rows[0].group, "seconds": latencies})

    return run_them

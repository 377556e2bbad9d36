"""One relay process of each transport for all tests that do not need their own; people nobody
else uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.wire.codecs import JSON, MSGPACK, Codec
from tests.wire.connecting import Clients, StartRelay
from tests.wire.credentials import Issuer
from tests.wire.judging import Promised, judged
from tests.wire.messages import fresh
from tests.wire.relay_process import PROGRAM, RelayProcess


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    """The issuer whose keys every relay of this session trusts."""
    return Issuer()


@pytest.fixture(scope="session")
def key_set(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The issuer's public keys, in a file."""
    path = tmp_path_factory.mktemp("issuer") / "jwks.json"
    issuer.write_key_set(path)
    return path


@pytest.fixture(scope="session", params=["websockets", "trio-websocket"])
def transport(request: pytest.FixtureRequest) -> str:
    """The name of each transport, so that every test of a relay is one of both."""
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="session")
def shared_relay(
    key_set: Path, transport: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RelayProcess]:
    """A relay with default settings but for the transport, for all tests."""
    settings = {"KSMP_AUTH__JWKS_FILE": str(key_set), "KSMP_SERVER__WEBSOCKET": transport}
    with RelayProcess(tmp_path_factory.mktemp("relay"), settings) as relay:
        yield relay
        assert relay.terminate() == 0
        assert b"Traceback" not in relay.output()


@pytest.fixture
def relay(shared_relay: RelayProcess) -> Iterator[RelayProcess]:
    """The shared relay, which no test may end."""
    yield shared_relay
    assert shared_relay.is_running


@pytest.fixture
def start(
    request: pytest.FixtureRequest,
    issuer: Issuer,
    key_set: Path,
    transport: str,
    tmp_path: Path,
) -> Iterator[StartRelay]:
    """A function that starts a relay of the test's own, by settings and options.

    Where the test is marked with `promises`, its clients are recorded and the history is judged.
    """
    mark = request.node.get_closest_marker("promises")
    with ExitStack() as stack:

        def start(
            program: Sequence[str] = PROGRAM, options: Sequence[str] = (), **settings: object
        ) -> Clients:
            directory = tmp_path / fresh("relay")
            directory.mkdir()
            environment = {
                "KSMP_AUTH__JWKS_FILE": str(key_set),
                "KSMP_SERVER__WEBSOCKET": transport,
            } | {f"KSMP_{name.upper()}": str(value) for name, value in settings.items()}
            relay = RelayProcess(directory, environment, options, program)
            own = Clients(issuer, stack.enter_context(relay))
            if mark is None:
                return own
            history = tmp_path / f"{directory.name}.history"
            return stack.enter_context(judged(own, Promised.of(mark), history))

        yield start


@pytest.fixture(params=[JSON, MSGPACK], ids=repr)
def codec(request: pytest.FixtureRequest) -> Codec:
    """Each subprotocol."""
    chosen: Codec = request.param
    return chosen


@pytest.fixture
def client(issuer: Issuer, relay: RelayProcess) -> Clients:
    """Clients of the shared relay."""
    return Clients(issuer, relay)


@pytest.fixture
def pair() -> tuple[str, str]:
    """Two users of this test's own."""
    return fresh("alice"), fresh("bob")

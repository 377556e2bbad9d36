"""Relays of the tests' own, as the tests on the wire start them."""

import pytest

from tests.wire.conftest import issuer, key_set, start

__all__ = ["issuer", "key_set", "start"]


@pytest.fixture(autouse=True)
def _names_its_promises(request: pytest.FixtureRequest) -> None:
    """No run without a verdict: see `tests.wire.judging`."""
    assert request.node.get_closest_marker("promises"), "mark it with the promises it is about"
    assert "start" in request.fixturenames, "only a relay of `start` is recorded"


@pytest.fixture(scope="session")
def transport() -> str:
    """The default one; a test that is for another asks for it in its settings."""
    return "websockets"

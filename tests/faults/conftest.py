"""Relays of the tests' own, as the tests on the wire start them."""

import pytest

from tests.wire.conftest import issuer, key_set, start

__all__ = ["issuer", "key_set", "start"]


@pytest.fixture(scope="session")
def transport() -> str:
    """The default one; a test that is for another asks for it in its settings."""
    return "websockets"

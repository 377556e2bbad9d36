"""Relays of the tests' own, as the tests on the wire start them."""

from tests.wire.conftest import issuer, key_set, start

__all__ = ["issuer", "key_set", "start"]

"""Identifiers as the outside may see them: keyed hashes that mean nothing beyond this process."""

from __future__ import annotations

from hashlib import blake2s
from typing import Final

from actors.telemetry import Hashed

HASH_KEY_BYTES: Final = 32
_HASH_BYTES: Final = 6


class Digests:
    """Hashes under one key: 32 random bytes, made at every start."""

    def __init__(self, key: bytes) -> None:
        if len(key) != HASH_KEY_BYTES:
            raise ValueError(f"the hash key has {HASH_KEY_BYTES} bytes")
        self._hash = blake2s(key=key, digest_size=_HASH_BYTES)

    def of(self, value: Hashed) -> str:
        """12 hexadecimal digits; equal for equal kinds and parts."""
        keyed = self._hash.copy()
        for part in (value.kind, *value.parts):
            encoded = part.encode()
            keyed.update(len(encoded).to_bytes(4) + encoded)
        return keyed.hexdigest()

"""Tokens from an issuer the relay trusts through a key file, signed here and by nothing of its own.

A token is made from a header and claims of any shape, so that tests can also make the ones that
must be refused.
"""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

# Claims are of any shape until a test has looked at them.
Claims = dict[str, Any]

AUDIENCE: Final = "ksmp-relay"
TTL_SECONDS: Final = 3600


class Issuer:
    """An issuer of JWTs with one Ed25519 and one P-256 key."""

    def __init__(self) -> None:
        self._ed25519 = ed25519.Ed25519PrivateKey.generate()
        self._p256 = ec.generate_private_key(ec.SECP256R1())

    def write_key_set(self, path: Path) -> None:
        """Write the public keys as a JWK set, as an operator would hand it to the relay."""
        point = self._p256.public_key().public_numbers()
        keys = [
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": _b64(self.public_bytes())},
            {
                "kty": "EC",
                "crv": "P-256",
                "kid": "ec",
                "x": _b64(point.x.to_bytes(32, "big")),
                "y": _b64(point.y.to_bytes(32, "big")),
            },
        ]
        path.write_text(json.dumps({"keys": keys}))

    def public_bytes(self) -> bytes:
        """The Ed25519 public key: what an attacker knows."""
        return self._ed25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def token(self, user: str, device: str = "default", **claims: object) -> str:
        """A good token for this user and device; `claims` replace or add."""
        return self.sign(self.claims(user, device) | claims)

    def claims(self, user: str, device: str = "default") -> Claims:
        """The claims of a good token."""
        expires = int(time.time()) + TTL_SECONDS
        return {"sub": user, "device": device, "aud": AUDIENCE, "exp": expires}

    def sign(self, claims: Claims, **header: object) -> str:
        """These claims signed with the Ed25519 key, under a header changed at will."""
        signing_input = _signing_input({"alg": "EdDSA", "kid": "ed"} | header, claims)
        return _compact(signing_input, self._ed25519.sign(signing_input.encode()))

    def sign_es256(self, claims: Claims) -> str:
        """These claims signed with the P-256 key."""
        signing_input = _signing_input({"alg": "ES256", "kid": "ec"}, claims)
        return _compact(signing_input, self.signature_es256(signing_input.encode()))

    def signature(self, signing_input: bytes) -> bytes:
        """The Ed25519 key's signature of whatever it is."""
        return self._ed25519.sign(signing_input)

    def signature_es256(self, signing_input: bytes) -> bytes:
        """The P-256 key's signature, as a JWS has it: two integers of 32 bytes."""
        signature = self._p256.sign(signing_input, ec.ECDSA(SHA256()))
        r, s = utils.decode_dss_signature(signature)
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def claims_of(token: str) -> Claims:
    """What a token claims, its signature not looked at."""
    part = token.split(".")[1]
    decoded = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    assert isinstance(decoded, dict)
    return decoded


def _signing_input(header: dict[str, object], claims: Claims) -> str:
    return ".".join(_b64(json.dumps(part).encode()) for part in (header, claims))


def _compact(signing_input: str, signature: bytes) -> str:
    return f"{signing_input}.{_b64(signature)}"


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")

"""Tokens that were never issued: forged, damaged, or signed over what no issuer would sign."""

from __future__ import annotations

import base64
import hmac
import json
import string
from collections.abc import Callable, Iterator
from itertools import count
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.edge.stage import Stage
from tests.wire.credentials import Claims

MakeToken = Callable[[Stage], str]

MAX_TOKEN_BYTES: Final = 8_192
KID: Final = "ed"
"""The name of the issuer's Ed25519 key; `ec` is its P-256 key."""

_ALPHABET: Final = f"{string.ascii_uppercase}{string.ascii_lowercase}{string.digits}-_"
_STRANGER: Final = ed25519.Ed25519PrivateKey.generate()


def b64(raw: bytes) -> str:
    """RFC 7515 section 2: url-safe, without padding."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def issued(payload: object, **header: object) -> MakeToken:
    """Any payload under any header, signed by the issuer; bytes are taken as they are."""
    return lambda stage: signed_by(stage.issuer.signature, payload, **header)


def with_claims(**claims: object) -> MakeToken:
    """The row's user's good claims, but for these."""
    return lambda stage: stage.issuer.sign(stage.claims() | claims)


def without_claim(name: str) -> MakeToken:
    """The row's user's good claims, but for one."""
    return lambda stage: stage.issuer.sign(
        {claim: value for claim, value in stage.claims().items() if claim != name}
    )


def with_header(**header: object) -> MakeToken:
    """Good claims, signed by the issuer under a header changed at will."""
    return lambda stage: signed_by(stage.issuer.signature, stage.claims(), **header)


def without_header(name: str) -> MakeToken:
    """Good claims, signed by the issuer under a header that lacks a field."""

    def make(stage: Stage) -> str:
        header = {key: value for key, value in _HEADER.items() if key != name}
        signing_input = f"{_part(header)}.{_part(stage.claims())}"
        return f"{signing_input}.{b64(stage.issuer.signature(signing_input.encode()))}"

    return make


def by_stranger(**header: object) -> MakeToken:
    """Good claims, signed with a key that nobody trusts."""
    return lambda stage: signed_by(_STRANGER.sign, stage.claims(), **header)


def strangers_jwk() -> dict[str, str]:
    """That key, for a header that asks to be verified with it."""
    public = _STRANGER.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "kid": KID, "x": b64(public)}


def by_hmac(algorithm: str, secret: Callable[[bytes], bytes], **header: object) -> MakeToken:
    """The confusion of keys: an HMAC whose secret is made of the issuer's public key."""
    digest = f"sha{algorithm[2:]}"

    def make(stage: Stage) -> str:
        key = secret(stage.issuer.public_bytes())
        sign = lambda signing_input: hmac.digest(key, signing_input, digest)  # noqa: E731
        return signed_by(sign, stage.claims(), alg=algorithm, **header)

    return make


def by_p256(**header: object) -> MakeToken:
    """Good claims, signed by the issuer's other key under a header changed at will."""
    return lambda stage: signed_by(stage.issuer.signature_es256, stage.claims(), **header)


def changed_signature(change: Callable[[bytes], bytes]) -> MakeToken:
    """A good token whose signature was changed."""

    def make(stage: Stage) -> str:
        head, _, signature = stage.token().rpartition(".")
        raw = base64.urlsafe_b64decode(signature + "==")
        return f"{head}.{b64(change(raw))}"

    return make


def rewritten(rewrite: Callable[[str], str]) -> MakeToken:
    """A good token whose text was changed."""
    return lambda stage: rewrite(stage.token())


def with_stray_bits(stage: Stage) -> str:
    """A good token, but for bits of its last character that belong to no byte."""
    token = stage.token()
    return token[:-1] + _ALPHABET[_ALPHABET.index(token[-1]) ^ 1]


def in_other_alphabet(stage: Stage) -> str:
    """A good token whose signature is written in the alphabet that is not url-safe."""
    for number in count():
        head, _, signature = stage.token(number=number).rpartition(".")
        other = signature.translate(str.maketrans("-_", "+/"))
        if other != signature:
            return f"{head}.{other}"
    raise AssertionError


def exchanged(stage: Stage) -> str:
    """A good token whose claims were exchanged for those of another good one."""
    header, _, signature = stage.token().split(".")
    return ".".join((header, stage.token(stage.fresh("victim")).split(".")[1], signature))


def of_length(length: int) -> MakeToken:
    """A good token of exactly this many bytes."""

    def make(stage: Stage) -> str:
        for token in _of_many_lengths(stage, length):
            if len(token) == length:
                return token
        raise AssertionError(f"no token of {length} bytes")

    return make


def _of_many_lengths(stage: Stage, about: int) -> Iterator[str]:
    # Base64 skips lengths: what one part cannot reach, the other does.
    bare = len(signed_by(stage.issuer.signature, stage.claims() | {"padding": ""}, x=""))
    for in_header in range(4):
        for short_by in range(8):
            padding = "x" * ((about - bare) * 3 // 4 - short_by)
            claims = stage.claims() | {"padding": padding}
            yield signed_by(stage.issuer.signature, claims, x="x" * in_header)


_HEADER: Final[dict[str, object]] = {"alg": "EdDSA", "kid": KID}


def signed_by(sign: Callable[[bytes], bytes], payload: object, **header: object) -> str:
    """A compact JWS; what `header` names is replaced or added."""
    signing_input = f"{_part(_HEADER | header)}.{_part(payload)}"
    return f"{signing_input}.{b64(sign(signing_input.encode()))}"


def _part(content: object) -> str:
    return b64(content if isinstance(content, bytes) else json.dumps(content).encode())


def claims_twice(claims: Claims, name: str, value: object) -> bytes:
    """The claims as JSON in which one stands a second time, later, with another value."""
    text = json.dumps(claims)
    return f"{text[:-1]}, {json.dumps(name)}: {json.dumps(value)}}}".encode()

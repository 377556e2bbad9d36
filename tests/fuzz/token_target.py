"""No token speaks for anyone unless it was issued, letter by letter what is signed in it.

byte 0 % 3   0: edits of an issued token; 1: any text; 2: any claims, signed by a known key
then         the edits (place, kind, letter), the text, or the claims as JSON
"""

from __future__ import annotations

import json
from typing import Final, get_args

from joserfc import jws, jwt
from joserfc.jwk import ECKey, Key, OKPKey

from ksmp.types import MAX_INTEGER
from relay.auth import (
    Authenticator,
    Identity,
    Reason,
    UnauthenticatedError,
    VerificationKey,
    usable_algorithms,
)
from relay.config import AuthConfig
from tests.fuzz.codec_model import is_identifier
from tests.fuzz.promise import Choices, promise, reached

NOW: Final = 1_700_000_000
SKEW_SECONDS: Final = 30
CLAIMS: Final[dict[str, object]] = {
    "sub": "alice",
    "device": "phone",
    "aud": "relay",
    "exp": NOW + 60,
    "peers": ["bob", "team-*"],
    "jti": "token-1",
}

ED25519: Final = OKPKey.import_key(
    {
        "kty": "OKP",
        "crv": "Ed25519",
        "kid": "ed",
        # A test key out of RFC 8037, appendix A.
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    }
)
P256: Final = ECKey.import_key(
    {
        "kty": "EC",
        "crv": "P-256",
        "kid": "ec",
        # A test key out of RFC 7517, appendix A.2.
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",
    }
)


def _issued(key: Key, algorithm: str) -> str:
    return jwt.encode({"alg": algorithm, "kid": key.kid}, CLAIMS, key, algorithms=[algorithm])


ISSUED: Final = {"Ed25519": _issued(ED25519, "Ed25519"), "ES256": _issued(P256, "ES256")}
AUTHENTICATOR: Final = Authenticator(
    {
        str(key.kid): VerificationKey(
            key, usable_algorithms(key, frozenset(AuthConfig().algorithms))
        )
        for key in (ED25519, P256)
    },
    audience="relay",
    issuer=None,
    now_ms=lambda: NOW * 1_000,
)


def unsigned() -> str:
    """A token that is right in everything but its signature, which is all zero."""
    signed, _, signature = ISSUED["Ed25519"].rpartition(".")
    return f"{signed}.{'A' * len(signature)}"


def token_target(source: bytes) -> None:
    """Present one token."""
    choices = Choices(source)
    match choices.below(3):
        case 0:
            algorithm = tuple(ISSUED)[choices.below(len(ISSUED))]
            _present_edited(ISSUED[algorithm], choices)
        case 1:
            _present_text(choices.rest().decode("latin-1"))
        case _:
            _present_claims(choices.rest())


def _identity(token: str) -> Identity | None:
    """Who it speaks for; the refusal says why in one of the declared words."""
    try:
        return AUTHENTICATOR.verify(token)
    except UnauthenticatedError as refused:
        promise(refused.args == (refused.reason,), refused.args)
        promise(refused.reason in get_args(Reason), refused.reason)
        reached(f"token {refused.reason}")
        return None


def _present_edited(issued: str, choices: Choices) -> None:
    token = issued
    while choices.are_left:
        place = (choices.byte() << 8 | choices.byte()) % (len(token) + 1)
        kind, letter = choices.below(3), chr(choices.byte())
        token = token[:place] + letter * (kind < 2) + token[place + (kind > 0) :]
    identity = _identity(token)
    if identity is None:
        promise(token != issued, "a sound token was refused")
        return
    reached("token as issued")
    promise(token.rpartition(".")[0] == issued.rpartition(".")[0], "what is signed was changed")
    promise((identity.user, identity.device) == ("alice", "phone"), identity)


def _present_text(token: str) -> None:
    promise(token in ISSUED.values() or _identity(token) is None, "a stranger's token")


def _present_claims(payload: bytes) -> None:
    header = {"alg": "Ed25519", "kid": "ed"}
    token = jws.serialize_compact(header, payload, ED25519, algorithms=["Ed25519"])
    identity = _identity(token)
    try:
        claims = json.loads(payload)
    except (ValueError, RecursionError):
        promise(identity is None, "claims that are no JSON")
        return
    if identity is not None:
        reached("token with claims of its own")
        promise(isinstance(claims, dict) and _are_valid(claims), claims)
        promise(identity.user == claims["sub"], claims)
        promise(identity.device == claims.get("device", "default"), claims)
        promise(identity.expires_at_ms == claims["exp"] * 1_000, claims)


def _are_valid(claims: dict[str, object]) -> bool:
    """Whether claims may be accepted now; the independent reading of each rule."""
    expiry, audience, peers = claims.get("exp"), claims.get("aud"), claims.get("peers", [])
    return (
        is_identifier(claims.get("sub"))
        and is_identifier(claims.get("device", "default"))
        and type(expiry) is int
        and NOW - SKEW_SECONDS < expiry <= MAX_INTEGER // 1_000
        and (audience == "relay" or (isinstance(audience, list) and "relay" in audience))
        and isinstance(peers, list)
        and all(isinstance(peer, str) for peer in peers)
        and all(_has_begun(claims[name]) for name in ("nbf", "iat") if name in claims)
    )


def _has_begun(time: object) -> bool:
    return type(time) is int and 0 <= time <= NOW + SKEW_SECONDS

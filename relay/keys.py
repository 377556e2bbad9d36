"""The keys that tokens are signed and verified with, and the files they live in.

    signing-key.json   the relay's own key: an Ed25519 JWK, made at the first start, mode 0600
    a JWKS file        other issuers' public keys, as configured

This is the one place below the program's top that draws randomness: a key is nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key, OKPKey
from joserfc.jws import JWSRegistry
from msgspec import DecodeError, json

from ksmp.types import DeviceId, UserId
from relay.auth import VerificationKey, usable_algorithms
from relay.secret_files import create_secret, read_secret

SIGNING_KEY_FILE: Final = "signing-key.json"
SIGNING_ALGORITHM: Final = "Ed25519"


class KeyFileError(Exception):
    """A key file cannot be used: what is wrong, why it matters, and what to do about it."""

    def __init__(self, what: str, why: str, what_to_do: str) -> None:
        super().__init__(f"{what}\n{why}\n{what_to_do}")
        self.what = what
        self.why = why
        self.what_to_do = what_to_do


# ── the relay's own key ──────────────────────────────────────────────────────────────────────


def load_or_create_signing_key(directory: Path) -> OKPKey:
    """The relay's own key, the same for everyone who asks, made by whoever asks first.

    Raises:
        KeyFileError: the file is unreadable, readable by others, or holds no Ed25519 key.
    """
    path = directory / SIGNING_KEY_FILE
    try:
        if not path.exists():
            _create(path)
        return _load(path)
    except OSError as error:
        raise KeyFileError(
            f"The signing key {path} cannot be read or written.",
            f"The operating system says: {error.strerror}.",
            "Check the owner and the permissions of the directory.",
        ) from None


def issue_token(
    key: OKPKey,
    *,
    user: UserId,
    device: DeviceId,
    audience: str,
    issuer: str | None,
    issued_at: int,
    lifetime_seconds: int,
    token_id: str | None = None,
    peers: Sequence[str] | None = None,
) -> str:
    """A token for this user and device, signed with the relay's own key. Times are in seconds."""
    claims: dict[str, object] = {
        "sub": user,
        "device": device,
        "aud": audience,
        "iat": issued_at,
        "exp": issued_at + lifetime_seconds,
    }
    optional = {"iss": issuer, "jti": token_id, "peers": None if peers is None else list(peers)}
    claims.update({name: claim for name, claim in optional.items() if claim is not None})
    header = {"alg": SIGNING_ALGORITHM, "kid": key.kid}
    return jwt.encode(header, claims, key, algorithms=[SIGNING_ALGORITHM])


def _create(path: Path) -> None:
    """Write a new key so that it appears whole, is on disk when seen, and replaces no other."""
    key = OKPKey.generate_key("Ed25519")
    serialised = json.encode(key.as_dict(private=True, kid=key.thumbprint(), alg=SIGNING_ALGORITHM))
    create_secret(path, serialised + b"\n")


def _load(path: Path) -> OKPKey:
    content, open_mode = read_secret(path)
    if open_mode is not None:
        raise KeyFileError(
            f"The signing key {path} is accessible to other users (mode {open_mode:04o}).",
            "Whoever reads it can sign tokens for anyone.",
            f"If nobody has: chmod 600 {path}. If in doubt: delete it, and issue new tokens.",
        )
    try:
        key = JWKRegistry.import_key(json.decode(content, type=dict))
    except (DecodeError, JoseError, ValueError, TypeError, KeyError):
        raise _not_a_signing_key(path) from None
    if not isinstance(key, OKPKey) or key.curve_name != "Ed25519" or not key.is_private:
        raise _not_a_signing_key(path)
    key.ensure_kid()
    return key


def _not_a_signing_key(path: Path) -> KeyFileError:
    return KeyFileError(
        f"The signing key {path} does not hold a private Ed25519 key as a JWK.",
        "The relay signs and verifies its own tokens with it.",
        "Restore the file from a backup, or delete it to have a new key made.",
    )


# ── what tokens are verified with ────────────────────────────────────────────────────────────


def verification_keys(
    own: Key | None, jwks_file: Path | None, algorithms: Sequence[str]
) -> Mapping[str, VerificationKey]:
    """Every key that may verify a token, by its `kid`: the relay's own, and those of the file.

    Raises:
        KeyFileError: the file, or the list of algorithms, cannot be used.
    """
    allowed = _allowed(algorithms)
    keys: dict[str, VerificationKey] = {}
    candidates = [] if jwks_file is None else _load_jwks(jwks_file)
    for key in candidates:
        fitting = usable_algorithms(key, allowed)
        if not fitting:
            continue
        if str(key.kid) in keys:
            raise KeyFileError(
                f"Two keys in {jwks_file} have the same kid.",
                "A token names its key by kid alone.",
                "Give each key a kid of its own.",
            )
        keys[str(key.kid)] = VerificationKey(key, fitting)
    if jwks_file is not None and not keys:
        raise KeyFileError(
            f"No key in {jwks_file} can verify tokens.",
            f"The algorithms allowed are {', '.join(sorted(allowed))}.",
            "Add a public key for one of them, or allow the algorithm of the keys that are there.",
        )
    if own is not None:
        keys[str(own.kid)] = VerificationKey(own, usable_algorithms(own, allowed))
    return keys


def _allowed(algorithms: Sequence[str]) -> frozenset[str]:
    unusable = [
        name
        for name in algorithms
        if name not in JWSRegistry.algorithms or name == "none" or name.startswith("HS")
    ]
    if unusable or not algorithms:
        raise KeyFileError(
            f"These token algorithms cannot be used: {', '.join(unusable) or 'none are given'}.",
            "Only signatures with a public key are accepted, never `none` or a shared secret.",
            "Choose from Ed25519, EdDSA, ES256 and other public-key algorithms.",
        )
    return frozenset(algorithms)


def _load_jwks(path: Path) -> list[Key]:
    """The file's keys, those of a kind not known left out (RFC 7517 section 5)."""
    try:
        key_set = json.decode(path.read_bytes())
        members = key_set["keys"]
        keys = [
            JWKRegistry.import_key(member)
            for member in members
            if member["kty"] in ("EC", "OKP", "RSA")
        ]
        for key in keys:
            key.ensure_kid()
    except OSError as error:
        raise KeyFileError(
            f"The key set {path} cannot be read.",
            f"The operating system says: {error.strerror}.",
            "Check the path in [auth] jwks_file and the file's permissions.",
        ) from None
    except (DecodeError, JoseError, ValueError, TypeError, KeyError):
        raise KeyFileError(
            f"The key set {path} is not a JWK set.",
            'It must be a JSON object with a list "keys" of JWKs (RFC 7517).',
            "Fetch it again from its issuer.",
        ) from None
    return keys

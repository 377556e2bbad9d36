"""The key files: made once, kept private, and refused with a reason a person can act on."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from ksmp.types import DeviceId, UserId
from relay.auth import Authenticator, Peers, UnauthenticatedError
from relay.config import AuthConfig
from relay.keys import (
    SIGNING_KEY_FILE,
    KeyFileError,
    issue_token,
    load_or_create_signing_key,
    verification_keys,
)

NOW = 1_700_000_000
ALLOWED = AuthConfig().algorithms


def issued(key: OKPKey, **changed: object) -> str:
    settings: dict[str, object] = {
        "user": UserId("alice"),
        "device": DeviceId("phone"),
        "audience": "relay",
        "issuer": None,
        "issued_at": NOW,
        "lifetime_seconds": 60,
        **changed,
    }
    return issue_token(key, **settings)  # type: ignore[arg-type]


def write_key_set(path: Path, *keys: Key, **extra: object) -> Path:
    path.write_text(json.dumps({"keys": [key.as_dict(private=False, **extra) for key in keys]}))
    return path


# ── the relay's own key ──────────────────────────────────────────────────────────────────────


def test_the_first_start_makes_a_key_that_only_its_owner_can_read(tmp_path: Path) -> None:
    load_or_create_signing_key(tmp_path / "new")

    path = tmp_path / "new" / SIGNING_KEY_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_bytes()).keys() == {"kty", "crv", "x", "d", "kid", "alg"}
    assert list(path.parent.iterdir()) == [path]


def test_the_key_stays_the_same(tmp_path: Path) -> None:
    first, second = (load_or_create_signing_key(tmp_path) for _ in range(2))

    assert first.as_dict(private=True) == second.as_dict(private=True)
    assert first.kid == second.kid == first.thumbprint()


def test_all_who_start_at_once_get_the_same_key(tmp_path: Path) -> None:
    kids: set[str | None] = set()

    with ThreadPoolExecutor(20) as starters:
        for key in starters.map(load_or_create_signing_key, [tmp_path] * 20):
            kids.add(key.kid)

    assert len(kids) == 1
    assert list(tmp_path.iterdir()) == [tmp_path / SIGNING_KEY_FILE]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    load_or_create_signing_key(tmp_path)
    (tmp_path / SIGNING_KEY_FILE).chmod(mode)

    with pytest.raises(KeyFileError, match="chmod 600"):
        load_or_create_signing_key(tmp_path)


UNUSABLE = {
    "nothing": b"",
    "not JSON": b"-----BEGIN PRIVATE KEY-----",
    "a list": b"[]",
    "no key": b"{}",
    "a public key": json.dumps(OKPKey.generate_key("Ed25519").as_dict(private=False)).encode(),
    "a key of another curve": json.dumps(
        OKPKey.generate_key("X25519").as_dict(private=True)
    ).encode(),
    "a key of another kind": json.dumps(ECKey.generate_key("P-256").as_dict(private=True)).encode(),
    "half a key": b'{"kty":"OKP","crv":"Ed25519"}',
}


@pytest.mark.parametrize("content", UNUSABLE.values(), ids=UNUSABLE)
def test_what_is_no_signing_key_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / SIGNING_KEY_FILE
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(KeyFileError) as refused:
        load_or_create_signing_key(tmp_path)

    assert refused.value.what_to_do
    assert path.read_bytes() == content


def test_a_directory_that_cannot_be_made_is_an_error_for_people(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(KeyFileError, match="cannot be read or written"):
        load_or_create_signing_key(tmp_path / "file")


# ── tokens ───────────────────────────────────────────────────────────────────────────────────


def authenticator(own: OKPKey | None, jwks: Path | None = None) -> Authenticator:
    keys = verification_keys(own, jwks, ALLOWED)
    return Authenticator(keys, audience="relay", issuer=None, now_ms=lambda: NOW * 1_000)


def test_a_token_the_relay_issues_is_one_it_accepts(tmp_path: Path) -> None:
    key = load_or_create_signing_key(tmp_path)

    identity = authenticator(load_or_create_signing_key(tmp_path)).verify(
        issued(key, token_id="one", peers=["bob", "team-*"], issuer="me")
    )

    assert (identity.user, identity.device) == ("alice", "phone")
    assert identity.expires_at_ms == (NOW + 60) * 1_000
    assert identity.peers is not None
    assert identity.peers == Peers(frozenset({"bob"}), ("team-",))


def test_a_token_of_another_relay_is_refused(tmp_path: Path) -> None:
    other = load_or_create_signing_key(tmp_path / "other")

    with pytest.raises(UnauthenticatedError):
        authenticator(load_or_create_signing_key(tmp_path)).verify(issued(other))


# ── key sets ─────────────────────────────────────────────────────────────────────────────────


def test_keys_of_a_set_verify_beside_the_own_one(tmp_path: Path) -> None:
    own = load_or_create_signing_key(tmp_path)
    issuer = OKPKey.generate_key("Ed25519", {"kid": "issuer"})
    jwks = write_key_set(tmp_path / "jwks.json", issuer, RSAKey.generate_key(2048))
    both = authenticator(own, jwks)

    assert both.verify(issued(own)).user == "alice"
    assert both.verify(issued(issuer)).user == "alice"


def test_a_key_without_kid_is_known_by_its_thumbprint(tmp_path: Path) -> None:
    key = OKPKey.generate_key("Ed25519")
    public = {name: value for name, value in key.as_dict(private=False).items() if name != "kid"}
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [public]}))

    assert list(verification_keys(None, tmp_path / "jwks.json", ["Ed25519"])) == [key.thumbprint()]


def test_keys_nobody_may_sign_tokens_with_are_left_out(tmp_path: Path) -> None:
    good = OKPKey.generate_key("Ed25519", {"kid": "good"})
    members = [
        good.as_dict(private=False),
        ECKey.generate_key("P-256", {"kid": "encryption"}).as_dict(private=False, use="enc"),
        OctKey.generate_key(256, {"kid": "secret"}).as_dict(private=True),
        RSAKey.generate_key(2048, {"kid": "not allowed"}).as_dict(private=False),
        {"kty": "unheard of", "kid": "later"},
    ]
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": members}))

    assert list(verification_keys(None, tmp_path / "jwks.json", ALLOWED)) == ["good"]


def test_two_keys_of_one_kid_are_refused(tmp_path: Path) -> None:
    keys = [OKPKey.generate_key("Ed25519", {"kid": "same"}) for _ in range(2)]

    with pytest.raises(KeyFileError, match="same kid"):
        verification_keys(None, write_key_set(tmp_path / "jwks.json", *keys), ALLOWED)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"keys":{}}', b'{"keys":[7]}', b'{"keys":[{"kty":"OKP"}]}', b'"keys"'],
)
def test_what_is_no_key_set_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "jwks.json").write_bytes(content)

    with pytest.raises(KeyFileError) as refused:
        verification_keys(None, tmp_path / "jwks.json", ALLOWED)

    assert refused.value.what_to_do


def test_a_key_set_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be read"):
        verification_keys(None, tmp_path / "jwks.json", ALLOWED)


@pytest.mark.parametrize("algorithms", [["none"], ["HS256"], ["Ed25519", "HS512"], ["XX"], []])
def test_algorithms_that_prove_nothing_cannot_be_configured(algorithms: list[str]) -> None:
    with pytest.raises(KeyFileError, match="cannot be used"):
        verification_keys(OKPKey.generate_key("Ed25519"), None, algorithms)

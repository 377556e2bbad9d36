"""What `relay.auth` promises: only a sound token speaks for anyone, and failures look alike."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from actors.surroundings import CLOCK_SKEW_SECONDS
from ksmp.types import DeviceId, TimeMs, UserId
from relay.auth import (
    FAILURE_SECONDS,
    MAX_TOKEN_BYTES,
    Authenticator,
    Identity,
    Peers,
    UnauthenticatedError,
    VerificationKey,
    usable_algorithms,
)
from relay.config import AuthConfig

NOW = 1_700_000_000
LAST_SECOND = (2**53 - 1) // 1_000
ALLOWED = frozenset(AuthConfig().algorithms)
ED25519 = OKPKey.generate_key("Ed25519", {"kid": "ed"})
P256 = ECKey.generate_key("P-256", {"kid": "ec"})
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
STRANGER = OKPKey.generate_key("Ed25519", {"kid": "ed"})
CLAIMS = {"sub": "alice", "device": "phone", "aud": "relay", "iss": "issuer", "exp": NOW + 60}


def authenticator(
    *keys: Key, now: int = NOW, issuer: str | None = None, allowed: frozenset[str] = ALLOWED
) -> Authenticator:
    known = {
        str(key.kid): VerificationKey(key, usable_algorithms(key, allowed))
        for key in keys or (ED25519, P256, RSA)
    }
    return Authenticator(known, audience="relay", issuer=issuer, now_ms=lambda: now * 1_000)


def token(
    claims: dict[str, object] | None = None,
    *,
    key: Key = ED25519,
    alg: str = "Ed25519",
    header: dict[str, object] | None = None,
) -> str:
    header = {"alg": alg, "kid": key.kid, **(header or {})}
    return jwt.encode(header, claims or CLAIMS, key, algorithms=[alg])


def changed(**claims: object) -> dict[str, object]:
    """`CLAIMS` with some of them replaced, or (None) removed."""
    return {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}


def raw_token(header: object, claims: object, signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def signed_with_hmac_of(secret: bytes, header: dict[str, object]) -> str:
    signing_input = raw_token(header, CLAIMS).rpartition(".")[0]
    digest = hmac.new(secret, signing_input.encode(), hashlib.sha256).digest()
    return f"{signing_input}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def unencoded_token() -> str:
    """A token as RFC 7797 allows for other signatures, and forbids for tokens."""
    header = raw_token({"alg": "Ed25519", "kid": "ed", "b64": False, "crit": ["b64"]}, {})
    signing_input = f"{header.split('.')[0]}.{json.dumps(CLAIMS)}"
    private_key = ED25519.private_key
    assert isinstance(private_key, Ed25519PrivateKey)
    signature = private_key.sign(signing_input.encode())
    return f"{signing_input}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


# ── tokens that are accepted ─────────────────────────────────────────────────────────────────


def test_a_sound_token_gives_its_user_device_and_expiry() -> None:
    identity = authenticator().verify(token(changed(jti="token-1")))

    assert identity == Identity(
        UserId("alice"), DeviceId("phone"), TimeMs((NOW + 60) * 1_000), None, "token-1"
    )


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # by the library that signs here
@pytest.mark.parametrize(
    ("key", "alg"), [(ED25519, "Ed25519"), (ED25519, "EdDSA"), (P256, "ES256")]
)
def test_each_default_algorithm_is_accepted(key: Key, alg: str) -> None:
    assert authenticator().verify(token(key=key, alg=alg)).user == "alice"


def test_a_token_without_device_speaks_for_the_default_device() -> None:
    assert authenticator().verify(token(changed(device=None))).device == "default"


@pytest.mark.parametrize("aud", ["relay", ["relay"], ["other", "relay"]])
def test_audience_may_stand_alone_or_in_a_list(aud: object) -> None:
    assert authenticator().verify(token(changed(aud=aud))).user == "alice"


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_clock_skew_is_forgiven_up_to_its_limit(claim: str) -> None:
    at_limit = token(changed(**{claim: NOW + CLOCK_SKEW_SECONDS}))
    past_it = token(changed(**{claim: NOW + CLOCK_SKEW_SECONDS + 1}))

    assert authenticator().verify(at_limit).user == "alice"
    with pytest.raises(UnauthenticatedError, match="not_yet_valid"):
        authenticator().verify(past_it)


def test_a_token_is_valid_until_it_has_expired_by_more_than_the_clock_skew() -> None:
    expiring = token(changed(exp=NOW))
    end = NOW + CLOCK_SKEW_SECONDS

    assert authenticator(now=end - 1).verify(expiring).expires_at_ms == NOW * 1_000
    with pytest.raises(UnauthenticatedError, match="expired"):
        authenticator(now=end).verify(expiring)


def test_the_last_expiry_is_the_last_whose_milliseconds_fit_the_wire() -> None:
    identity = authenticator().verify(token(changed(exp=LAST_SECOND)))

    assert identity.expires_at_ms == LAST_SECOND * 1_000


def test_issuer_is_looked_at_only_where_one_is_configured() -> None:
    assert authenticator().verify(token(changed(iss="anyone"))).user == "alice"
    assert authenticator(issuer="issuer").verify(token()).user == "alice"
    for wrong in ("anyone", None, ["issuer"]):
        with pytest.raises(UnauthenticatedError, match="issuer"):
            authenticator(issuer="issuer").verify(token(changed(iss=wrong)))


# ── tokens that are not ──────────────────────────────────────────────────────────────────────

HEADER = {"alg": "Ed25519", "kid": "ed"}
PUBLIC_PEM = ED25519.as_pem(private=False)
PUBLIC_RAW = base64.urlsafe_b64decode(str(ED25519.as_dict(private=False)["x"]) + "=")

REFUSED = {
    "nothing": (None, "missing"),
    "empty": ("", "missing"),
    "not a token": ("hello", "undecodable"),
    "two parts": ("e30.e30", "undecodable"),
    "four parts": (token() + ".e30", "undecodable"),
    "not ASCII": (token()[:-1] + "é", "undecodable"),
    "padding": (token() + "=", "signature"),
    "longer than allowed": (token(changed(jti="x" * MAX_TOKEN_BYTES)), "too_long"),
    "header is a list": (raw_token(["alg"], CLAIMS), "undecodable"),
    "header is a text": (raw_token("alg", CLAIMS), "undecodable"),
    "header nested too deep": (
        base64.urlsafe_b64encode(b"[" * 350).decode().rstrip("=") + ".e30.AAAA",
        "undecodable",
    ),
    "alg none": (raw_token({"alg": "none", "kid": "ed"}, CLAIMS), "algorithm"),
    "alg none, no key": (raw_token({"alg": "none"}, CLAIMS), "key"),
    "alg is a list": (raw_token({"alg": ["Ed25519"], "kid": "ed"}, CLAIMS), "algorithm"),
    "HS256 with the public key as PEM": (
        signed_with_hmac_of(PUBLIC_PEM, {"alg": "HS256", "kid": "ed"}),
        "algorithm",
    ),
    "HS256 with the public key's bytes": (
        signed_with_hmac_of(PUBLIC_RAW, {"alg": "HS256", "kid": "ed"}),
        "algorithm",
    ),
    "an algorithm that is not allowed": (token(key=RSA, alg="RS256"), "algorithm"),
    "the algorithm of another key": (raw_token({"alg": "ES256", "kid": "ed"}, CLAIMS), "algorithm"),
    "no kid": (raw_token({"alg": "Ed25519"}, CLAIMS), "key"),
    "unknown kid": (token(key=OKPKey.generate_key("Ed25519", {"kid": "new"})), "key"),
    "kid is a number": (raw_token({"alg": "Ed25519", "kid": 1}, CLAIMS), "key"),
    "someone else's key under the same kid": (token(key=STRANGER), "signature"),
    "claims changed after signing": (
        token().replace(token().split(".")[1], raw_token({}, changed(sub="eve")).split(".")[1]),
        "signature",
    ),
    "signature of nothing": (raw_token(HEADER, CLAIMS), "signature"),
    "unencoded payload, well signed": (unencoded_token(), "signature"),
    "unknown critical header": (
        raw_token({**HEADER, "crit": ["x"], "x": 1}, CLAIMS, bytes(64)),
        "undecodable",
    ),
    "no audience": (token(changed(aud=None)), "audience"),
    "wrong audience": (token(changed(aud="relay2")), "audience"),
    "wrong audiences": (token(changed(aud=["other", 1, None])), "audience"),
    "empty list of audiences": (token(changed(aud=[])), "audience"),
    "no exp": (token(changed(exp=None)), "claims"),
    "exp in the past": (token(changed(exp=NOW - CLOCK_SKEW_SECONDS)), "expired"),
    "exp 10^18": (token(changed(exp=10**18)), "claims"),
    "exp whose milliseconds do not fit": (token(changed(exp=LAST_SECOND + 1)), "claims"),
    "exp negative": (token(changed(exp=-1)), "claims"),
    "exp is a text": (token(changed(exp=str(NOW + 60))), "claims"),
    "exp is a fraction": (token(changed(exp=NOW + 60.5)), "claims"),
    "exp is true": (token(changed(exp=True)), "claims"),
    "nbf ahead": (token(changed(nbf=NOW + 3_600)), "not_yet_valid"),
    "nbf is a text": (token(changed(nbf="now")), "claims"),
    "iat ahead": (token(changed(iat=NOW + 3_600)), "not_yet_valid"),
    "no sub": (token(changed(sub=None)), "claims"),
    "sub is a number": (token(changed(sub=7)), "claims"),
    "sub is no identifier": (token(changed(sub="al ice")), "claims"),
    "sub too long": (token(changed(sub="a" * 129)), "claims"),
    "device is no identifier": (token(changed(device="")), "claims"),
    "device is a number": (token(changed(device=7)), "claims"),
    "peers is a text": (token(changed(peers="bob")), "claims"),
    "peers holds a number": (token(changed(peers=["bob", 7])), "claims"),
    "jti is a number": (token(changed(jti=7)), "claims"),
}


@pytest.mark.parametrize(("refused", "reason"), REFUSED.values(), ids=REFUSED)
def test_an_unsound_token_speaks_for_nobody(refused: str | None, reason: str) -> None:
    with pytest.raises(UnauthenticatedError) as raised:
        authenticator().verify(refused)

    assert raised.value.reason == reason
    assert str(raised.value) == reason


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_verifying_for_an_older_issuer_warns_of_nothing(recwarn: pytest.WarningsRecorder) -> None:
    signed = token(alg="EdDSA")
    recwarn.clear()

    authenticator().verify(signed)

    assert [str(warning.message) for warning in recwarn] == []


def test_claims_that_are_no_object_are_refused() -> None:
    from joserfc import jws

    listed = jws.serialize_compact(HEADER, b'["sub"]', ED25519, algorithms=["Ed25519"])

    with pytest.raises(UnauthenticatedError, match="claims"):
        authenticator().verify(listed)


def test_a_symmetric_key_fits_no_algorithm() -> None:
    secret = OctKey.generate_key(256, {"kid": "oct"})

    assert usable_algorithms(secret, frozenset({"HS256", "none", "Ed25519"})) == frozenset()


def test_a_key_made_for_one_algorithm_fits_no_other() -> None:
    key = RSAKey.generate_key(2048, {"kid": "rsa", "alg": "PS256"})

    assert usable_algorithms(key, frozenset({"RS256", "PS256"})) == {"PS256"}


@pytest.mark.trio
async def test_every_failure_takes_the_same_time(autojump_clock: trio.testing.MockClock) -> None:
    known = authenticator()

    for refused, _ in REFUSED.values():
        began = trio.current_time()
        with pytest.raises(UnauthenticatedError):
            await known.authenticate(refused)
        assert trio.current_time() - began == pytest.approx(FAILURE_SECONDS)


@pytest.mark.trio
async def test_success_is_answered_at_once(autojump_clock: trio.testing.MockClock) -> None:
    began = trio.current_time()

    assert (await authenticator().authenticate(token())).user == "alice"
    assert trio.current_time() == began


# ── peers ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("peers", "recipient", "allowed"),
    [
        (None, "anyone", True),
        ([], "bob", False),
        (["bob"], "bob", True),
        (["bob"], "bobby", False),
        (["bob"], "Bob", False),
        (["team-*"], "team-1", True),
        (["team-*"], "team-", True),
        (["team-*"], "team", False),
        (["carol", "team-*"], "carol", True),
        (["*"], "anyone", True),
        (["te*am"], "team", False),
    ],
)
def test_peers_decide_whom_a_user_may_write_to(
    peers: list[str] | None, recipient: str, allowed: bool
) -> None:
    identity = authenticator().verify(token(changed(peers=peers)))

    assert identity.may_write_to(UserId(recipient)) is allowed
    assert isinstance(identity.peers, Peers) is (peers is not None)


# ── tokens that are revoked ──────────────────────────────────────────────────────────────────


async def test_a_revoked_identity_is_refused_when_and_as_any_other_failure_is(
    autojump_clock: trio.testing.MockClock,
) -> None:
    revoked: set[str | None] = {"token-1"}
    key = VerificationKey(ED25519, usable_algorithms(ED25519, ALLOWED))
    guarded = Authenticator(
        {"ed": key},
        audience="relay",
        issuer=None,
        now_ms=lambda: NOW * 1_000,
        is_revoked=lambda identity: identity.token_id in revoked,
    )
    other = await guarded.authenticate(token(changed(jti="token-2")))
    began = trio.current_time()
    with pytest.raises(UnauthenticatedError) as refused:
        await guarded.authenticate(token(changed(jti="token-1")))

    assert other.token_id == "token-2"
    assert refused.value.reason == "revoked"
    assert trio.current_time() - began == FAILURE_SECONDS
    with pytest.raises(UnauthenticatedError):
        guarded.verify(token(changed(jti="token-1")))
    revoked.clear()
    assert guarded.verify(token(changed(jti="token-1"))).token_id == "token-1"

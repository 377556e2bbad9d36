"""Auth: whose signature a token has, by which algorithm and key, and what else its header says."""

from __future__ import annotations

from typing import Final

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.edge import tokens
from tests.edge.answers import refused
from tests.edge.case import Case
from tests.edge.handshake_tokens import (
    ALL_KINDS,
    AUTH,
    TOKEN,
    accept,
    all_get_401,
    bearer,
    refuse,
)
from tests.edge.relays import CANARY
from tests.edge.requests import switched
from tests.edge.stage import Stage
from tests.edge.tokens import MakeToken, with_claims, with_header


def _pem(public: bytes) -> bytes:
    key = Ed25519PublicKey.from_public_bytes(public)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _unsigned(algorithm: object) -> MakeToken:
    def make(stage: Stage) -> str:
        return tokens.signed_by(lambda _: b"", stage.claims(), alg=algorithm)

    return make


SIGNATURES: Final = [
    refuse("alg `none`, in any case", *map(_unsigned, ("none", "None", "NONE", "nOnE"))),
    refuse("alg `none` over a good signature", with_header(alg="none")),
    refuse(
        "alg missing, empty, or no string",
        tokens.without_header("alg"),
        *(with_header(alg=alg) for alg in ("", None, 5, ["EdDSA"], {"EdDSA": 1})),
    ),
    refuse("alg in other letters", with_header(alg="eddsa"), with_header(alg="EDDSA")),
    refuse(
        "HS256, HS384, HS512 with the public key: raw, PEM, base64",
        *(
            tokens.by_hmac(algorithm, secret)
            for algorithm in ("HS256", "HS384", "HS512")
            for secret in (bytes, _pem, lambda raw: tokens.b64(raw).encode())
        ),
        tokens.by_hmac("HS256", bytes, kid="ec"),
    ),
    refuse(
        "a key of the wrong type: an Ed25519 key for ES256, a P-256 key for EdDSA",
        with_header(alg="ES256"),
        tokens.by_p256(alg="ES256"),
        tokens.by_p256(alg="EdDSA", kid="ec"),
        with_header(kid="ec"),
    ),
    refuse(
        "algorithms that are not allowed: RS256, PS256, ES384, ES256K, Ed448",
        *(with_header(alg=alg) for alg in ("RS256", "PS256", "ES384", "ES256K", "Ed448")),
        tokens.by_p256(alg="ES256K", kid="ec"),
    ),
    refuse("an unknown kid", *(with_header(kid=kid) for kid in (CANARY, "ED", "ed ", "", "*"))),
    refuse(
        "a kid that is a path or a query",
        *(with_header(kid=kid) for kid in ("../ed", "/dev/null", "ed' OR '1'='1", "ed\0")),
    ),
    refuse(
        "no kid, or one that is no string",
        tokens.without_header("kid"),
        *(with_header(kid=kid) for kid in ALL_KINDS),
    ),
    refuse("a stranger's signature under a trusted kid", tokens.by_stranger()),
    refuse(
        "a stranger's signature, and the stranger's key in `jwk`",
        tokens.by_stranger(jwk=tokens.strangers_jwk()),
        tokens.by_stranger(jwk=tokens.strangers_jwk(), kid=CANARY),
    ),
    refuse(
        "a signature with a bit changed, cut short, drawn out, empty, of zeros",
        tokens.changed_signature(lambda raw: bytes([raw[0] ^ 1]) + raw[1:]),
        tokens.changed_signature(lambda raw: raw[:-1] + bytes([raw[-1] ^ 0x80])),
        tokens.changed_signature(lambda raw: raw[:-1]),
        tokens.changed_signature(lambda raw: raw + b"\0"),
        tokens.changed_signature(lambda raw: b""),
        tokens.changed_signature(lambda raw: bytes(len(raw))),
    ),
    refuse("the claims of another good token", tokens.exchanged),
    refuse(
        "`crit`, whatever it names",
        *(with_header(crit=crit) for crit in (["exp"], ["b64"], [CANARY], [], "exp", None)),
        with_header(crit=["exp"], exp=2**40),
    ),
    refuse(
        "`b64`, true and false",
        *(with_header(b64=value) for value in (True, False, None)),
        with_header(b64=False, crit=["b64"]),
    ),
    accept(
        "other header fields: `typ`, `cty`, `jwk`, `x5c`, unknown ones",
        with_header(typ="JWT", cty="JWT"),
        with_header(jwk=tokens.strangers_jwk(), x5c=[CANARY], x=CANARY),
    ),
    accept(
        "EdDSA, Ed25519, ES256",
        with_claims(),
        with_header(alg="Ed25519"),
        tokens.by_p256(alg="ES256", kid="ec"),
    ),
]


async def _fetched_keys(stage: Stage) -> None:
    """Nothing in a token makes the relay open a connection."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/{CANARY}"
        shown = [
            tokens.by_stranger(**{name: url}, kid=kid)(stage)
            for name in ("jku", "x5u")
            for kid in (tokens.KID, url)
        ]
        await all_get_401(stage, [[bearer(token)] for token in shown])
        for name in ("jku", "x5u"):
            async with stage.line() as line:
                await line.send(stage.request(with_header(**{name: url})(stage)))
                await (await switched(stage, line)).still_works()
        with trio.move_on_after(0) as waited:
            await listener.accept()
        assert waited.cancelled_caught, "the relay has fetched what a token names"


CASES: Final[list[Case]] = [
    *SIGNATURES,
    Case(
        AUTH,
        "`jku`, `x5u` with a stranger's or a good signature",
        TOKEN,
        f"{refused('unauthenticated')}, or passed over; nothing is fetched",
        _fetched_keys,
        is_handshake=True,
    ),
]

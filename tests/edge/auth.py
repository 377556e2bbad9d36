"""Auth: tokens that speak for nobody, and the one answer that all of them get."""

from __future__ import annotations

import base64
import json
import time
from typing import Final

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
    item,
    refuse,
)
from tests.edge.refresh import CASES as REFRESH_CASES
from tests.edge.refresh import WAITING
from tests.edge.relays import CANARY, ISSUER
from tests.edge.requests import SWITCHED, switched
from tests.edge.signatures import CASES as SIGNATURE_CASES
from tests.edge.stage import Stage
from tests.edge.tokens import MakeToken, with_claims, without_claim
from tests.wire.credentials import AUDIENCE


def _in(seconds: float) -> int:
    return int(time.time() + seconds)


# ── how it is shown ──────────────────────────────────────────────────────────────────────────


async def _not_exactly_one(stage: Stage) -> None:
    good, other = stage.token(), stage.token(stage.fresh("other"))
    await all_get_401(
        stage,
        [
            [bearer(good), bearer(good)],
            [bearer(good), bearer(other)],
            [bearer(good), item(good)],
            [bearer(good), item("")],
            [item(good), item(good)],
            [(item(good)[0], b", ".join([item(good)[1], item(other)[1]]))],
            [bearer(f"{good} {other}")],
            [bearer(f"{good}, Bearer {other}")],
        ],
    )


async def _another_scheme(stage: Stage) -> None:
    token = stage.token().encode()
    basic = base64.b64encode(f"{stage.user}:{CANARY}".encode())
    values = [
        b"",
        b"Bearer",
        b"Bearer ",
        token,
        b"Basic " + basic,
        b"Token " + token,
        b"DPoP " + token,
        b"Bearer=" + token,
        b"Bearer:" + token,
        b"Digest username=" + stage.user.encode(),
    ]
    await all_get_401(stage, [[(b"Authorization", value)] for value in values])


async def _scheme_in_any_case(stage: Stage) -> None:
    for scheme in (b"bearer", b"BEARER", b"bEaReR"):
        async with stage.line() as line:
            header = (b"Authorization", scheme + b" " + stage.token().encode())
            await line.send(stage.request("", extra=[header]))
            await (await switched(stage, line)).still_works()


async def _no_token(stage: Stage) -> None:
    await all_get_401(stage, [[], [(b"X-Authorization", bearer(stage.token())[1])]])


SHOWN: Final = [
    Case(AUTH, "no token", TOKEN, refused("unauthenticated"), _no_token, is_handshake=True),
    Case(
        AUTH,
        "two tokens, in whichever of the two places",
        TOKEN,
        refused("unauthenticated"),
        _not_exactly_one,
        is_handshake=True,
    ),
    Case(
        AUTH,
        "`Basic`, `Digest`, another or no scheme, `Bearer` alone",
        TOKEN,
        refused("unauthenticated"),
        _another_scheme,
        is_handshake=True,
    ),
    Case(
        AUTH,
        "`bearer` in any case",
        TOKEN,
        SWITCHED,
        _scheme_in_any_case,
        is_handshake=True,
    ),
]


# ── what it claims ───────────────────────────────────────────────────────────────────────────


def _each(claim: str, *values: object) -> list[MakeToken]:
    return [with_claims(**{claim: value}) for value in values]


_NO_NAMES: Final[tuple[object, ...]] = (
    *("", "m" * 129, f"{CANARY} x", f"{CANARY}\0", f"{CANARY}\n", f"{CANARY}é", f"{CANARY}%00"),
    *ALL_KINDS,
)
_NO_TIMES: Final[tuple[object, ...]] = (
    *(None, "", str(2**31), True, [], {}, -1, 10**18, 2**64, 2**31 + 0.5, 2.0**31),
)


def _payload(text: str) -> MakeToken:
    """The issuer's signature under a payload that is not what claims are."""
    return tokens.issued(text.encode())


def _long_exp(stage: Stage) -> str:
    text = json.dumps(stage.claims() | {"exp": CANARY}).replace(f'"{CANARY}"', "9" * 5_000)
    return tokens.signed_by(stage.issuer.signature, text.encode())


CLAIMS: Final = [
    refuse("no sub, or one that is no identifier", without_claim("sub"), *_each("sub", *_NO_NAMES)),
    refuse("a device that is no identifier", *_each("device", *_NO_NAMES)),
    refuse(
        "a wrong aud, or none",
        without_claim("aud"),
        *_each("aud", "elsewhere", "", AUDIENCE.upper(), AUDIENCE + "x", *ALL_KINDS),
        *_each("aud", ["elsewhere"], [[AUDIENCE]], {AUDIENCE: 1}),
    ),
    refuse(
        "a wrong iss, or none, where one is configured",
        without_claim("iss"),
        *_each("iss", "elsewhere", "", ISSUER + "/", ISSUER.upper(), [ISSUER], *ALL_KINDS),
    ),
    refuse(
        "no exp, or one that is no whole second", without_claim("exp"), *_each("exp", *_NO_TIMES)
    ),
    refuse("an exp of 10¹⁸, 2⁵³, 5,000 digits", *_each("exp", 10**18, 2**53), _long_exp),
    refuse("expired, beyond the skew", lambda stage: stage.token(exp=_in(-31)), *_each("exp", 0)),
    refuse(
        "an nbf or iat that is no whole second",
        *(make for claim in ("nbf", "iat") for make in _each(claim, *_NO_TIMES)),
    ),
    refuse(
        "an nbf or iat ahead, beyond the skew",
        lambda stage: stage.token(nbf=_in(60)),
        lambda stage: stage.token(iat=_in(60)),
    ),
    refuse(
        "`peers` of the wrong kind",
        *_each("peers", None, CANARY, "*", 5, True, {CANARY: 1}, [5], [None], [CANARY, [CANARY]]),
    ),
    refuse("a jti that is no string", *_each("jti", *ALL_KINDS)),
    refuse(
        "a payload that is no JSON object",
        *map(_payload, ("", "null", "[]", "5", f'"{CANARY}"', "{", "[{}]", "{}{}", "\ufeff{}")),
        tokens.issued(b"\xff\xfe"),
    ),
    refuse(
        "claims nested 2,000 deep",
        lambda stage: stage.token(exp=_nested(1_000)),
        _payload("[" * 2_000),
        _payload('{"x":' * 1_000),
    ),
    refuse(
        "a claim twice, the last one bad",
        lambda stage: tokens.signed_by(
            stage.issuer.signature, tokens.claims_twice(stage.claims(), "sub", "a b")
        ),
    ),
    accept(
        "expired, nbf and iat ahead, within the skew",
        lambda stage: stage.token(exp=_in(-5)),
        lambda stage: stage.token(nbf=_in(15), iat=_in(15)),
    ),
    accept(
        "aud in a list, a jti, an exp of the year 10000, unknown claims",
        *_each("aud", ["elsewhere", AUDIENCE]),
        *_each("jti", CANARY),
        *_each("exp", 253_402_300_800),
        *_each("email", {"x": [CANARY, None, 1.5]}),
    ),
]


def _nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth // 2):
        value = [value]
    return value


# ── what it looks like ───────────────────────────────────────────────────────────────────────


SHAPES: Final = [
    refuse(
        "not three parts, empty parts, no base64",
        *(
            lambda _, text=text: text  # type: ignore[misc]
            for text in (CANARY, f"{CANARY}.", ".", "..", "...", f"{CANARY}.{CANARY}.{CANARY}")
        ),
        tokens.rewritten(lambda token: token.rpartition(".")[0]),
        tokens.rewritten(lambda token: token + "."),
        tokens.rewritten(lambda token: f"{token}.{CANARY}"),
        tokens.rewritten(lambda token: "." + token),
        tokens.rewritten(lambda token: token.replace(".", ".!", 1)),
        tokens.rewritten(lambda token: token.replace(".", "..")),
    ),
    refuse(
        "parts with padding, stray bits, white space, `!`, or in the other alphabet",
        tokens.rewritten(lambda token: token + "=="),
        tokens.rewritten(lambda token: token.replace(".", "=.", 1)),
        tokens.rewritten(lambda token: token.replace(".", " .", 1)),
        tokens.rewritten(lambda token: token[:-9] + "!" + token[-9:]),
        tokens.with_stray_bits,
        tokens.in_other_alphabet,
    ),
    refuse(
        "a header that is no JSON object",
        *(
            lambda stage, text=text: f"{tokens.b64(text)}.{stage.token().partition('.')[2]}"  # type: ignore[misc]
            for text in (b"", b"null", b"[]", b"5", b'"EdDSA"', b"{", b"\xff", b"[" * 2_000)
        ),
    ),
    refuse(
        "a JWE",
        lambda _: ".".join(
            tokens.b64(part)
            for part in (b'{"alg":"dir","enc":"A256GCM","kid":"ed"}', b"", *[b"x" * 12] * 3)
        ),
    ),
    refuse(
        "a token within a token",
        lambda stage: tokens.issued(stage.token().encode(), cty="JWT")(stage),
        lambda stage: tokens.issued(stage.token(), cty="JWT")(stage),
    ),
    refuse(
        "JSON serialisation instead of the compact one",
        lambda stage: '{{"protected":"{}","payload":"{}","signature":"{}"}}'.format(
            *stage.token().split(".")
        ),
    ),
    refuse(
        "a token of 8,193 bytes, one of 12 KB",
        tokens.of_length(tokens.MAX_TOKEN_BYTES + 1),
        lambda stage: stage.token(padding="x" * 9_000),
    ),
    accept("a token of 8,192 bytes", tokens.of_length(tokens.MAX_TOKEN_BYTES)),
]

CASES: Final[list[Case]] = [*SHOWN, *SIGNATURE_CASES, *CLAIMS, *SHAPES, *REFRESH_CASES, *WAITING]

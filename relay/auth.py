"""Who a token speaks for: JWT (RFC 7519), verified with keys known beforehand.

Everything about a token is checked before anything of it is believed: its size, its algorithm
(one of those allowed, and one that its key is for), its signature, then every claim:

    sub     the user                      required, an identifier
    device  the device                    an identifier; `default` where absent
    exp     seconds since the epoch       required; not in the past   ┐ but for 30 s
    nbf iat seconds since the epoch       not in the future           ┘ of clock skew
    aud     the relay's audience          required, alone or in a list
    iss     the issuer                    as configured; not looked at where none is
    peers   whom the user may write to    a list; an entry ending in * is a prefix
    jti     the token's own id            a text; it can be revoked by it

There is one failure, `UnauthenticatedError`. Its reason is for the operator's log; a peer sees the
same answer after the same time whatever it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import trio
from joserfc.jwk import Key
from joserfc.jws import JWSRegistry, extract_compact, validate_compact
from msgspec import json

from actors.surroundings import CLOCK_SKEW_SECONDS
from ksmp.types import MAX_INTEGER, DeviceId, TimeMs, UserId, is_identifier

if TYPE_CHECKING:
    from joserfc._rfc7515.model import JWSAlgModel  # exported nowhere else

DEFAULT_DEVICE: Final = DeviceId("default")
MAX_TOKEN_BYTES: Final = 8_192
FAILURE_SECONDS: Final = 0.025
"""When a failure is answered, counted from the start: well after the slowest verification."""

Reason = Literal[
    "missing", "too_long", "undecodable", "algorithm", "key", "signature", "claims", "audience",
    "issuer", "expired", "not_yet_valid", "revoked",
]  # fmt: skip


class UnauthenticatedError(Exception):
    """The token speaks for nobody. `reason` is a constant word and holds nothing of the token."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Final = reason


@dataclass(frozen=True, slots=True)
class Peers:
    """Whom a user may write to: these users, and all whose id begins with one of the prefixes."""

    users: frozenset[str]
    prefixes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """What a valid token says. `peers` None: the user may write to anyone.

    `expires_at_ms` may be past already, by less than the clock skew.
    """

    user: UserId
    device: DeviceId
    expires_at_ms: TimeMs
    peers: Peers | None
    token_id: str | None = None

    def may_write_to(self, recipient: UserId) -> bool:
        """Whether the token allows sending to this user."""
        peers = self.peers
        return peers is None or recipient in peers.users or recipient.startswith(peers.prefixes)


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key and the algorithms that tokens signed with it may name."""

    key: Key
    algorithms: frozenset[str]


class Authenticator:
    """Turns tokens into identities. Takes about 0.1 ms of the event loop for each."""

    def __init__(
        self,
        keys: Mapping[str, VerificationKey],
        *,
        audience: str,
        issuer: str | None,
        now_ms: Callable[[], int],
        is_revoked: Callable[[Identity], bool] = lambda _identity: False,
    ) -> None:
        """`keys` by their `kid`; `now_ms` is the wall clock; `is_revoked` is asked last."""
        self._keys = dict(keys)
        self._audience = audience
        self._issuer = issuer
        self._now_ms = now_ms
        self._is_revoked = is_revoked

    async def authenticate(self, token: str | None) -> Identity:
        """The identity at once, or a failure whose time says nothing about its reason.

        Raises:
            UnauthenticatedError: always `FAILURE_SECONDS` after the call.
        """
        answer_at = trio.current_time() + FAILURE_SECONDS
        try:
            return self.verify(token)
        except UnauthenticatedError as error:
            failure = error
        await trio.sleep_until(answer_at)
        raise failure

    def verify(self, token: str | None) -> Identity:
        """The identity a token gives now.

        Raises:
            UnauthenticatedError: it gives none.
        """
        if not token:
            raise UnauthenticatedError("missing")
        if len(token) > MAX_TOKEN_BYTES:
            raise UnauthenticatedError("too_long")
        try:
            claims = self._signed_claims(token)
        except UnauthenticatedError:
            raise
        except Exception:  # noqa: BLE001
            # Whatever a decoder raises over hostile bytes is a token that does not verify; it must
            # not become distinguishable from any other.
            raise UnauthenticatedError("undecodable") from None
        self._check_times(claims)
        self._check_parties(claims)
        identity = _identity(claims)
        if self._is_revoked(identity):
            raise UnauthenticatedError("revoked")
        return identity

    def _signed_claims(self, token: str) -> dict[str, object]:
        signed = extract_compact(token.encode("ascii"), registry=_REGISTRY)
        header = signed.headers()
        kid, algorithm = header.get("kid"), header.get("alg")
        known = self._keys.get(kid) if isinstance(kid, str) else None
        if known is None:
            raise UnauthenticatedError("key")
        if not isinstance(algorithm, str) or algorithm not in known.algorithms:
            raise UnauthenticatedError("algorithm")
        if not validate_compact(signed, known.key, registry=_REGISTRY):
            raise UnauthenticatedError("signature")
        # `crit` names what must be understood. No extension is, so not even an empty list passes.
        if "b64" in header or "crit" in header:
            raise UnauthenticatedError("signature")
        claims = json.decode(signed.payload)
        if not isinstance(claims, dict):
            raise UnauthenticatedError("claims")
        return claims

    def _check_times(self, claims: dict[str, object]) -> None:
        now_seconds = self._now_ms() / 1_000
        if _integer(claims.get("exp")) + CLOCK_SKEW_SECONDS <= now_seconds:
            raise UnauthenticatedError("expired")
        for name in ("nbf", "iat"):
            if name in claims and _integer(claims[name]) > now_seconds + CLOCK_SKEW_SECONDS:
                raise UnauthenticatedError("not_yet_valid")

    def _check_parties(self, claims: dict[str, object]) -> None:
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if self._audience not in audiences:
            raise UnauthenticatedError("audience")
        if self._issuer is not None and claims.get("iss") != self._issuer:
            raise UnauthenticatedError("issuer")


class _JudgedRegistry(JWSRegistry):
    """The library's registry, asked only for algorithms that have been judged.

    It would warn, on stderr and once, of issuers that still say `EdDSA`: that is the operator's
    decision, made in the list of algorithms.
    """

    def get_alg(self, name: str) -> JWSAlgModel:
        """The algorithm of this name."""
        return self.algorithms[name]


_REGISTRY: Final = _JudgedRegistry(strict_check_header=False)
_SUPPORTED: Final = tuple(
    name for name in JWSRegistry.algorithms if name != "none" and not name.startswith("HS")
)


def usable_algorithms(key: Key, allowed: frozenset[str]) -> frozenset[str]:
    """Those of the allowed algorithms that fit the key; never a symmetric one, never `none`."""
    fitting = JWSRegistry.filter_algorithms(key, [name for name in _SUPPORTED if name in allowed])
    names = frozenset(algorithm.name for algorithm in fitting)
    designated = key.get("alg")
    if designated is None:
        return names
    # Issuers older than RFC 9864 say `EdDSA` where newer ones say `Ed25519`: one algorithm.
    same = {"EdDSA", "Ed25519"} if designated in ("EdDSA", "Ed25519") else {str(designated)}
    return names & same


def _integer(claim: object) -> int:
    """A time that fits the wire once it is in milliseconds."""
    if not isinstance(claim, int) or isinstance(claim, bool):
        raise UnauthenticatedError("claims")
    if not 0 <= claim <= MAX_INTEGER // 1_000:
        raise UnauthenticatedError("claims")
    return claim


def _identity(claims: dict[str, object]) -> Identity:
    user, device = claims.get("sub"), claims.get("device", DEFAULT_DEVICE)
    if not isinstance(user, str) or not is_identifier(user):
        raise UnauthenticatedError("claims")
    if not isinstance(device, str) or not is_identifier(device):
        raise UnauthenticatedError("claims")
    token_id = claims.get("jti")
    if not isinstance(token_id, str) and "jti" in claims:
        raise UnauthenticatedError("claims")
    return Identity(
        UserId(user),
        DeviceId(device),
        TimeMs(_integer(claims["exp"]) * 1_000),
        _peers(claims["peers"]) if "peers" in claims else None,
        token_id if isinstance(token_id, str) else None,
    )


def _peers(claim: object) -> Peers:
    if not isinstance(claim, list) or not all(isinstance(entry, str) for entry in claim):
        raise UnauthenticatedError("claims")
    return Peers(
        frozenset(entry for entry in claim if not entry.endswith("*")),
        tuple(entry[:-1] for entry in claim if entry.endswith("*")),
    )

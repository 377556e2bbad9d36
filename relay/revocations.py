"""Who is let in no more, whatever valid token they show: what the operator has revoked.

    user                       every device and every token of the user
    user, device               that device, whatever its token
    user, token id             that token (its `jti`), whatever its device
    user, device, token id     that token on that device

All that is given must fit. A revocation refuses tokens issued after it as well: an issuer that has
not heard of it would else undo it with its next token. So it is kept until it is lifted.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final, NamedTuple

from ksmp.types import DeviceId, UserId

if TYPE_CHECKING:  # the command that revokes has no need of all that reads tokens
    from relay.auth import Identity

MAX_TOKEN_ID_LENGTH: Final = 512


class Revocation(NamedTuple):
    """What must fit for a token to be refused; None fits anything."""

    user: UserId
    device: DeviceId | None = None
    token_id: str | None = None


Revoked = Collection[tuple[UserId, DeviceId | None, str | None]]
"""Revocations as they are looked up: in a set, or as the keys of a dict."""


class Revocations:
    """Owns the revocations in force. A question takes the same time however many there are."""

    def __init__(self, in_force: Revoked) -> None:
        self._in_force = in_force

    def __len__(self) -> int:
        return len(self._in_force)

    def adopt(self, in_force: Revoked) -> None:
        """Put these in force in the place of all before."""
        self._in_force = in_force

    def cover(self, identity: Identity) -> bool:
        """Whether who holds this identity's token is to be let in no more."""
        in_force = self._in_force
        if not len(in_force):
            return False
        user, device, token_id = identity.user, identity.device, identity.token_id
        # Plain tuples are equal to a `Revocation` of the same values, and made faster.
        if (user, None, None) in in_force or (user, device, None) in in_force:
            return True
        if token_id is None:
            return False
        return (user, None, token_id) in in_force or (user, device, token_id) in in_force

"""What can go wrong for a client, by whose word it went wrong.

    ClientError
     ├── HandshakeRefusedError   the relay answered the upgrade with something else
     ├── RefusedError            the relay answered one call with a `ksmpv3.error`
     └── ConnectionLostError     the connection has ended; what was unanswered stays unknown

A relay that is not there at all is an `OSError`, one that does not answer a `TimeoutError`. No
message holds anything that a user, or a peer, has chosen.
"""

from __future__ import annotations

from ksmp.events import Error


class ClientError(Exception):
    """Anything a relay or the line to it did to us."""


class HandshakeRefusedError(ClientError):
    """There is no connection: the relay refused the upgrade.

    `status` is that of the answer, 0 where it was not HTTP. `error` is the relay's own, with
    `code`, `retryable`, `action`; None where whoever answered does not speak this protocol.
    """

    def __init__(self, status: int, error: Error | None) -> None:
        super().__init__(status, error)
        self.status = status
        self.error = error

    def __str__(self) -> str:
        return f"{self.status} {'' if self.error is None else self.error.code}".rstrip()


class RefusedError(ClientError):
    """The relay refused one call; the connection goes on.

    Unless `is_outcome_unknown`, the event was not stored.
    """

    def __init__(self, error: Error) -> None:
        super().__init__(error)
        self.error = error

    @property
    def is_outcome_unknown(self) -> bool:
        """Whether the event may be stored all the same: repeat it with the same key."""
        return self.error.code in ("outcome_unknown", "internal")

    def __str__(self) -> str:
        return self.error.code


class ConnectionLostError(ClientError):
    """The connection has ended. A send without an answer may or may not be stored.

    `close_code` is the one in the close frame (protocol section 4), None where the line broke or
    fell silent. `error` is the last notice the relay gave, which often says why: `draining`,
    `replaced`, `token_expired`.
    """

    def __init__(self, close_code: int | None, error: Error | None = None) -> None:
        super().__init__(close_code, error)
        self.close_code = close_code
        self.error = error

    def __str__(self) -> str:
        code = "without a close code" if self.close_code is None else f"with {self.close_code}"
        return f"ended {code}" + ("" if self.error is None else f", {self.error.code}")

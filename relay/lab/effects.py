"""What each action does at each place, in a sentence or two; `docs/failpoints.md` has the same.

A test tries each on a relay process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from storage.fault_orders import Action, Place

_EXIT: Final = "The process ends at once with `code`, as if killed."
_STOPS: Final = "The whole event loop stands still meanwhile: nobody is served."
_INTERNAL: Final = "That connection alone fails: `internal`, close 1011."

EFFECTS: Final[Mapping[Place, Mapping[Action, str]]] = {
    Place.ACCEPT: {
        Action.RAISE: "A bug in that connection's task: logged, and the socket is closed.",
        Action.DELAY: "That connection is met so much later; others are not held up.",
        Action.DROP: "The socket is closed without a word.",
        Action.EXIT: _EXIT,
    },
    Place.DECODE: {
        Action.RAISE: _INTERNAL,
        Action.DELAY: "That connection is not read meanwhile, and its clock of silence runs.",
        Action.DROP: "The message is as if it had never come.",
        Action.EXIT: _EXIT,
    },
    Place.ROUTE: {
        Action.RAISE: _INTERNAL,
        Action.DELAY: _STOPS,
        Action.DROP: "The send or read is lost before its mailbox and never answered.",
        Action.EXIT: _EXIT,
    },
    Place.NUMBER: {
        Action.RAISE: (
            "The conversation crashes and is restarted: quarantined if that goes on, a dead letter"
            " where one letter is to blame."
        ),
        Action.DELAY: "That conversation waits; others are not held up.",
        Action.DROP: (
            "The sends of that turn are thrown away and answered `outcome_unknown`; not stored."
        ),
        Action.EXIT: _EXIT,
    },
    Place.BEFORE_COMMIT: {
        Action.RAISE: "The transaction is aborted, the store has failed: the process ends with 74.",
        Action.DELAY: "A slow sync: all that is to be stored waits; replay goes on.",
        Action.DROP: "The transaction is aborted, as on a full disk: `storage_full`.",
        Action.EXIT: f"{_EXIT} Nothing of the transaction is stored.",
    },
    Place.AFTER_COMMIT: {
        Action.RAISE: (
            "All of the transaction is stored and answered `outcome_unknown`; the process ends"
            " with 74."
        ),
        Action.DELAY: "All of the transaction is stored, and answered so much later.",
        Action.DROP: (
            "All of the transaction is stored and answered `outcome_unknown`; recipients get it"
            " with the next record. The process goes on."
        ),
        Action.EXIT: f"{_EXIT} All of the transaction is stored, and nobody was told.",
    },
    Place.PUBLISH: {
        Action.RAISE: (
            "A bug in the callback of the commit: logged. Acknowledged; recipients get it with the"
            " next record."
        ),
        Action.DELAY: _STOPS,
        Action.DROP: "Acknowledged; recipients get it with the next record.",
        Action.EXIT: _EXIT,
    },
    Place.DELIVER: {
        Action.RAISE: _INTERNAL,
        Action.DELAY: _STOPS,
        Action.DROP: "What waits for that connection goes out when it is next written to.",
        Action.EXIT: _EXIT,
    },
    Place.ENCODE: {
        Action.RAISE: _INTERNAL,
        Action.DELAY: _STOPS,
        Action.DROP: (
            "The frame is never sent on that connection, which breaks the protocol: a gap."
        ),
        Action.EXIT: _EXIT,
    },
    Place.SEND: {
        Action.RAISE: _INTERNAL,
        Action.DELAY: _STOPS,
        Action.DROP: "The line is cut, as if the peer had gone.",
        Action.EXIT: _EXIT,
    },
}

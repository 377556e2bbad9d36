"""What an operator of a laboratory orders: which fault, where, how often, for whose letters.

An order is JSON, decoded strictly: `decode_order` says what is wrong with one that is none. What
each action does at each place is in `docs/failpoints.md`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from ksmp.types import ConversationKey, IdempotencyKey, conversation_key, is_identifier
from ksmp.types import WireConversationId as ConversationIdField
from ksmp.types import WireUserId as UserIdField

LONGEST_DELAY_SECONDS: Final = 60
MOST_CONVERSATIONS: Final = 1_024
"""Of one order."""

CHARACTERS: Final = "has 1 to 128 characters out of A-Z a-z 0-9 . _ ~ : @ + = / -"


class Place(StrEnum):
    """Where a fault can be ordered, in the order of a message's way."""

    ACCEPT = "accept"
    DECODE = "decode"
    ROUTE = "route"
    NUMBER = "number"
    BEFORE_COMMIT = "before_commit"
    AFTER_COMMIT = "after_commit"
    PUBLISH = "publish"
    DELIVER = "deliver"
    ENCODE = "encode"
    SEND = "send"


class Action(StrEnum):
    """What can be ordered at each of them."""

    RAISE = "raise"
    DELAY = "delay"
    DROP = "drop"
    EXIT = "exit"


OF_NO_CONVERSATION: Final = frozenset({Place.ACCEPT, Place.DECODE, Place.SEND})
"""What passes there is a connection, bytes not looked into yet, or bytes of several letters."""


class Letter(NamedTuple):
    """What an order can choose by: a conversation, and the key where a send is concerned."""

    conversation: ConversationKey
    key: IdempotencyKey | None


class InvalidOrderError(Exception):
    """This is no order. The text says why; it may quote what the operator wrote."""


class ConversationName(Struct, frozen=True, forbid_unknown_fields=True):
    """A conversation, by its id and its two users."""

    conversation_id: ConversationIdField
    users: tuple[UserIdField, UserIdField]

    def __post_init__(self) -> None:
        """Refuse what is no identifier."""
        if not all(map(is_identifier, (self.conversation_id, *self.users))):
            raise ValueError(f"an id {CHARACTERS}")

    @property
    def key(self) -> ConversationKey:
        """As the relay names it."""
        return conversation_key(self.conversation_id, *self.users)


ConversationHash = Annotated[str, Meta(pattern="^[0-9a-f]{12}$")]
"""A conversation, by the hash that the log of this process shows."""


class Order(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One fault at one place. What passes there and is chosen by all of it is hit."""

    place: Place
    action: Action
    seconds: Annotated[float, Meta(gt=0, le=LONGEST_DELAY_SECONDS)] | UnsetType = UNSET
    code: Annotated[int, Meta(ge=0, le=255)] = 1
    times: Annotated[int, Meta(ge=1, le=2**53)] | UnsetType = UNSET
    skip: Annotated[int, Meta(ge=0, le=2**53)] = 0
    probability: Annotated[float, Meta(gt=0, le=1)] = 1.0
    seed: Annotated[int, Meta(ge=0, le=2**53)] | UnsetType = UNSET
    conversations: (
        Annotated[
            tuple[ConversationName | ConversationHash, ...],
            Meta(min_length=1, max_length=MOST_CONVERSATIONS),
        ]
        | UnsetType
    ) = UNSET
    keys: Annotated[str, Meta(min_length=1, max_length=128)] | UnsetType = UNSET

    def __post_init__(self) -> None:
        """Refuse fields that say nothing beside the others: someone meant something by them."""
        if (self.action is Action.DELAY) != (self.seconds is not UNSET):
            raise ValueError("`seconds` belongs to a delay, and a delay needs it")
        if self.code != 1 and self.action is not Action.EXIT:
            raise ValueError("`code` belongs to an exit")
        if self.keys is not UNSET and not is_identifier(self.keys):
            raise ValueError(f"a key {CHARACTERS}, so none begins like `keys`")
        if self.seed is not UNSET and self.probability == 1.0:
            raise ValueError("`seed` belongs to a `probability` below 1")
        if self.place in OF_NO_CONVERSATION and self.chooses_letters:
            raise ValueError(
                f"{self.place} does not know whose letter it has: no `conversations`, no `keys`"
            )

    @property
    def chooses_letters(self) -> bool:
        """Whether it is for some conversations or keys only."""
        return self.conversations is not UNSET or self.keys is not UNSET


def decode_order(text: bytes | str) -> Order:
    """The order that this JSON is.

    Raises:
        InvalidOrderError: it is none.
    """
    try:
        return msgspec.json.decode(text, type=Order)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidOrderError(str(error) or type(error).__name__) from None

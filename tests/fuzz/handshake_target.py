"""Everything before the upgrade, four ways in; byte 0 says which, the rest is theirs.

0  a client's request, as the relay reads and judges it     request_target
1  a server's answer, as a client reads it                  answer_target
2  the addresses in X-Forwarded-For                         address_target
3  a token                                                  token_target
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.fuzz.address_target import address_target
from tests.fuzz.answer_target import answer_target
from tests.fuzz.promise import Choices
from tests.fuzz.request_target import request_target
from tests.fuzz.token_target import token_target

REQUEST: Final = 0
ANSWER: Final = 1
ADDRESS: Final = 2
TOKEN: Final = 3

_WAYS: Final[dict[int, Callable[[bytes], None]]] = {
    REQUEST: request_target,
    ANSWER: answer_target,
    ADDRESS: address_target,
    TOKEN: token_target,
}


def handshake_target(source: bytes) -> None:
    """Go one of the four ways."""
    choices = Choices(source)
    way = choices.below(len(_WAYS))
    _WAYS[way](choices.rest())

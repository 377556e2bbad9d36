"""Identifiers are 1 to 128 characters out of a plain alphabet; a conversation is its pair."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from ksmp.types import (
    IDENTIFIER_CHARACTERS,
    ConversationId,
    UserId,
    conversation_key,
    is_identifier,
)

PATTERN = re.compile(r"[A-Za-z0-9._~:@+=/-]{1,128}")


@given(st.text(max_size=140) | st.text(IDENTIFIER_CHARACTERS.decode(), max_size=140))
def test_an_identifier_is_what_the_protocol_says(text: str) -> None:
    assert is_identifier(text) == bool(PATTERN.fullmatch(text))


def test_a_conversation_is_the_same_whoever_is_named_first() -> None:
    talk, alice, bob = ConversationId("talk"), UserId("alice"), UserId("bob")

    assert conversation_key(talk, alice, bob) == conversation_key(talk, bob, alice)
    assert conversation_key(talk, alice, bob) != conversation_key(talk, alice, alice)
    assert conversation_key(talk, alice, bob)[1:] == ("alice", "bob")

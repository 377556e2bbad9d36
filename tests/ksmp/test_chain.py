"""The chain's values are those of the formula, computed here a second time."""

from __future__ import annotations

import hashlib

from hypothesis import given

from ksmp.chain import chain_after, chain_base, chain_link, chain_payload
from ksmp.events import RecordedEnvelope
from ksmp.types import ConversationId, IdempotencyKey, MessageId, ServerSeq, TimeMs, UserId
from tests.ksmp.test_codec import chains, recorded


def lp(text: str) -> bytes:
    return len(text.encode()).to_bytes(4, "big") + text.encode()


def u64(number: int) -> bytes:
    return number.to_bytes(8, "big")


def test_the_base_does_not_depend_on_who_is_named_first() -> None:
    talk, alice, bob = ConversationId("talk"), UserId("alice"), UserId("bob")
    expected = hashlib.sha256(b"ksmpv3" + lp("talk") + lp("alice") + lp("bob")).digest()

    assert chain_base(talk, alice, bob) == chain_base(talk, bob, alice) == expected


def test_two_users_are_ordered_by_their_bytes() -> None:
    upper, lower = UserId("Zoe"), UserId("adam")
    expected = hashlib.sha256(b"ksmpv3" + lp("talk") + lp("Zoe") + lp("adam")).digest()

    assert chain_base(ConversationId("talk"), lower, upper) == expected


@given(previous=chains, record=recorded)
def test_each_link_covers_the_one_before_and_everything_the_sender_wrote(
    previous: bytes, record: RecordedEnvelope
) -> None:
    expected = hashlib.sha256(
        previous
        + u64(record.server_seq)
        + u64(record.server_received_at_ms)
        + lp(record.message_id)
        + lp(record.sender_user_id)
        + lp(record.recipient_user_id)
        + lp(record.content_type)
        + u64(record.client_created_at_ms)
        + lp(record.idempotency_key)
        + hashlib.sha256(record.ciphertext).digest()
    ).digest()

    assert chain_after(previous, record) == expected
    assert (
        chain_link(previous, record.server_seq, record.server_received_at_ms, chain_payload(record))
        == expected
    )


def test_a_known_record_has_a_known_value() -> None:
    record = RecordedEnvelope(
        "ksmpv3",
        ConversationId("talk"),
        MessageId("m-1"),
        UserId("alice"),
        UserId("bob"),
        b"sealed",
        "text",
        TimeMs(1_700_000_000_000),
        ServerSeq(1),
        TimeMs(1_700_000_000_123),
        IdempotencyKey("k-1"),
    )
    base = chain_base(record.conversation_id, record.sender_user_id, record.recipient_user_id)

    assert (
        chain_after(base, record).hex()
        == "cef5422c1eef355f90cccc3cce76f2b5cb4ff5bb956bf76a75b3a344b965edf8"
    )

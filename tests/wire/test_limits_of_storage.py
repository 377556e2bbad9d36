"""What may be stored: to the byte, durably, and refused so that nobody else suffers (section 6)."""

from __future__ import annotations

from typing import Final

import msgpack
import pytest

from tests.wire.codecs import Event
from tests.wire.connecting import StartRelay
from tests.wire.messages import about_send, envelope

RECORD_FIELDS: Final = (
    "protocol",
    "conversationId",
    "messageId",
    "senderUserId",
    "recipientUserId",
    "ciphertext",
    "contentType",
    "clientCreatedAtMs",
    "serverSeq",
    "serverReceivedAtMs",
    "idempotencyKey",
)


@pytest.fixture(scope="session")
def transport() -> str:
    """One will do: nothing here has to do with it."""
    return "websockets"


def numbered(sender: str, recipient: str, number: int, conversation: str = "talk") -> Event:
    """An envelope that takes as much space as any other with a number of one digit."""
    return envelope(
        sender,
        recipient,
        conversationId=conversation,
        messageId=f"m-{number}",
        idempotencyKey=f"k-{number}",
        ciphertext=b"x" * 1_000,
    )


def stored_bytes(sent: Event) -> int:
    """What docs/storage.md says that a record takes: a byte, a chain, and canonical MessagePack."""
    recorded = sent | {"serverSeq": 1, "serverReceivedAtMs": 1_790_000_000_000}
    return 1 + 32 + len(msgpack.packb({name: recorded[name] for name in RECORD_FIELDS}))


def assert_over_quota(error: Event, sent: Event) -> int:
    """The refusal is whole; when to come again."""
    fields = ["type", "code", "message", "retryable", "retryAfterMs", "action", "about"]
    assert list(error) == fields
    assert (error["code"], error["retryable"], error["action"]) == ("quota_exceeded", True, "retry")
    assert error["about"] == about_send(sent)
    retry_after_ms: int = error["retryAfterMs"]
    return retry_after_ms


@pytest.mark.promises("I1", "I2", "I5", "I11", "I12", "I18")
async def test_a_sender_stores_to_the_byte_what_the_quota_allows_and_for_ever(
    start: StartRelay,
) -> None:
    sent = [numbered("anna", "bert", number) for number in range(4)]
    room = 3 * stored_bytes(sent[0])
    own = start(limits__stored_bytes_per_sender=room)
    async with own.connect("anna") as anna, own.connect("bert") as bert:
        acks = [(await anna.answer_to(each)).raw for each in sent[:3]]
        assert_over_quota((await anna.answer_to(sent[3])).event, sent[3])
        assert (await anna.answer_to(sent[1])).raw == acks[1]
        ack = await bert.send(numbered("bert", "anna", 5))
        assert ack["serverSeq"] == 4
    own.relay.crash()
    async with own.connect("anna") as anna:
        assert assert_over_quota((await anna.answer_to(sent[3])).event, sent[3]) == 60_000
        assert len((await anna.resume(0))[:-1]) == 4
    own.relay.kill()
    own.relay.run("verify", "--data", str(own.relay.data_directory))


async def test_one_byte_less_than_that_and_the_last_is_refused(start: StartRelay) -> None:
    sent = [numbered("anna", "bert", number) for number in range(3)]
    own = start(limits__stored_bytes_per_sender=3 * stored_bytes(sent[0]) - 1)
    async with own.connect("anna") as anna:
        await anna.tell(*({"type": "ksmpv3.send", "envelope": each} for each in sent))
        kinds = [(await anna.answer_about(each)).event.get("code", "acked") for each in sent]
        assert kinds == ["acked", "acked", "quota_exceeded"]


async def test_a_full_inbox_refuses_what_comes_and_what_its_owner_sends(start: StartRelay) -> None:
    sent = [numbered("anna", "bert", number) for number in range(3)]
    own = start(limits__stored_bytes_per_inbox=2 * stored_bytes(sent[0]))
    async with (
        own.connect("anna") as anna,
        own.connect("bert") as bert,
        own.connect("carl") as carl,
    ):
        for each in sent[:2]:
            await anna.send(each)
        for sender, refused in (
            (anna, sent[2]),
            (bert, numbered("bert", "anna", 4)),
            (carl, numbered("carl", "bert", 5, "other")),  # the recipient's is full
            (bert, numbered("bert", "carl", 6, "another")),  # the sender's own is
        ):
            answer = (await sender.answer_to(refused)).event
            assert assert_over_quota(answer, refused) == 60_000
        await carl.send(numbered("carl", "dora", 7, "third"))
        assert len((await bert.resume(0))[:-1]) == 2


@pytest.mark.promises("I1", "I2", "I5", "I11", "I12", "I18")
async def test_conversations_past_the_hourly_limit_are_refused_until_the_hint_and_no_others(
    start: StartRelay,
) -> None:
    own = start(limits__new_conversations_per_hour=2)
    begun = [envelope("anna", "bert") for _ in range(3)]
    async with own.connect("anna") as anna, own.connect("bert") as bert:
        acks = [(await anna.answer_to(each)).raw for each in begun[:2]]
        hint = assert_over_quota((await anna.answer_to(begun[2])).event, begun[2])
        assert 3_500_000 < hint <= 3_600_001
        assert (await anna.answer_to(begun[0])).raw == acks[0]
        known = begun[1]["conversationId"]
        assert (await anna.send(envelope("anna", "bert", conversationId=known)))["serverSeq"] == 2
        await bert.send(envelope("bert", "anna", conversationId=begun[2]["conversationId"]))
        assert (await anna.send(begun[2]))["serverSeq"] == 2
    own.relay.crash()
    async with own.connect("anna") as anna:
        assert (await anna.send(envelope("anna", "bert")))["serverSeq"] == 1


async def test_with_less_free_space_than_the_limit_nothing_new_is_stored_and_reading_goes_on(
    start: StartRelay,
) -> None:
    own = start(limits__min_free_bytes=2**62)
    sent = envelope("anna", "bert")
    async with own.connect("anna") as anna:
        refused = (await anna.answer_to(sent)).event
        assert (refused["code"], refused["action"]) == ("storage_full", "retry")
        assert refused["about"] == about_send(sent)
        assert [frame.event["type"] for frame in await anna.resume(0)] == ["ksmpv3.resume.complete"]

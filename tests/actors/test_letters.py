"""A letter is answered once, names its conversation, and says what an error is about."""

from __future__ import annotations

import pytest
from msgspec import UNSET

from actors.letters import Letter, ReadLetter, SendLetter
from ksmp.chain import chain_payload
from ksmp.errors import error
from ksmp.events import About, AckRead, Error, ServerEvent
from ksmp.types import ConversationId, ServerSeq, conversation_key
from tests.actors.world import ALICE, BOB, Client, envelope, read_letter, send_letter

TALK = ConversationId("talk")


class Postbox(Client):
    """Counts how often it was told to deliver."""

    def __init__(self) -> None:
        super().__init__()
        self.deliveries: list[int] = []

    def deliver(self) -> None:
        self.deliveries.append(len(self.answers))


@pytest.mark.rule("S9")
@pytest.mark.parametrize("write", [send_letter, lambda client: read_letter(client, 1)])
def test_the_first_answer_counts_and_later_ones_are_ignored(write) -> None:
    client = Client()
    letter = write(client)
    first: ServerEvent = error("overloaded")
    letter.answer(first)
    letter.answer(error("internal"))
    letter.refuse("rejected")

    assert client.to(letter) == [first]
    assert not letter.is_open


def test_an_answer_is_delivered_after_it_was_queued_unless_someone_else_delivers() -> None:
    client = Postbox()
    send_letter(client).answer(error("internal"), deliver=False)
    deliveries_of_the_first = list(client.deliveries)
    send_letter(client).answer(error("internal"))

    assert deliveries_of_the_first == []
    assert client.deliveries == [2]


def test_a_refusal_names_every_id_of_the_send_and_when_to_try_again() -> None:
    client = Client()
    letter = send_letter(client, "key-9")
    letter.refuse("storage_full", 5_000)

    sealed = letter.envelope
    about = About("ksmpv3.send", TALK, BOB, sealed.message_id, sealed.idempotency_key)
    (answer,) = client.to(letter)
    assert answer == error("storage_full", about, retry_after_ms=5_000)


def test_a_refusal_of_a_read_names_the_conversation() -> None:
    client = Client()
    letter = read_letter(client, 3)
    letter.refuse("invalid_seq")

    (answer,) = client.to(letter)
    assert isinstance(answer, Error)
    assert answer.about == About("ksmpv3.ack.read", TALK)
    assert answer.retry_after_ms is UNSET


def test_both_sides_and_both_kinds_of_letters_are_for_one_conversation() -> None:
    client = Client()
    from_alice = SendLetter(envelope(), client, 1)
    from_bob = SendLetter(envelope(sender=BOB, recipient=ALICE), client, 1)
    reads = [
        ReadLetter(AckRead(TALK, BOB, ServerSeq(1)), ALICE, client, 1),
        ReadLetter(AckRead(TALK, ALICE, ServerSeq(1)), BOB, client, 1),
    ]
    letters: list[Letter] = [from_alice, from_bob, *reads]

    assert {letter.conversation for letter in letters} == {conversation_key(TALK, ALICE, BOB)}


@pytest.mark.parametrize(("private", "expected"), [(UNSET, False), (False, False), (True, True)])
def test_a_read_is_private_only_where_it_says_so(private, expected) -> None:
    letter = ReadLetter(AckRead(TALK, BOB, ServerSeq(1), private), ALICE, Client(), 1)

    assert letter.is_private is expected


def test_the_payload_is_what_the_chain_hashes() -> None:
    letter = send_letter(Client())

    assert letter.payload == chain_payload(letter.envelope)
    assert letter.payload is letter.payload, "hashed once, however often it is asked for"

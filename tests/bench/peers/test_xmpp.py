"""XMPP frames against the examples of RFC 6120, RFC 7395, XEP-0198, XEP-0313; what is made of them.

What the client says is compared as XML, for quotes and the order of attributes are free.
"""

from __future__ import annotations

from xml.etree.ElementTree import canonicalize

import pytest

from bench.meter import Meter
from bench.peers import xmpp
from bench.peers.prosody_load import _User
from bench.plan import Plan

ARCHIVED = (
    b"<message xmlns='jabber:client' xml:lang='en' from='user1@localhost/bench' %b"
    b" to='user0@localhost/bench' type='chat'><body>aGk=</body>"
    b"<stanza-id xmlns='urn:xmpp:sid:0' by='user0@localhost' id='0.9.9'/></message>"
)


def same(frame: bytes, example: str) -> bool:
    return canonicalize(frame.decode()) == canonicalize(example)


def test_a_stream_is_opened_as_in_rfc_7395() -> None:
    example = '<open xmlns="urn:ietf:params:xml:ns:xmpp-framing" to="example.com" version="1.0" />'
    assert same(xmpp.opening("example.com"), example)


def test_a_password_is_given_as_in_rfc_6120() -> None:
    example = (
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>"
        "AGp1bGlldAByMG0zMG15cjBtMzA=</auth>"
    )
    assert same(xmpp.plain("juliet", "r0m30myr0m30"), example)


def test_a_device_is_bound_as_in_rfc_6120() -> None:
    example = (
        "<iq xmlns='jabber:client' id='bind' type='set'>"
        "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>balcony</resource></bind></iq>"
    )
    assert same(xmpp.bind("balcony"), example)


def test_acks_are_asked_for_and_given_as_in_xep_0198() -> None:
    assert same(xmpp.ENABLE_ACKS, "<enable xmlns='urn:xmpp:sm:3'/>")
    assert same(xmpp.ASK_FOR_ACK, "<r xmlns='urn:xmpp:sm:3'/>")
    assert same(xmpp.ack(17), "<a xmlns='urn:xmpp:sm:3' h='17'/>")


def test_a_message_is_for_one_device_and_has_a_body_so_that_it_is_archived() -> None:
    example = (
        "<message xmlns='jabber:client' to='juliet@example.com/balcony' id='0.1.2' type='chat'>"
        "<body>aGk=</body></message>"
    )
    assert same(xmpp.message(b"juliet@example.com/balcony", b"0.1.2", b"aGk="), example)


@pytest.mark.parametrize(
    ("frame", "handled"),
    [
        (b"<a xmlns='urn:xmpp:sm:3' h='1'/>", 1),
        (b'<a h="4294967295" xmlns="urn:xmpp:sm:3"/>', 2**32 - 1),
    ],
)
def test_how_much_was_handled_is_read_wherever_it_stands(frame: bytes, handled: int) -> None:
    assert xmpp.handled_of(frame) == handled


@pytest.mark.parametrize("frame", [b"<a xmlns='urn:xmpp:sm:3'/>", b"<a h='-1'/>", b"<r h='1'/>"])
def test_an_ack_without_a_number_is_none(frame: bytes) -> None:
    with pytest.raises(xmpp.NotXmppError):
        xmpp.handled_of(frame)


@pytest.mark.parametrize("attribute", [b"id='0.1.7'", b'id="0.1.7"'])
def test_a_message_has_the_id_of_its_sender_and_not_that_of_the_archive(attribute: bytes) -> None:
    assert xmpp.message_id_of(ARCHIVED % attribute) == b"0.1.7"
    assert xmpp.is_archived(ARCHIVED % attribute)


def test_the_archives_id_alone_is_not_the_senders() -> None:
    with pytest.raises(xmpp.NotXmppError):
        xmpp.message_id_of(ARCHIVED % b"")


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.underlying_transport = self
        self.writes = 0

    def write(self, _frames: bytes) -> None:
        self.writes += 1


def user_with(in_flight: int) -> tuple[_User, Meter, list[str]]:
    """The user `user0`, with its window full."""
    meter, failures = Meter(), list[str]()
    plan = Plan("ws://127.0.0.1:1/", ("user0", "user1"), in_flight, 8, 1.0, 0.0)
    user = _User(0, plan, meter, failures.append)
    user._transport = Wire()  # type: ignore[assignment]
    user.fill_window()
    return user, meter, failures


def test_an_ack_of_many_is_an_ack_of_each_and_sends_as_many_more() -> None:
    user, meter, failures = user_with(in_flight=4)

    user._take(b"<a xmlns='urn:xmpp:sm:3' h='3'/>")
    assert list(meter._unacked) == ["0.0.4", "0.0.5", "0.0.6", "0.0.7"]

    meter.end()
    user._take(b"<a xmlns='urn:xmpp:sm:3' h='7'/>")
    assert (meter.unanswered, meter.undelivered, failures) == (0, 7, [])


def test_an_ack_of_more_than_was_sent_fails_the_run() -> None:
    user, _, failures = user_with(in_flight=1)

    user._take(b"<a xmlns='urn:xmpp:sm:3' h='2'/>")

    assert failures == ["the XMPP server sent an ack of what was never sent"]


def test_a_message_that_is_in_no_archive_fails_the_run() -> None:
    user, meter, failures = user_with(in_flight=1)
    meter.note_sent("0.1.1")

    user._take(ARCHIVED % b"id='0.1.1'")
    assert (meter.undelivered, failures) == (1, [])

    user._take(b"<message id='0.1.2' from='user1@localhost/bench'><body>aGk=</body></message>")
    assert failures == ["a message is in no archive"]


def test_a_refused_message_fails_the_run() -> None:
    user, _, failures = user_with(in_flight=1)

    user._take(b"<message type='error' id='0.0.1'><error type='cancel'/></message>")

    assert failures == ["the XMPP server refused a message"]

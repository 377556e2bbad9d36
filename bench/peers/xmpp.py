"""XMPP over WebSocket (RFC 7395) as far as a load needs it: what a client says, what it looks for.

Stanzas are built as strings, and what comes is searched, not parsed: each frame is one whole
element, written by a server that is known, and a parser would be what is measured.
"""

from __future__ import annotations

import base64
import re
from typing import Final
from xml.sax.saxutils import quoteattr

SUBPROTOCOL: Final = "xmpp"

PROCEED: Final = b"<success"
FEATURES: Final = b"<stream:features"
BOUND: Final = b"<iq"
ENABLED: Final = b"<enabled"

ENABLE_ACKS: Final = b"<enable xmlns='urn:xmpp:sm:3'/>"
"""XEP-0198, without resumption."""

ASK_FOR_ACK: Final = b"<r xmlns='urn:xmpp:sm:3'/>"

_HANDLED: Final = re.compile(rb"<a [^>]*?\bh=['\"](\d+)['\"]")
_STANZA_ID: Final = b"<stanza-id "


class NotXmppError(Exception):
    """A frame that should have been something else."""


def opening(domain: str) -> bytes:
    """The first frame of a stream, and the first one after authentication."""
    to = quoteattr(domain)
    return f"<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to={to} version='1.0'/>".encode()


def plain(user: str, password: str) -> bytes:
    """SASL PLAIN with the initial response."""
    response = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
    name = "urn:ietf:params:xml:ns:xmpp-sasl"
    return f"<auth xmlns='{name}' mechanism='PLAIN'>{response}</auth>".encode()


def bind(resource: str) -> bytes:
    """Ask to be this device of the account's."""
    return (
        "<iq xmlns='jabber:client' type='set' id='bind'>"
        "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
        f"<resource>{resource}</resource></bind></iq>"
    ).encode()


def ack(handled: int) -> bytes:
    """So many stanzas of the server's have come."""
    return b"<a xmlns='urn:xmpp:sm:3' h='%d'/>" % handled


def message(to: bytes, message_id: bytes, body: bytes) -> bytes:
    """A chat message; the body is text that needs no escaping."""
    return (
        b"<message xmlns='jabber:client' type='chat' to='%b' id='%b'><body>%b</body></message>"
        % (to, message_id, body)
    )


def handled_of(frame: bytes) -> int:
    """How many stanzas an `<a>` says that the server has handled.

    Raises:
        NotXmppError: it says nothing of the kind.
    """
    found = _HANDLED.match(frame)
    if found is None:
        raise NotXmppError("an ack without a number")
    return int(found[1])


def message_id_of(frame: bytes) -> bytes:
    """The id that the sender of a message gave it.

    Raises:
        NotXmppError: it has none.
    """
    end = frame.find(b">")
    start = frame.find(b" id='", 0, end)
    quote = b"'"
    if start < 0:
        start, quote = frame.find(b' id="', 0, end), b'"'
    if start < 0:
        raise NotXmppError("a message without an id")
    return frame[start + 5 : frame.index(quote, start + 5)]


def is_archived(frame: bytes) -> bool:
    """Whether the recipient's archive has given the message its `<stanza-id>` (XEP-0359)."""
    return _STANZA_ID in frame


def is_message(frame: bytes) -> bool:
    """Whether it is a `<message>`, and none that says that something went wrong."""
    return frame.startswith(b"<message")

"""Every line the relay can log: its name, and each of its fields with the kind of value it takes.

What is not declared here is not written. Names are stable: dashboards and alarms rely on them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Final

from actors.telemetry import Field, Hashed


class Kind(Enum):
    """What a field may hold. None of them has room for what a client wrote."""

    NUMBER = "a count, a size, seconds, a sequence number"
    HASH = "an identifier, as a keyed hash"
    CODE = "a word out of our own vocabulary, a type's name, a version"
    PLACE = "where in the code: file, line, function"
    SETTING = "what the operator configured: an address, a path"


_WORD: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}")
_WHERE: Final = re.compile(r"[\w.<>-]{1,64}(:\d+ [\w.<>]{1,128})?")


def fits(kind: Kind, value: Field) -> bool:
    """Whether `value` may be written as a field of this kind; None always may."""
    if value is None:
        return True
    match kind:
        case Kind.NUMBER:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case Kind.HASH:
            return isinstance(value, Hashed)
        case Kind.CODE:
            return isinstance(value, str) and _WORD.fullmatch(value) is not None
        case Kind.PLACE:
            return isinstance(value, str) and _WHERE.fullmatch(value) is not None
        case Kind.SETTING:
            return isinstance(value, str) and value.isprintable()


_NUMBER, _HASH = Kind.NUMBER, Kind.HASH
_CODE, _PLACE, _SETTING = Kind.CODE, Kind.PLACE, Kind.SETTING

_CONNECTION: Final = {"user": _HASH, "connection": _HASH}
_ACTOR: Final = {"kind": _CODE, "actor": _HASH}
_CONVERSATION: Final = {"conversation": _HASH}
_ORDER: Final = {"order": _NUMBER, "kind": _CODE, "action": _CODE}
_FAILURE: Final = {"error": _CODE, "at": _PLACE}
_NUMBERED: Final = _CONVERSATION | {"server_seq": _NUMBER, "records": _NUMBER}

EVENTS: Final[Mapping[str, Mapping[str, Kind]]] = {
    # the process
    "relay.descriptors_low": {
        "descriptors": _NUMBER,
        "needed": _NUMBER,
        "problem": _SETTING,
    },
    "relay.lab": {"orders": _NUMBER},
    "relay.ready": {"host": _SETTING, "port": _NUMBER, "most_memory_bytes": _NUMBER},
    "relay.status": {
        "tasks": _NUMBER,
        "descriptors": _NUMBER,
        "handshakes": _NUMBER,
        "connections": _NUMBER,
        "conversations": _NUMBER,
        "under_way_bytes": _NUMBER,
    },
    "relay.reloaded": {"most_memory_bytes": _NUMBER},
    "relay.needs_restart": {"setting": _CODE},
    "relay.not_reloaded": {"problem": _SETTING},
    "revocations.loaded": {"revocations": _NUMBER},
    "revocations.unusable": {"problem": _SETTING},
    "relay.draining": {"connections": _NUMBER, "seconds": _NUMBER},
    "relay.stopped": {"code": _NUMBER},
    "admin.ready": {"host": _SETTING, "port": _NUMBER},
    "admin.paused": {"seconds": _NUMBER},
    "relay.crashed": _FAILURE | {"errors": _NUMBER},
    # connections
    "listener.capacity": {"code": _CODE, "connections": _NUMBER},
    "connection.refused": {"code": _CODE},
    "connection.opened": _CONNECTION | {"subprotocol": _CODE},
    "connection.resumed": _CONNECTION | {"head": _NUMBER},
    "connection.replaced": _CONNECTION,
    "connection.revoked": _CONNECTION,
    "connection.closed": _CONNECTION | {"code": _NUMBER, "records": _NUMBER},
    "connection.failed": _CONNECTION | _FAILURE,
    # client events
    "event.received": _CONNECTION | {"kind": _CODE, "bytes": _NUMBER},
    "event.refused": _CONNECTION | {"code": _CODE},
    # a message's life
    "send.routed": _CONNECTION | _CONVERSATION,
    "send.numbered": _NUMBERED,
    "send.committed": _NUMBERED,
    "send.acked": _CONNECTION | _CONVERSATION | {"server_seq": _NUMBER},
    "frame.delivered": {"user": _HASH, "global_inbox_seq": _NUMBER, "bytes": _NUMBER},
    "read.marked": _CONNECTION | _CONVERSATION,
    # actors
    "conversation.activated": _CONVERSATION,
    "conversation.passivated": _CONVERSATION,
    "conversation.released": _CONVERSATION,
    "actor.started": _ACTOR,
    "actor.failed": _ACTOR | _FAILURE,
    "actor.restarted": _ACTOR | {"failures": _NUMBER},
    "actor.quarantined": _ACTOR | {"seconds": _NUMBER, "times": _NUMBER, "letters": _NUMBER},
    "actor.terminated": _ACTOR,
    "letter.dead": _CONVERSATION | {"kind": _CODE},
    # storage
    "storage.opened": {"path": _SETTING, "format": _NUMBER},
    "storage.full": {},
    "storage.recovered": {},
    "storage.failed": _FAILURE,
    # faults that an operator of a laboratory orders
    "failpoint.ordered": _ORDER | {"conversations": _NUMBER},
    "failpoint.cleared": {"order": _NUMBER},
    "failpoint.hit": _ORDER | _CONVERSATION,
    # faults of our own, and of libraries
    "bug": _FAILURE | {"where": _CODE},
    "library.warned": {"library": _CODE, "severity": _CODE, "at": _PLACE, "error": _CODE},
    "log.lost": {"lines": _NUMBER},
    "log.thinned": {"code": _CODE, "lines": _NUMBER},
}

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
    FLAG = "true or false"
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
        case Kind.FLAG:
            return isinstance(value, bool)
        case Kind.HASH:
            return isinstance(value, Hashed)
        case Kind.CODE:
            return isinstance(value, str) and _WORD.fullmatch(value) is not None
        case Kind.PLACE:
            return isinstance(value, str) and _WHERE.fullmatch(value) is not None
        case Kind.SETTING:
            return isinstance(value, str) and value.isprintable()


_NUMBER, _FLAG, _HASH = Kind.NUMBER, Kind.FLAG, Kind.HASH
_CODE, _PLACE, _SETTING = Kind.CODE, Kind.PLACE, Kind.SETTING

_CONNECTION: Final = {"user": _HASH, "device": _HASH, "connection": _HASH}
_ACTOR: Final = {"kind": _CODE, "actor": _HASH}
_FAILURE: Final = {"error": _CODE, "at": _PLACE}
_MESSAGE: Final = {
    "conversation": _HASH,
    "message": _HASH,
    "sender": _HASH,
    "recipient": _HASH,
    "key": _HASH,
}

EVENTS: Final[Mapping[str, Mapping[str, Kind]]] = {
    # the process
    "relay.started": {
        "version": _CODE,
        "python": _CODE,
        "trio": _CODE,
        "lmdb": _CODE,
        "pid": _NUMBER,
        "path": _SETTING,
        "epoch": _CODE,
        "records": _NUMBER,
        "seconds": _NUMBER,
    },
    "relay.ready": {"host": _SETTING, "port": _NUMBER, "tls": _FLAG, "seconds": _NUMBER},
    "relay.draining": {"signal": _CODE, "connections": _NUMBER, "seconds": _NUMBER},
    "relay.stopped": {
        "code": _NUMBER,
        "connections": _NUMBER,
        "sends": _NUMBER,
        "seconds": _NUMBER,
    },
    "relay.crashed": _FAILURE | {"errors": _NUMBER},
    # connections
    "listener.capacity": {"code": _CODE, "connections": _NUMBER, "seconds": _NUMBER},
    "listener.failed": _FAILURE,
    "connection.accepted": {"connection": _HASH, "connections": _NUMBER},
    "connection.refused": _CONNECTION
    | {"code": _CODE, "reason": _CODE, "status": _NUMBER, "connections": _NUMBER},
    "connection.opened": _CONNECTION | {"subprotocol": _CODE, "connections": _NUMBER},
    "connection.authenticated": _CONNECTION | {"seconds": _NUMBER, "refreshed": _FLAG},
    "connection.resumed": _CONNECTION
    | {"cursor": _NUMBER, "head": _NUMBER, "truncated_through": _NUMBER},
    "connection.caught_up": _CONNECTION | {"head": _NUMBER, "records": _NUMBER},
    "connection.replaced": _CONNECTION,
    "connection.closed": _CONNECTION
    | {
        "code": _NUMBER,
        "reason": _CODE,
        "events": _NUMBER,
        "records": _NUMBER,
        "bytes_in": _NUMBER,
        "bytes_out": _NUMBER,
        "seconds": _NUMBER,
        "connections": _NUMBER,
    },
    "connection.failed": _CONNECTION | _FAILURE,
    # client events
    "event.received": _CONNECTION | {"kind": _CODE, "bytes": _NUMBER},
    "event.answered": _CONNECTION | {"kind": _CODE},
    "event.refused": _CONNECTION | _MESSAGE | {"code": _CODE, "kind": _CODE, "reason": _CODE},
    # a message's life
    "send.routed": _CONNECTION | _MESSAGE | {"bytes": _NUMBER, "waiting": _NUMBER},
    "send.numbered": _MESSAGE | {"server_seq": _NUMBER, "records": _NUMBER},
    "send.committed": _MESSAGE
    | {"server_seq": _NUMBER, "records": _NUMBER, "bytes": _NUMBER, "seconds": _NUMBER},
    "send.repeated": _MESSAGE | {"server_seq": _NUMBER, "records": _NUMBER},
    "send.refenced": _MESSAGE | {"server_seq": _NUMBER},
    "send.acked": _CONNECTION | _MESSAGE | {"server_seq": _NUMBER, "records": _NUMBER},
    "frame.delivered": _CONNECTION
    | {
        "conversation": _HASH,
        "server_seq": _NUMBER,
        "global_inbox_seq": _NUMBER,
        "records": _NUMBER,
        "bytes": _NUMBER,
    },
    "read.marked": _CONNECTION
    | {"conversation": _HASH, "server_seq": _NUMBER, "private": _FLAG, "rose": _FLAG},
    # actors
    "conversation.activated": {"conversation": _HASH, "server_seq": _NUMBER, "live": _NUMBER},
    "conversation.passivated": {"conversation": _HASH, "live": _NUMBER},
    "actor.started": _ACTOR,
    "actor.failed": _ACTOR | _FAILURE | {"failures": _NUMBER},
    "actor.restarted": _ACTOR | {"failures": _NUMBER, "seconds": _NUMBER},
    "actor.quarantined": _ACTOR | {"seconds": _NUMBER, "times": _NUMBER, "letters": _NUMBER},
    "actor.terminated": _ACTOR,
    "letter.dead": _MESSAGE | _FAILURE | {"kind": _CODE},
    # storage
    "storage.opened": {
        "path": _SETTING,
        "created": _FLAG,
        "format": _NUMBER,
        "epoch": _CODE,
        "map_size_bytes": _NUMBER,
        "seconds": _NUMBER,
    },
    "storage.committed": {
        "operations": _NUMBER,
        "records": _NUMBER,
        "bytes": _NUMBER,
        "seconds": _NUMBER,
    },
    "storage.grew": {"map_size_bytes": _NUMBER},
    "storage.full": {"free_bytes": _NUMBER, "min_free_bytes": _NUMBER, "records": _NUMBER},
    "storage.recovered": {"free_bytes": _NUMBER, "seconds": _NUMBER},
    "storage.failed": _FAILURE | {"code": _CODE, "operations": _NUMBER},
    "storage.closed": {"seconds": _NUMBER},
    # faults of our own, and of libraries
    "bug": _FAILURE | {"where": _CODE},
    "library.warned": {"library": _CODE, "severity": _CODE, "at": _PLACE, "error": _CODE},
    "log.lost": {"lines": _NUMBER},
}

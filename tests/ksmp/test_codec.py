"""One value, one sequence of bytes; and nothing but a valid event becomes a value."""

from __future__ import annotations

import base64
import json
import tracemalloc

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from ksmp.codec import CODECS, JSON, MSGPACK, Codec, decode_recorded, encode_recorded
from ksmp.errors import REGISTRY, error
from ksmp.events import (
    About,
    AckRead,
    Auth,
    AuthOk,
    ClientEvent,
    Connected,
    Envelope,
    InboxFrame,
    Limits,
    Ping,
    Pong,
    Read,
    RecordedEnvelope,
    Resume,
    ResumeComplete,
    Send,
    SendAck,
    ServerEvent,
)
from ksmp.malformed import InvalidTextError, MalformedError, UndecodableError, UnknownEventError
from ksmp.types import (
    IDENTIFIER_CHARACTERS,
    MAX_INTEGER,
    ConnectionId,
    ContentType,
    ConversationId,
    DeviceId,
    Epoch,
    GlobalInboxSeq,
    IdempotencyKey,
    MessageId,
    Nonce,
    ServerSeq,
    TimeMs,
    UserId,
)

ids = st.text(IDENTIFIER_CHARACTERS.decode(), min_size=1, max_size=128)
integers = st.integers(0, MAX_INTEGER)
chains = st.binary(min_size=32, max_size=32)
content_types: st.SearchStrategy[ContentType] = st.sampled_from(
    ("text", "image", "voice", "system")
)

envelopes = st.builds(
    Envelope,
    st.just("ksmpv3"),
    ids.map(ConversationId),
    ids.map(MessageId),
    ids.map(UserId),
    ids.map(UserId),
    st.binary(min_size=1, max_size=200),
    content_types,
    integers.map(TimeMs),
    ids.map(IdempotencyKey),
)
client_events: st.SearchStrategy[ClientEvent] = st.one_of(
    st.builds(Send, envelopes),
    st.builds(
        AckRead,
        ids.map(ConversationId),
        ids.map(UserId),
        integers.map(ServerSeq),
        st.booleans() | st.just(UNSET),
    ),
    st.builds(
        Resume,
        integers.map(GlobalInboxSeq) | st.none(),
        ids.map(Epoch) | st.just(UNSET),
    ),
    st.builds(Ping, ids.map(Nonce) | st.just(UNSET)),
    st.builds(Auth, st.text(max_size=50)),
)
recorded = st.builds(
    RecordedEnvelope,
    st.just("ksmpv3"),
    ids.map(ConversationId),
    ids.map(MessageId),
    ids.map(UserId),
    ids.map(UserId),
    st.binary(min_size=1, max_size=200),
    content_types,
    integers.map(TimeMs),
    integers.map(ServerSeq),
    integers.map(TimeMs),
    ids.map(IdempotencyKey),
)
inbox_frames = st.builds(
    InboxFrame, integers.map(GlobalInboxSeq), integers.map(GlobalInboxSeq), recorded, chains
)
server_events: st.SearchStrategy[ServerEvent] = st.one_of(
    st.builds(
        Connected,
        st.just("ksmpv3"),
        ids.map(UserId),
        ids.map(DeviceId),
        ids.map(ConnectionId),
        integers.map(TimeMs),
        ids.map(Epoch),
        integers.map(GlobalInboxSeq),
        integers.map(GlobalInboxSeq),
        integers,
        integers.map(TimeMs),
        st.just(("auth", "chain")),
        st.builds(Limits, integers, integers, integers, integers, integers, st.none() | integers),
    ),
    inbox_frames,
    st.builds(
        SendAck,
        ids.map(ConversationId),
        ids.map(UserId),
        ids.map(MessageId),
        ids.map(IdempotencyKey),
        integers.map(ServerSeq),
        integers.map(TimeMs),
        chains,
    ),
    st.builds(ResumeComplete, integers.map(GlobalInboxSeq)),
    st.builds(
        Read,
        ids.map(ConversationId),
        ids.map(UserId),
        ids.map(UserId),
        integers.map(ServerSeq),
        integers.map(TimeMs),
    ),
    st.builds(Pong, ids.map(Nonce) | st.just(UNSET), integers.map(TimeMs)),
    st.builds(AuthOk, integers.map(TimeMs)),
    st.builds(
        error,
        st.sampled_from(sorted(REGISTRY)),
        st.builds(About, st.just("ksmpv3.send"), ids.map(ConversationId)) | st.just(UNSET),
        head_global_inbox_seq=integers.map(GlobalInboxSeq) | st.just(UNSET),
    ),
)

both = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)


def envelope() -> Envelope:
    return Envelope(
        "ksmpv3",
        ConversationId("talk"),
        MessageId("m-1"),
        UserId("alice"),
        UserId("bob"),
        b"\xfb\xff\x00sealed",
        "text",
        TimeMs(1),
        IdempotencyKey("k-1"),
    )


# ── one value, one sequence of bytes ─────────────────────────────────────────────────────────


@both
@given(event=client_events)
def test_client_events_survive_the_way_there(codec: Codec, event: ClientEvent) -> None:
    assert codec.decode_client_event(codec.encode(event)) == event


@both
@given(event=server_events)
def test_server_events_survive_the_way_back(codec: Codec, event: ServerEvent) -> None:
    assert codec.decode_server_event(codec.encode(event)) == event


@given(event=client_events | server_events)
def test_json_is_what_a_plain_encoder_writes_without_white_space(
    event: ClientEvent | ServerEvent,
) -> None:
    encoded = JSON.encode(event)

    fields = json.loads(encoded)
    again = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
    assert again == encoded


@given(event=client_events | server_events)
def test_msgpack_is_in_the_shortest_forms(event: ClientEvent | ServerEvent) -> None:
    encoded = MSGPACK.encode(event)

    assert msgpack.packb(msgpack.unpackb(encoded)) == encoded


@given(event=client_events | server_events)
def test_both_subprotocols_write_the_same_fields_in_the_same_order(
    event: ClientEvent | ServerEvent,
) -> None:
    from_json = json.loads(JSON.encode(event))
    from_msgpack = msgpack.unpackb(MSGPACK.encode(event))

    assert json.dumps(from_json) == json.dumps(_as_json_has_it(from_msgpack))


def _as_json_has_it(value: object, name: str = "") -> object:
    match value:
        case dict():
            return {key: _as_json_has_it(inner, key) for key, inner in value.items()}
        case list():
            return [_as_json_has_it(inner) for inner in value]
        case bytes() if name == "chain":
            return value.hex()
        case bytes():
            return base64.b64encode(value).decode()
        case _:
            return value


@both
@given(frame=inbox_frames)
def test_a_frame_made_from_stored_bytes_is_the_frame_made_from_values(
    codec: Codec, frame: InboxFrame
) -> None:
    stored = MSGPACK.encode(frame.envelope)  # type: ignore[arg-type]
    assert decode_recorded(stored) == frame.envelope

    made = codec.encode_inbox_frame(
        frame.global_inbox_seq, frame.previous_global_inbox_seq, stored, frame.chain
    )
    assert made == codec.encode(frame)


def test_the_recorded_envelope_is_in_the_charters_order() -> None:
    fields = msgpack.unpackb(encode_recorded(envelope(), ServerSeq(7), TimeMs(8)))

    assert list(fields) == [
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
    ]
    assert (fields["serverSeq"], fields["serverReceivedAtMs"]) == (7, 8)


def test_bytes_that_are_no_recorded_envelope_are_malformed() -> None:
    with pytest.raises(MalformedError):
        decode_recorded(b"\x80")


# ── nothing but a valid event becomes a value ────────────────────────────────────────────────


@both
@given(noise=st.binary(max_size=200))
def test_noise_is_refused_and_never_crashes(codec: Codec, noise: bytes) -> None:
    with pytest.raises(UndecodableError):
        codec.decode_client_event(noise)


@both
@given(event=client_events, data=st.data())
def test_a_mutation_is_a_valid_event_or_refused(
    codec: Codec, event: ClientEvent, data: st.DataObject
) -> None:
    frame = bytearray(codec.encode(event))
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] = data.draw(st.integers(0, 255))

    try:
        decoded = codec.decode_client_event(frame)
    except UndecodableError:
        return
    assert codec.decode_client_event(codec.encode(decoded)) == decoded


def changed(**changes: object) -> dict[str, object]:
    """A good send in MessagePack's terms, with changes to its envelope."""
    fields = msgpack.unpackb(MSGPACK.encode(Send(envelope())))
    fields["envelope"].update(changes)
    return fields  # type: ignore[no-any-return]


MALFORMED = {
    "bool for an integer": changed(clientCreatedAtMs=True),
    "a float": changed(clientCreatedAtMs=1.0),
    "negative": changed(clientCreatedAtMs=-1),
    "2^53": changed(clientCreatedAtMs=2**53),
    "empty ciphertext": changed(ciphertext=b""),
    "text for bytes": changed(ciphertext="c2VhbGVk"),
    "bytes for text": changed(messageId=b"m-1"),
    "another protocol": changed(protocol="ksmpv2"),
    "another content type": changed(contentType="video"),
    "a server's field": changed(serverSeq=1),
    "an unknown field": changed(extra=1),
    "nil": changed(messageId=None),
    "empty identifier": changed(messageId=""),
    "129 characters": changed(messageId="m" * 129),
    "a space": changed(messageId="m 1"),
    "a full-width digit": changed(messageId="m１"),
    "a zero byte": changed(messageId="m\0"),
    "a line end": changed(messageId="m\r\n"),
    "an escape": changed(messageId="\x1b[31m"),
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
def test_what_breaks_a_rule_is_malformed_and_says_which_event_it_was(
    fields: dict[str, object],
) -> None:
    with pytest.raises(MalformedError) as refused:
        MSGPACK.decode_client_event(msgpack.packb(fields))

    about = refused.value.about
    assert isinstance(about, About)
    assert about.type == "ksmpv3.send"
    assert about.conversation_id == "talk"
    assert about.message_id in ("m-1", UNSET)


def test_a_map_whose_keys_are_no_text_is_malformed() -> None:
    with pytest.raises(MalformedError):
        MSGPACK.decode_client_event(b"\x81\x92\x01\x02\x03")


@both
@pytest.mark.parametrize("where", ["beside a known type", "beside an unknown type", "as a type"])
def test_what_the_protocol_does_not_know_is_skipped_and_never_built(
    codec: Codec, where: str
) -> None:
    """A map out of a hostile frame, built, can cost seconds of colliding hashes."""
    dump = (lambda value: json.dumps(value).encode()) if codec.is_text else msgpack.packb
    bulk = {f"key {number}": [number] for number in range(20_000)}
    frame = dump(
        {
            "beside a known type": {"type": "ksmpv3.ping", "more": bulk},
            "beside an unknown type": {"type": "ksmpv3.later", "more": bulk},
            "as a type": {"type": bulk},
        }[where]
    )

    tracemalloc.start()
    try:
        with pytest.raises(UndecodableError):
            codec.decode_client_event(frame)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    copies = 1 if codec.is_text else 0  # of the text, to see whether it is UTF-8
    assert peak < copies * len(frame) + 20_000


@both
def test_an_object_without_a_known_type_is_unknown(codec: Codec) -> None:
    dump = json.dumps if codec.is_text else msgpack.packb
    types: tuple[object, ...] = ("ksmpv3.connected", "ksmpv3.push.register", 5, None, [])
    for fields in ({}, *({"type": kind} for kind in types)):
        frame = dump(fields)
        with pytest.raises(UnknownEventError):
            codec.decode_client_event(frame.encode() if isinstance(frame, str) else frame)


@both
def test_of_a_repeated_key_the_last_counts(codec: Codec) -> None:
    if codec.is_text:
        nonce = b'{"type":"ksmpv3.ping","nonce":"a","nonce":"b"}'
        kind = b'{"type":"ksmpv3.ping","type":"ksmpv3.resume","lastGlobalInboxSeq":3}'
        first_a = b'"a"'
    else:
        nonce = b"\x83\xa4type\xabksmpv3.ping\xa5nonce\xa1a\xa5nonce\xa1b"
        kind = b"\x83\xa4type\xabksmpv3.ping\xa4type\xadksmpv3.resume\xb2lastGlobalInboxSeq\x03"
        first_a = b"\xa1a"

    assert codec.decode_client_event(nonce) == Ping(Nonce("b"))
    assert codec.decode_client_event(
        nonce.replace(first_a, b"5" if codec.is_text else b"\x05")
    ) == Ping(Nonce("b"))
    assert codec.decode_client_event(kind) == Resume(GlobalInboxSeq(3))


@pytest.mark.parametrize("text", ["YQ", "YQ=", "Y Q==", "_-8=", "YQ==\n", "YWI=YQ=="])
def test_base64_is_the_plain_padded_alphabet_only(text: str) -> None:
    frame = JSON.encode(Send(envelope()))
    sealed = base64.b64encode(envelope().ciphertext)

    assert JSON.decode_client_event(frame.replace(sealed, b"YQ==")) is not None
    with pytest.raises(MalformedError):
        JSON.decode_client_event(frame.replace(sealed, json.dumps(text)[1:-1].encode()))


def test_unused_bits_in_base64_do_not_matter_since_payloads_are_compared_decoded() -> None:
    frame = JSON.encode(Send(envelope()))
    sealed = base64.b64encode(envelope().ciphertext)

    assert JSON.decode_client_event(frame.replace(sealed, b"YR==")) == JSON.decode_client_event(
        frame.replace(sealed, b"YQ==")
    )


@pytest.mark.parametrize("frame", [b"\xff", b'{"type":"ksmpv3.ping","nonce":"\xff"}', b'"\xc3"'])
def test_text_that_is_not_utf_8_is_told_apart_from_malformed(frame: bytes) -> None:
    with pytest.raises(InvalidTextError):
        JSON.decode_client_event(frame)


# ── what a client makes of a relay ───────────────────────────────────────────────────────────


@both
def test_a_client_ignores_events_and_fields_it_does_not_know(codec: Codec) -> None:
    later = {"type": "ksmpv3.resume.complete", "globalInboxSeq": 4, "more": [1]}
    unknown = {"type": "ksmpv3.later", "more": 1}
    dump = (lambda fields: json.dumps(fields).encode()) if codec.is_text else msgpack.packb

    assert codec.decode_server_event(dump(later)) == ResumeComplete(GlobalInboxSeq(4))
    assert codec.decode_server_event(dump(unknown)) is None


@both
@pytest.mark.parametrize(
    "fields", [{"type": "ksmpv3.read"}, {"no": "type"}, [1]], ids=["fields missing", "type", "list"]
)
def test_a_client_tells_a_broken_event_from_an_unknown_one(codec: Codec, fields: object) -> None:
    frame = json.dumps(fields).encode() if codec.is_text else msgpack.packb(fields)

    with pytest.raises(MalformedError):
        codec.decode_server_event(frame)

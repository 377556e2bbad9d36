"""Everything the fuzzer was led to still keeps every promise, and would show one that is broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from actors.connection import Connection
from actors.delivery import Delivery
from actors.session import Session
from ksmp import codec, malformed
from ksmp.codec import JsonCodec
from ksmp.events import Pong
from ksmp.upgrade import ClientHandshake
from ksmp.websocket import Framing, _Core
from relay.auth import Authenticator
from relay.transport import handshake, http
from relay.transport.addresses import ClientAddresses
from relay.transport.http import RequestReader
from tests.fuzz.promise import REACHED, BrokenPromiseError
from tests.fuzz.targets import TARGETS, Target

MOST_FILES: Final = 110
MOST_BYTES: Final = 1_024

CODES: Final = ("bad_request", "forbidden_origin", "headers_too_large", "method_not_allowed")
EVENTS: Final = ("Send", "AckRead", "Resume", "Ping", "Auth", "malformed", "unknown_event")
REACHED_BY: Final = {
    # target → what its corpus must have led to, so that it does not dry up unnoticed
    "codec": {
        *(f"ksmpv3.{kind} {event}" for kind in ("json", "msgpack") for event in EVENTS),
        *(f"server {event}" for event in ("InboxFrame", "SendAck", "ResumeComplete", "Read")),
        *("invalid text", "server Error", "server Pong", "server AuthOk", "server malformed"),
    },
    "handshake": {
        *("upgrade None", "upgrade ksmpv3.json", "upgrade ksmpv3.msgpack"),
        *(f"refused {code}" for code in (*CODES, "not_found", "upgrade_required")),
        *("server accepted", *(f"server refused with {digit}xx" for digit in "01345")),
        *("address of a client", "address of a proxy"),
        *("token as issued", "token with claims of its own", "token signature", "token expired"),
        *("token undecodable", "token missing", "token claims", "token not_yet_valid"),
    },
    "frames": {
        *(f"server sends {code}" for code in (None, 1000, 1001, 1002, 1003, 1005, 1009, 4429)),
        *(f"client sends {code}" for code in (None, 1000, 1001, 1002, 1003, 1005, 1009)),
        *("server gets messages", "client gets messages"),
    },
    "connection": {
        *("Connected", "InboxFrame", "ResumeComplete", "SendAck", "Read", "Pong", "AuthOk"),
        *(f"close {code}" for code in (1000, 1001, 1011, 4400, 4401, 4408, 4409, 4410)),
        *(f"error {code}" for code in ("malformed", "too_large", "forbidden_sender")),
        *(f"error {code}" for code in ("forbidden_recipient", "invalid_seq", "already_resumed")),
        *(f"error {code}" for code in ("idempotency_conflict", "cursor_ahead", "epoch_changed")),
        *(f"error {code}" for code in ("replay_truncated", "rate_limited", "storage_full")),
        *(f"error {code}" for code in ("outcome_unknown", "token_expired", "unauthenticated")),
        *(f"error {code}" for code in ("draining", "replaced", "internal", "overloaded")),
    },
}

targets = pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))


def take_corpus(target: Target) -> None:
    for file in sorted(target.corpus.iterdir()):
        try:
            target.take(file.read_bytes())
        except BaseException as error:
            error.add_note(f"the input is {file.name}")
            raise


@targets
def test_every_input_that_is_kept_keeps_every_promise_and_all_outcomes_are_reached(
    target: Target,
) -> None:
    REACHED.clear()

    take_corpus(target)

    assert REACHED_BY[target.name] - set(REACHED) == set()


@targets
def test_inputs_that_nobody_chose_keep_every_promise(target: Target) -> None:
    @settings(max_examples=100, deadline=None, database=None)
    @given(st.binary(max_size=120))
    def check(source: bytes) -> None:
        target.take(source)

    check()


@targets
def test_a_corpus_is_small(target: Target) -> None:
    sizes = [file.stat().st_size for file in target.corpus.iterdir()]

    assert 0 < len(sizes) <= MOST_FILES
    assert max(sizes) <= MOST_BYTES


# ── each of these, planted, is found by the corpora ──────────────────────────────────────────

Plant = Callable[[pytest.MonkeyPatch], None]


def any_character_is_an_identifiers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(codec, "IDENTIFIER_CHARACTERS", bytes(range(256)))


def a_refusal_echoes_what_only_looks_like_an_id(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(malformed, "is_identifier", bool)


def bytes_are_written_unpadded(patch: pytest.MonkeyPatch) -> None:
    encode = JsonCodec.encode
    patch.setattr(JsonCodec, "encode", lambda self, event: encode(self, event).replace(b"=", b""))


def a_request_is_judged_by_the_piece_that_completes_it(patch: pytest.MonkeyPatch) -> None:
    receive = RequestReader.receive

    def by_piece(self: RequestReader, chunk: bytes) -> http.Request | None:
        self._room += len(chunk)
        return receive(self, chunk)

    patch.setattr(RequestReader, "receive", by_piece)


def what_follows_the_head_is_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RequestReader, "rest", property(lambda _: b""))


def a_refusal_quotes(patch: pytest.MonkeyPatch) -> None:
    init = http.HandshakeRefusedError.__init__

    def quoting(
        self: http.HandshakeRefusedError, code: str, *, retry_after_ms: int = 1_000
    ) -> None:
        init(self, code, retry_after_ms=retry_after_ms)
        self.args = (code, "and what came")

    patch.setattr(http.HandshakeRefusedError, "__init__", quoting)


def any_key_will_do(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(handshake, "_is_key", lambda key: True)


def a_client_takes_any_answer(patch: pytest.MonkeyPatch) -> None:
    receive = ClientHandshake.receive

    def credulous(self: ClientHandshake, chunk: bytes) -> object:
        self._upgrade.process_response = lambda response: None  # type: ignore[method-assign]
        self._upgrade.subprotocol = "any"  # type: ignore[assignment]
        return receive(self, chunk)

    patch.setattr(ClientHandshake, "receive", credulous)


def the_first_address_named_is_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ClientAddresses, "_trusts", lambda self, address: True)


def signatures_are_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("relay.auth.validate_compact", lambda *_, **__: True)


def tokens_live_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Authenticator, "_check_times", lambda self, claims: None)


def pieces_of_a_frame_are_taken_for_frames(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_Core, "is_between_frames", property(lambda _: True))


def fragments_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_Core, "_take_fragment", _take_fragment_without_end)


def _take_fragment_without_end(self: _Core, frame: object) -> None:
    self._fragments.append(bytes(frame.data))  # type: ignore[attr-defined]
    if frame.fin:  # type: ignore[attr-defined]
        self._messages.append(b"".join(self._fragments))
        self._fragments.clear()


def a_message_after_our_close_is_delivered(patch: pytest.MonkeyPatch) -> None:
    def receive(self: Framing, chunk: bytes, *_: object) -> list[bytes | bytearray]:
        messages: list[bytes | bytearray] = []
        self._take_regular(chunk, messages)
        return messages

    patch.setattr(Framing, "receive", receive)


def a_replay_begins_one_too_late(patch: pytest.MonkeyPatch) -> None:
    resume = Delivery.resume
    patch.setattr(Delivery, "resume", lambda self, cursor: resume(self, cursor + 1))


def frames_come_without_a_resume(patch: pytest.MonkeyPatch) -> None:
    init = Delivery.__init__

    def resumed(self: Delivery, *arguments: object) -> None:
        init(self, *arguments)  # type: ignore[arg-type]
        self.is_resumed = True

    patch.setattr(Delivery, "__init__", resumed)


def a_pong_forgets_its_nonce(patch: pytest.MonkeyPatch) -> None:
    send = Connection.send

    def forgetful(self: Connection, event: object) -> None:
        send(self, replace_nonce(event))  # type: ignore[arg-type]

    patch.setattr(Connection, "send", forgetful)


def replace_nonce(event: object) -> object:
    return Pong(UNSET, event.server_time_ms) if isinstance(event, Pong) else event


def the_fourth_strike_is_forgiven_its_answer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Session, "_strike", lambda self, *_: None)


def an_acknowledgement_is_sent_twice(patch: pytest.MonkeyPatch) -> None:
    settle = Connection.settle

    def twice(self: Connection, letter: object, answer: object) -> None:
        settle(self, letter, answer)  # type: ignore[arg-type]
        self.send(answer)  # type: ignore[arg-type]

    patch.setattr(Connection, "settle", twice)


def a_connection_outlives_its_client(patch: pytest.MonkeyPatch) -> None:
    finish = Connection._finish

    async def never(self: Connection) -> None:
        await finish(self)
        await trio.sleep_forever()

    patch.setattr(Connection, "_finish", never)


PLANTED: Final[dict[str, tuple[Plant, ...]]] = {
    "codec": (
        any_character_is_an_identifiers,
        a_refusal_echoes_what_only_looks_like_an_id,
        bytes_are_written_unpadded,
    ),
    "handshake": (
        a_request_is_judged_by_the_piece_that_completes_it,
        what_follows_the_head_is_lost,
        a_refusal_quotes,
        any_key_will_do,
        a_client_takes_any_answer,
        the_first_address_named_is_believed,
        signatures_are_not_looked_at,
        tokens_live_for_ever,
    ),
    "frames": (
        pieces_of_a_frame_are_taken_for_frames,
        fragments_are_not_counted,
        a_message_after_our_close_is_delivered,
    ),
    "connection": (
        a_replay_begins_one_too_late,
        frames_come_without_a_resume,
        a_pong_forgets_its_nonce,
        the_fourth_strike_is_forgiven_its_answer,
        an_acknowledgement_is_sent_twice,
        a_connection_outlives_its_client,
    ),
}


@pytest.mark.parametrize(
    ("name", "plant"),
    [pytest.param(name, plant, id=plant.__name__) for name in PLANTED for plant in PLANTED[name]],
)
def test_a_planted_fault_is_found_by_the_inputs_that_are_kept(
    name: str, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)

    with pytest.raises(BrokenPromiseError):
        take_corpus(TARGETS[name])

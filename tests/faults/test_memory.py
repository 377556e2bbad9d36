"""Attacked in every way at once, up to every limit, the relay holds no more than it says it may."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from storage.log import Appended
from tests.faults.observing import KIB, MIB, pid_of, wait_until_idle
from tests.faults.status import Status, log_of, status_of, wait_for_connections, wait_until_back
from tests.storage.world import Sent, append, base, conversation, head_after, opened, writer
from tests.wire import raw
from tests.wire.codecs import MSGPACK
from tests.wire.connecting import Clients, StartRelay
from tests.wire.messages import envelope, fresh, resume, send
from tests.wire.recording import RecordedSocket

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

CONNECTIONS: Final = 120
SENDERS: Final = 8
HANDSHAKES: Final = 60
CIPHERTEXT_BYTES: Final = 64 * KIB
FRAME_BYTES: Final = 112 * KIB
CONVERSATIONS: Final = 400

NEVER: Final = 3_600
LIMITS: Final = {
    "connections": CONNECTIONS,
    "connections_per_user": CONNECTIONS,
    "handshakes": HANDSHAKES,
    "handshake_seconds": NEVER,
    "write_seconds": NEVER,
    "keepalive_seconds": NEVER,
    "max_ciphertext_bytes": CIPHERTEXT_BYTES,
    "max_frame_bytes": FRAME_BYTES,
    "outbound_bytes": 64 * KIB,
    "unacked_sends": 16,
    "unacked_bytes": 256 * KIB,
    "mailbox_bytes": 1 * MIB,
    "sends_under_way_bytes": 4 * MIB,
    "commit_bytes": 256 * KIB,
    "recent_records_bytes": 1 * MIB,
    "live_conversations": CONVERSATIONS // 4,
    "sends_per_second": 1_000_000,
    "sends_burst": 1_000_000,
}

UNREAD_RECORDS: Final = 200
GREEDY: Final = 20
GREED_BYTES: Final = 2 * MIB
TOO_BIG: Final = 1009
ATTACKS: Final = 3
GROWTH_TOLERATED_BYTES: Final = 8 * MIB
BACK_SECONDS: Final = 30.0


def memory_of(pid: int, *names: str) -> int:
    """The sum of these lines of the kernel's account of a process, in bytes."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    found = {words[0].rstrip(":"): int(words[1]) * KIB for words in lines if words[-1] == "kB"}
    return sum(found[name] for name in names)


def fill_inbox(store: Path, reader: str) -> None:
    """Give `reader` more to read than any buffer of the system's takes."""
    key = conversation("writer", reader)
    head = base(key)
    with opened(store, map_size_bytes=1 << 28) as environment:
        one = writer(environment)
        for number in range(UNREAD_RECORDS):
            batch = append(key, head, [Sent("writer", f"key-{number}", bytes(CIPHERTEXT_BYTES))])
            (outcome,) = one.transact([batch])
            assert isinstance(outcome, Appended)
            head = head_after(batch)


# ── the ways ─────────────────────────────────────────────────────────────────────────────────


@cache
def incomplete_message() -> bytes:
    """The longest message there may be, but for its last byte."""
    return raw.frame(raw.BINARY, bytes(FRAME_BYTES))[:-1]


@cache
def incomplete_fragments() -> bytes:
    """The same in as many fragments as there may be, none of them the last."""
    each = FRAME_BYTES // 64
    frames = [raw.frame(raw.BINARY, bytes(each), fin=False)]
    frames += [raw.frame(raw.CONTINUATION, bytes(each), fin=False)] * 62
    return b"".join(frames)


@cache
def untaken_messages() -> bytes:
    """Events whose refusals fill the queue, and behind them, in the same read, as many as fit."""
    refused = raw.message(MSGPACK.encode(resume(0))) * 300
    return refused + raw.frame(raw.BINARY, b"\x81\xa1") * ((64 * KIB - len(refused)) // 8)


@cache
def oversized_message() -> bytes:
    """A message that is far too long, but for its last byte."""
    return raw.frame(raw.BINARY, bytes(GREED_BYTES))[:-1]


@cache
def endless_fragments() -> bytes:
    """A message that never ends, in pieces of which none is too long."""
    beginning = raw.frame(raw.BINARY, bytes(KIB), fin=False)
    return beginning + raw.frame(raw.CONTINUATION, bytes(KIB), fin=False) * (GREED_BYTES // KIB)


TOO_MUCH: Final[tuple[Callable[[], bytes], ...]] = (oversized_message, endless_fragments)


@cache
def refused_without_end() -> bytes:
    """Far more than is read while the answers are not: the system keeps the rest, or takes none."""
    return raw.message(MSGPACK.encode(resume(0))) * (GREED_BYTES // 50)


BEHIND_THE_RESUME: Final[tuple[Callable[[], bytes], ...]] = (
    incomplete_message,
    untaken_messages,
    incomplete_fragments,
    refused_without_end,
)


class NarrowSocket(raw.RawSocket):
    """A socket for which the kernel keeps next to nothing: what is not read stays at the relay."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self._socket.settimeout(raw.TIMEOUT_SECONDS)
        self._socket.connect(address)
        self._received = b""

    def push(self, piece: bytes) -> None:
        """Write as much as is taken without waiting."""
        self._socket.setblocking(False)
        rest = memoryview(piece)
        with suppress(BlockingIOError):
            while rest:
                rest = rest[self._socket.send(rest) :]
        self._socket.settimeout(raw.TIMEOUT_SECONDS)


def stuck_reader(own: Clients, user: str) -> NarrowSocket:
    """A device that asks for everything, says more than it may be answered, and reads nothing."""
    device = NarrowSocket(own.relay.address)
    token = own.issuer.token(user, fresh("device"))
    host = raw.host_of(own.relay.address)
    device.send(raw.request(host, token=token, codec=MSGPACK))
    assert device.response().status == 101
    device.send(raw.message(MSGPACK.encode(resume(0))))
    return device


def silent_handshake(own: Clients) -> raw.RawSocket:
    """A request whose head is as long as it may be, but for its end."""
    handshake = raw.RawSocket(own.relay.address)
    head = raw.request(raw.host_of(own.relay.address))[:-2]
    handshake.send(head + b"X-Padding: " + b"x" * (16_000 - len(head)))
    return handshake


def flood(own: Clients, sender: RecordedSocket, user: str) -> None:
    """As many sends at once as are taken, large and small, into many conversations."""
    small = [
        send(envelope(user, "nobody", conversationId=f"talk-{n}")) for n in range(CONVERSATIONS)
    ]
    large = envelope(user, "nobody", conversationId="large", ciphertext=bytes(CIPHERTEXT_BYTES))
    sends = [send(large | {"idempotencyKey": fresh("key")}) for _ in range(20)]
    sender.tell(*small)
    for one in sends:
        sender.tell(one)
    for _ in range(len(small) + len(sends)):
        assert sender.take()["type"] in ("ksmpv3.send.ack", "ksmpv3.error")


def demand_too_much(own: Clients) -> None:
    """Messages past their limits, which cost whoever sends them the connection."""
    with ExitStack() as stack:
        greedy = [stack.enter_context(own.connect_raw(codec=MSGPACK)) for _ in range(GREEDY)]
        for number, device in enumerate(greedy):
            device.send(TOO_MUCH[number % len(TOO_MUCH)]())
        for device in greedy:
            assert device.close_code(MSGPACK) in (TOO_BIG, raw.ENDED)
    wait_for_connections(own.relay, 0, BACK_SECONDS)


def attack(own: Clients, reader: str) -> None:
    """All of it at once, held until the relay has come to rest."""
    pid = pid_of(own.relay)
    with ExitStack() as stack:
        for _ in range(HANDSHAKES + HANDSHAKES // 2):
            stack.enter_context(silent_handshake(own))
        demand_too_much(own)
        senders = [
            (user, stack.enter_context(own.connect_recorded(user)))
            for user in (f"sender-{number}" for number in range(SENDERS))
        ]
        stuck = []
        for number in range(CONNECTIONS - SENDERS):
            behind = BEHIND_THE_RESUME[number % len(BEHIND_THE_RESUME)]
            device = stack.enter_context(stuck_reader(own, reader))
            stuck.append((device, behind))
        wait_until_idle(pid, BACK_SECONDS)
        for device, behind in stuck:
            device.push(behind())
        for user, sender in senders:
            flood(own, sender, user)
        wait_until_idle(pid, BACK_SECONDS)
        assert status_of(own.relay).connections == CONNECTIONS


# ── the promise ──────────────────────────────────────────────────────────────────────────────


def attacked(own: Clients, reader: str, baseline: Status) -> int:
    """What the process holds of its own when the attack and all who took part in it have gone."""
    attack(own, reader)
    wait_until_back(own.relay, baseline, BACK_SECONDS)
    with own.connect_recorded("prober") as prober:
        prober.tell(send(envelope("prober", "anyone")))
        assert prober.take()["type"] == "ksmpv3.send.ack"
    wait_until_idle(pid_of(own.relay), BACK_SECONDS)
    return memory_of(pid_of(own.relay), "RssAnon")


@pytest.mark.promises("I1", "I2", "I8", "I12")
def test_attacked_in_every_way_at_once_the_relay_holds_no_more_than_it_says_and_leaks_nothing(
    start: StartRelay, record_property: Callable[[str, object], None]
) -> None:
    own = start(**{f"limits__{name}": value for name, value in LIMITS.items()})
    assert own.relay.terminate() == 0
    fill_inbox(own.relay.data_directory / "store", "reader")
    own.relay.start()
    pid = pid_of(own.relay)
    said = log_of(own.relay, "relay.ready")[-1]["most_memory_bytes"]
    listed = json.loads(own.relay.run("config", "memory", "--json"))
    assert said == listed["bytes"]
    # Nobody tries to make it remember a hundred thousand names.
    names = sum(part["bytes"] for part in listed["parts"] if part["name"] == "remembered names")
    with own.connect_raw(codec=MSGPACK):
        pass
    wait_until_idle(pid, BACK_SECONDS)
    baseline = status_of(own.relay)
    idle = memory_of(pid, "RssAnon"), memory_of(pid, "VmRSS")

    left = [attacked(own, "reader", baseline) for _ in range(ATTACKS)]

    peak = memory_of(pid, "VmHWM") - idle[1]
    store = (own.relay.data_directory / "store" / "data.mdb").stat().st_size
    print(
        f"at most {said / MIB:.0f} MiB, of which names {names / MIB:.0f}; the peak was"
        f" {peak / MIB:.0f} MiB, with up to {store / MIB:.0f} MiB of the store's file;"
        f" after each attack {[f'{(one - idle[0]) / MIB:.1f}' for one in left]} MiB are left"
    )
    record_property("most_memory_bytes", said)
    record_property("peak_bytes", peak)
    assert peak <= said - names
    assert left[-1] <= left[1] + GROWTH_TOLERATED_BYTES

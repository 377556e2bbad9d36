"""What docs/protocol.md shows and tabulates is what the program does; no link leads nowhere."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec import Struct

import actors.session
import actors.welcome
import relay.auth
import relay.transport.http as http
from actors.limits import Limits
from actors.surroundings import CLOCK_SKEW_SECONDS
from ksmp import events, types
from ksmp.chain import chain_after, chain_base
from ksmp.codec import JSON, MSGPACK
from ksmp.errors import REGISTRY
from ksmp.events import CLIENT_EVENT_TYPES, Connected, Envelope, Error, InboxFrame, SendAck
from ksmp.types import ConversationId, UserId
from ksmp.websocket import ServerFraming
from relay.config import LimitsConfig
from relay.settings import limits_of
from relay.transport.handshake import Judge
from relay.transport.limits import TransportLimits
from storage.limits import StoreLimits

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
PAGES: Final = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def section(heading: str) -> str:
    """The text under a heading, up to the next one of its level or above."""
    found = re.search(rf"^(#+) {re.escape(heading)}.*?$\n(.*)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return re.split(rf"^#{{1,{len(found[1])}}} ", found[2], maxsplit=1, flags=re.MULTILINE)[0]


def table(heading: str, first_column: str) -> list[dict[str, str]]:
    """The rows of the table in that section whose head begins with `first_column`."""
    lines = iter(section(heading).splitlines())
    head = next(line for line in lines if line.startswith(f"| {first_column} |"))
    names = cells(head)
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(names, cells(line), strict=True)))
    assert rows, heading
    return rows


def cells(line: str) -> list[str]:
    return [cell.strip().strip("`") for cell in line.strip().strip("|").split("|")]


# ── the examples ─────────────────────────────────────────────────────────────────────────────


def examples() -> list[bytes]:
    """Every event that the page shows, its white space for readers taken out."""
    blocks = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [json.dumps(json.loads(block), separators=(",", ":")).encode() for block in blocks]


def kind_of(example: bytes) -> str:
    return str(json.loads(example)["type"])


def decoded(example: bytes) -> Any:
    if kind_of(example) in CLIENT_EVENT_TYPES:
        return JSON.decode_client_event(example)
    return JSON.decode_server_event(example)


def example_of(kind: type) -> Any:
    return next(event for event in map(decoded, examples()) if isinstance(event, kind))


@pytest.mark.parametrize("example", examples(), ids=kind_of)
def test_every_example_is_a_real_event_in_its_canonical_form(example: bytes) -> None:
    event = decoded(example)

    assert JSON.encode(event) == example
    if kind_of(example) in CLIENT_EVENT_TYPES:
        assert MSGPACK.decode_client_event(MSGPACK.encode(event)) == event
    else:
        assert MSGPACK.decode_server_event(MSGPACK.encode(event)) == event


def test_every_event_has_an_example_under_its_own_heading() -> None:
    kinds = {
        str(kind.__struct_config__.tag)
        for kind in (*events.ClientEvent.__args__, *events.ServerEvent.__args__)
    }

    assert {kind_of(example) for example in examples()} == kinds
    for kind in kinds:
        assert f'"type": "{kind}"' in section(f"`{kind}`")


def test_a_relay_with_default_limits_connects_as_in_the_example() -> None:
    shown: Connected = example_of(Connected)
    limits = Limits()

    assert shown.extensions == actors.welcome.EXTENSIONS
    assert shown.keepalive_ms == limits.keepalive_seconds * 1_000
    assert shown.limits == events.Limits(
        limits.max_ciphertext_bytes,
        limits.max_frame_bytes,
        limits.unacked_sends,
        limits.sends_per_second,
        limits.sends_burst,
        None,
    )


def test_errors_in_the_examples_say_what_the_registry_says() -> None:
    shown = [event for event in map(decoded, examples()) if isinstance(event, Error)]

    assert shown
    for error in shown:
        refusal = REGISTRY[error.code]
        assert (error.message, error.retryable, error.action) == (
            refusal.message,
            refusal.retryable,
            refusal.action,
        )
        assert isinstance(error.retry_after_ms, int) is refusal.retryable


# ── the chain ────────────────────────────────────────────────────────────────────────────────


def worked_values() -> dict[str, bytes]:
    return {row["what"]: bytes.fromhex(row["hex"]) for row in table("The chain", "what")}


def test_the_worked_chain_is_what_the_formula_gives() -> None:
    """Computed from the page's own words, with nothing of `ksmp.chain`."""
    from hashlib import sha256

    def lp(text: str) -> bytes:
        return len(text).to_bytes(4, "big") + text.encode()

    values = worked_values()
    base = b"ksmpv3" + lp("lunch") + lp("alice") + lp("bob")
    envelope = example_of(InboxFrame).envelope
    hashed = b"".join(
        (
            envelope.server_seq.to_bytes(8, "big"),
            envelope.server_received_at_ms.to_bytes(8, "big"),
            lp(envelope.message_id),
            lp(envelope.sender_user_id),
            lp(envelope.recipient_user_id),
            lp(envelope.content_type),
            envelope.client_created_at_ms.to_bytes(8, "big"),
            lp(envelope.idempotency_key),
            sha256(envelope.ciphertext).digest(),
        )
    )

    assert values == {
        '"ksmpv3" ‖ lp("lunch") ‖ lp("alice") ‖ lp("bob")': base,
        "base": sha256(base).digest(),
        "SHA-256 of `sealed for bob": sha256(b"sealed for bob").digest(),
        "what is hashed for 1, behind the base": hashed,
        "chain 1": sha256(sha256(base).digest() + hashed).digest(),
        "chain 2": values["chain 2"],
    }


def test_the_frames_in_the_examples_are_chained_as_the_relay_chains_them() -> None:
    values = worked_values()
    frames = [event for event in map(decoded, examples()) if isinstance(event, InboxFrame)]
    chain = chain_base(ConversationId("lunch"), UserId("bob"), UserId("alice"))

    assert chain == values["base"]
    assert [frame.envelope.server_seq for frame in frames] == [1, 2]
    for frame in frames:
        chain = chain_after(chain, frame.envelope)
        assert chain == frame.chain == values[f"chain {frame.envelope.server_seq}"]


def test_send_acknowledgement_and_frame_of_the_examples_are_one_message() -> None:
    sent, frame, ack = example_of(events.Send), example_of(InboxFrame), example_of(SendAck)

    for field in Envelope.__struct_fields__:
        assert getattr(sent.envelope, field) == getattr(frame.envelope, field)
    for field in SendAck.__struct_fields__:
        source = frame if field == "chain" else frame.envelope
        assert getattr(ack, field) == getattr(source, field)


# ── the tables ───────────────────────────────────────────────────────────────────────────────

# Codes that answer events as well as handshakes; every other code does one of the two.
OF_BOTH: Final = {"rate_limited", "overloaded", "draining", "unauthenticated"}


def test_the_table_of_error_codes_is_the_registry() -> None:
    shown = {row["code"]: (row["retryable"], row["action"]) for row in table("Errors", "code")}

    assert shown == {
        code: ("yes" if refusal.retryable else "no", refusal.action)
        for code, refusal in REGISTRY.items()
        if not refusal.http_status or code in OF_BOTH
    }


def test_the_table_of_actions_is_the_registry() -> None:
    shown = {row["action"] for row in table("Errors", "action")}

    assert shown == {refusal.action for refusal in REGISTRY.values()}


def test_the_table_of_refusals_is_the_registry() -> None:
    rows = table("Refusals before the upgrade", "line")

    assert [int(row["line"]) for row in rows] == list(range(1, len(rows) + 1))
    assert {(row["code"], int(row["status"])) for row in rows} == {
        (code, refusal.http_status) for code, refusal in REGISTRY.items() if refusal.http_status
    }


def test_a_request_with_every_fault_is_refused_line_by_line_as_they_are_mended() -> None:
    judge = Judge(allowed_origins=frozenset(), is_secure=False)
    faulty = {
        "Host": "",
        "target": "/elsewhere",
        "method": "POST",
        "Upgrade": "h2c",
        "Origin": "https://elsewhere.example",
        "Sec-WebSocket-Protocol": "chat",
    }
    sound = {
        "Host": "relay.example",
        "target": "/ksmp/v3",
        "method": "GET",
        "Upgrade": "websocket",
        "Origin": "https://relay.example",
        "Sec-WebSocket-Protocol": "ksmpv3.json",
    }
    rest = {
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "AAECAwQFBgcICQoLDA0ODw==",
        "Sec-WebSocket-Version": "13",
    }

    codes = []
    for mended in range(len(faulty)):
        asked = {**faulty, **dict(list(sound.items())[:mended])}
        line = f"{asked.pop('method')} {asked.pop('target')} HTTP/1.1"
        head = [line, *(f"{name}: {value}" for name, value in (asked | rest).items()), "", ""]
        with pytest.raises(http.HandshakeRefusedError) as refused:
            request = http.RequestReader().receive("\r\n".join(head).encode())
            assert request is not None
            judge.judge(request)
        codes.append(refused.value.code)

    assert codes == [row["code"] for row in table("Refusals before the upgrade", "line")[2:8]]


def close_codes(source: Path) -> Iterator[int]:
    """Every code that this file closes a connection with, written there as a number or by name."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    named: dict[str, int] = {}
    for node in ast.walk(tree):
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=int(code))):
                named[name] = code
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        if node.func.attr in ("close", "fail"):
            match node.args[0]:
                case ast.Constant(value=int(code)):
                    yield code
                case ast.Name(id=name) if name in named:
                    yield named[name]


def test_the_table_of_close_codes_has_those_that_the_relay_sends() -> None:
    files = [ROOT / "ksmp" / "websocket.py", ROOT / "relay" / "server.py"]
    files += [ROOT / "actors" / f"{name}.py" for name in ("connection", "session")]
    files += [ROOT / "relay" / "transport" / "websocket.py"]
    framing = ServerFraming(is_text=True, max_frame_bytes=100)
    framing.receive(b"\x81\x00", 0.0)  # without a mask: the library's own judgement
    by_library = framing.close_code_sent
    assert by_library == 1002

    shown = [int(row["close code"]) for row in table("How a connection ends", "close code")]

    assert shown == sorted({by_library}.union(*map(close_codes, files)))


# What nobody notices from outside.
INSIDE: Final = {
    "commit_bytes",
    "conversation_idle_seconds",
    "live_conversations",
    "recent_records_bytes",
}


def number(text: str) -> float:
    return float(text.replace(",", ""))


def test_the_table_of_limits_has_the_defaults_that_are_in_force() -> None:
    shown = {row["setting"]: number(row["default"]) for row in table("Limits", "setting")}
    configured = asdict(LimitsConfig())

    assert shown == {name: value for name, value in configured.items() if name not in INSIDE}
    assert limits_of(Limits, LimitsConfig()) == Limits()
    assert limits_of(StoreLimits, LimitsConfig()) == StoreLimits()
    transport_limits = limits_of(TransportLimits, LimitsConfig())
    assert transport_limits == TransportLimits(transport_limits.max_frame_bytes)


def test_the_table_of_fixed_numbers_has_those_of_the_code() -> None:
    shown = {row["number"]: number(row["value"]) for row in table("Limits", "number")}

    assert shown == {
        "characters of an identifier": types.MAX_IDENTIFIER_LENGTH,
        "largest integer": types.MAX_INTEGER,
        "bytes of a token": relay.auth.MAX_TOKEN_BYTES,
        "clock skew of tokens, seconds": CLOCK_SKEW_SECONDS,
        "bytes of a request's head": http.MAX_HEAD_BYTES,
        "headers of a request": http.MAX_HEADERS,
        "tolerated strikes": actors.session.TOLERATED_STRIKES,
        "within seconds": actors.session.STRIKE_SECONDS,
        "seconds between refreshes": actors.session.REFRESH_SECONDS,
        "times the rate of sends, refused ones included, until 4429": (actors.rates.FLOOD_FACTOR),
    }


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("`ksmpv3.send`", Envelope),
        ("`ksmpv3.ack.read`", events.AckRead),
        ("`ksmpv3.resume`", events.Resume),
        ("`ksmpv3.connected`", Connected),
        ("`ksmpv3.inbox.frame`", InboxFrame),
        ("`ksmpv3.error`", Error),
    ],
)
def test_the_table_of_an_event_has_its_fields_in_order(heading: str, kind: type[Struct]) -> None:
    shown = [
        name.strip("` ") for row in table(heading, "field") for name in row["field"].split(",")
    ]

    assert shown == list(kind.__struct_encode_fields__)


# ── links ────────────────────────────────────────────────────────────────────────────────────


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_link_leads_nowhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    links = re.findall(r"\]\(([^)\s]+)\)", text)

    for link in links:
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link

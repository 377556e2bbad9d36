"""Faults are ordered of a laboratory only, by whoever has the token; all of it is said loudly."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import trio

from relay.admin.failpoints import LARGEST_ORDER_BYTES
from relay.banner import LABORATORY
from relay.lab.effects import EFFECTS
from relay.lab.orders import MOST_ORDERS
from storage.fault_orders import OF_NO_CONVERSATION, Place
from tests.wire import raw
from tests.wire.canaries import found_in
from tests.wire.connecting import Clients, StartRelay
from tests.wire.credentials import Issuer
from tests.wire.laboratory import Laboratory, PatientOperator, laboratory, staged
from tests.wire.log_lines import await_line, lines
from tests.wire.messages import envelope, fresh, send
from tests.wire.operator import Operator
from tests.wire.relay_process import PROGRAM, REPOSITORY, RelayProcess

PAGE: Final = (REPOSITORY / "docs" / "failpoints.md").read_text(encoding="utf-8")
CONFIGURATION: Final = 78
DROP: Final = {"place": "route", "action": "drop"}


@pytest.fixture
def transport() -> str:
    """One is enough, but where the failpoints of the wire are tried."""
    return "websockets"


@pytest.fixture(scope="module")
def shared_lab(
    tmp_path_factory: pytest.TempPathFactory, issuer: Issuer, key_set: Path
) -> Iterator[Laboratory]:
    directory = tmp_path_factory.mktemp("lab") / "relay"
    lab = laboratory(directory, issuer, key_set, "websockets")
    with lab.relay:
        yield lab


@pytest.fixture
def lab(shared_lab: Laboratory) -> Laboratory:
    """One in which nothing is ordered."""
    shared_lab.clear()
    return shared_lab


# ── ordering ─────────────────────────────────────────────────────────────────────────────────


def test_an_order_is_listed_as_it_was_given_until_it_is_taken_back(lab: Laboratory) -> None:
    whole = {
        "place": "number",
        "action": "delay",
        "seconds": 0.25,
        "times": 3,
        "skip": 1,
        "probability": 0.5,
        "seed": 7,
        "conversations": [{"conversation_id": "c", "users": ["b", "a"]}, "0123456789ab"],
        "keys": "poison-",
    }
    answer = lab.post(whole)
    number = answer.json["id"]
    other = lab.order("send", "exit", code=3)

    assert answer.status == 201
    assert lab.orders() == [
        {"id": number, **whole, "hits": 0, "passed": 0},
        {"id": other, "place": "send", "action": "exit", "code": 3, "hits": 0, "passed": 0},
    ]
    gone = lab.operator.look(f"/failpoints/{number}", "DELETE")
    assert (gone.status, gone.json) == (200, {"cleared": 1})
    again = lab.operator.look(f"/failpoints/{number}", "DELETE")
    assert (again.status, again.json["error"]) == (404, "no_such_order")
    assert [order["id"] for order in lab.orders()] == [other]
    assert lab.operator.look("/failpoints", "DELETE").json == {"cleared": 1}
    assert lab.orders() == []


@pytest.mark.parametrize("number", ["0", "-1", "x", "1x", "%D9%A3", "9" * 30, "%2e%2e"])
def test_what_is_no_id_takes_nothing_back(lab: Laboratory, number: str) -> None:
    lab.order("route", "drop")

    assert lab.operator.look(f"/failpoints/{number}", "DELETE").status == 404
    assert len(lab.orders()) == 1


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (b"", "truncated"),
        (b"\xff\xfe", "malformed"),
        (b"[" * 20_000, "object"),
        ({"place": "number"}, "`action`"),
        (DROP | {"often": 3}, "`often`"),
        (DROP | {"place": "elsewhere"}, "elsewhere"),
        (DROP | {"action": "delay", "seconds": "1"}, "$.seconds"),
        ({"place": "send", "action": "drop", "keys": "k"}, "does not know whose letter"),
    ],
    ids=str,
)
def test_what_is_no_order_is_refused_with_what_why_and_what_to_do(
    lab: Laboratory, wrong: object, why: str
) -> None:
    answer = lab.post(wrong)

    assert (answer.status, answer.json["error"]) == (400, "malformed")
    message = answer.json["message"]
    assert message.startswith("This is no order: ")
    assert why in message
    assert message.endswith("docs/failpoints.md has the format and examples.")
    assert lab.orders() == []


def test_an_order_may_be_as_long_as_the_gate_lets_in(lab: Laboratory) -> None:
    spaces = b" " * (LARGEST_ORDER_BYTES - len(json.dumps(DROP)))

    assert lab.post(spaces + json.dumps(DROP).encode()).status == 201


def test_without_the_token_nothing_is_told_and_nothing_is_ordered(lab: Laboratory) -> None:
    number = lab.order("route", "drop")
    for method, path, body in (
        ("GET", "/failpoints", None),
        ("POST", "/failpoints", json.dumps(DROP).encode()),
        ("DELETE", "/failpoints", None),
        ("DELETE", f"/failpoints/{number}", None),
    ):
        assert lab.operator.ask(path, method, body=body).status == 401
        assert lab.operator.ask(path, method, body=body, token="x" * 43).status == 401
    assert [order["id"] for order in lab.orders()] == [number]


def test_a_relay_that_is_no_laboratory_says_so_and_takes_no_order(start: StartRelay) -> None:
    operator = Operator(start().relay)
    body = json.dumps(DROP).encode()
    for method, path in (
        ("GET", "/failpoints"),
        ("POST", "/failpoints"),
        ("DELETE", "/failpoints"),
        ("DELETE", "/failpoints/1"),
    ):
        answer = operator.ask(path, method, token=operator.token, body=body * (method == "POST"))
        assert (answer.status, answer.json["error"]) == (404, "not_a_lab")
        assert "--lab" in answer.json["message"]
    metrics = operator.metrics()
    assert metrics["ksmp_lab"] == 0
    assert not any("failpoint" in name for name in metrics)
    printed = operator._relay.output()
    assert b"LABORATORY" not in printed
    assert b"relay.lab" not in printed


# ── being loud about it ──────────────────────────────────────────────────────────────────────


def test_a_laboratory_says_what_it_is_before_all_else(lab: Laboratory) -> None:
    printed = (lab.relay.directory / "stdout").read_text().splitlines()

    assert printed[: len(LABORATORY)] == list(LABORATORY)
    assert any("never use it for real messages" in line.lower() for line in LABORATORY)
    (line,) = lines(lab.relay, "relay.lab")
    assert line["level"] == "warning"
    assert lab.operator.metrics()["ksmp_lab"] == 1
    shown = json.loads(lab.relay.run("config", "show", "--json"))
    assert shown["lab"] == {"enabled": False, "failpoints": None}


@pytest.mark.parametrize("place", ["environment", "file"])
def test_no_file_and_no_environment_makes_a_laboratory(tmp_path: Path, place: str) -> None:
    file = tmp_path / "relay.toml"
    file.write_text("[lab]\nenabled = true\n" if place == "file" else "")
    settings = {"KSMP_LAB__ENABLED": "true"} if place == "environment" else {}

    relay = RelayProcess(tmp_path, settings)
    ended = relay.attempt("serve", "--data", str(tmp_path / "data"), "--config", str(file))

    assert ended.returncode == CONFIGURATION
    assert b"Start it with the flag --lab, or remove this." in ended.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.trio
async def test_the_log_tells_of_orders_and_first_hits_and_of_nobodys_words(
    lab: Laboratory,
) -> None:
    before = {event: len(lines(lab.relay, f"failpoint.{event}")) for event in ("ordered", "hit")}
    conversation, key = "canary-talk-91c0", "canary-key-4d1e"
    alice_id, bob_id = "canary-alice-77aa", "canary-bob-10fe"
    named = {"conversation_id": conversation, "users": [alice_id, bob_id]}
    told = {"conversations": [named], "keys": "canary-key"}
    number = lab.order("number", "delay", seconds=0.001, **told)
    committing = lab.order("before_commit", "delay", seconds=0.001, times=9, **told)
    sent = envelope(alice_id, bob_id, conversationId=conversation)
    async with lab.clients.connect(alice_id) as alice:
        for n in range(3):
            await alice.send(sent | {"idempotencyKey": f"{key}-{n}"})
    await trio.to_thread.run_sync(lab.operator.look, f"/failpoints/{number}", "DELETE")

    def logged(event: str, count: int) -> list[dict[str, object]]:
        await_line(lab.relay, f"failpoint.{event}", before[event] + count)
        new = lines(lab.relay, f"failpoint.{event}")[before[event] :]
        return [{name: line[name] for name in line if name != "time"} for line in new]

    ordered = await trio.to_thread.run_sync(logged, "ordered", 2)
    hit = await trio.to_thread.run_sync(logged, "hit", 2)
    first = {"level": "warning", "event": "failpoint.ordered", "order": number}
    assert ordered[0] == first | {"kind": "number", "action": "delay", "conversations": 1}
    assert [(line["order"], line["kind"]) for line in hit] == [
        (number, "number"),
        (committing, "before_commit"),
    ]
    assert hit[0]["conversation"] == hit[1]["conversation"]
    assert lines(lab.relay, "failpoint.cleared")[-1]["order"] == number
    metrics = await trio.to_thread.run_sync(lab.operator.metrics)
    assert metrics['ksmp_failpoint_hits_total{action="delay",place="number"}'] >= 3
    canaries = [text.encode() for text in (conversation, key, alice_id, bob_id)]
    assert found_in(lab.relay.output(), canaries) == []

    # and the hash in the log chooses the conversation as well
    lab.clear()
    lab.order("route", "drop", conversations=[hit[0]["conversation"]])
    async with lab.clients.connect(alice_id) as alice:
        await alice.tell(send(sent | {"idempotencyKey": "another"}))
        await alice.send(sent | {"conversationId": fresh("talk")})
        lab.clear()
        assert (await alice.send(sent | {"idempotencyKey": "last"}))["serverSeq"] == 4


# ── the file ─────────────────────────────────────────────────────────────────────────────────


def test_a_file_of_orders_is_in_force_from_the_start_and_read_again_on_sighup(
    tmp_path: Path,
) -> None:
    file = tmp_path / "orders"
    file.write_text(f"{json.dumps(DROP)}\n\n" + '{"place": "send", "action": "exit"}\n')
    relay = RelayProcess(tmp_path, options=("--lab", "--failpoints", str(file)))
    with relay:
        lab = Laboratory(Clients(Issuer(), relay), PatientOperator(relay))
        assert [order["place"] for order in lab.orders()] == ["route", "send"]
        (line,) = lines(relay, "relay.lab")
        assert line["orders"] == 2
        posted = lab.order("encode", "drop")
        file.write_text('{"place": "publish", "action": "drop"}\n')
        relay.signal(signal.SIGHUP)
        await_line(relay, "relay.reloaded")
        assert [order["place"] for order in lab.orders()] == ["encode", "publish"]
        assert lab.orders()[0]["id"] == posted

        file.write_text(f'{json.dumps(DROP)}\n{{"place": "send", "action": "jump"}}\n')
        relay.signal(signal.SIGHUP)
        problem = await_line(relay, "relay.not_reloaded")["problem"]
        assert "line 2" in problem
        assert "jump" in problem
        assert [order["place"] for order in lab.orders()] == ["encode", "publish"]

        file.write_text(f"{json.dumps(DROP)}\n" * MOST_ORDERS)  # all there is room for
        relay.signal(signal.SIGHUP)
        await_line(relay, "relay.reloaded", 2)
        assert [order["place"] for order in lab.orders()] == ["route"] * MOST_ORDERS
        answer = lab.post(DROP)
        assert (answer.status, answer.json["error"]) == (409, "too_many_orders")
        assert relay.terminate() == 0


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (json.dumps(DROP), (), "--failpoints orders faults, and this relay is no laboratory."),
        (f'\n{json.dumps(DROP)}\n{{"place": "send"}}', ("--lab",), "line 3: "),
        ("[1]", ("--lab",), "orders) line 1: "),
        ("\xff", ("--lab",), "line 1: "),
        (None, ("--lab",), "cannot be read: No such file or directory"),
        (f"{json.dumps(DROP)}\n" * (MOST_ORDERS + 1), ("--lab",), "257 orders"),
    ],
    ids=["no laboratory", "a field is missing", "no object", "no text", "no file", "too many"],
)
def test_a_file_that_cannot_be_used_ends_the_start_and_says_where_it_is_wrong(
    tmp_path: Path, content: str | None, options: tuple[str, ...], said: str
) -> None:
    file = tmp_path / "orders"
    if content is not None:
        file.write_text(content, encoding="latin-1")
    relay = RelayProcess(tmp_path)
    data = ("--data", str(tmp_path / "data"))
    ended = relay.attempt("serve", *data, *options, "--failpoints", str(file))

    assert ended.returncode == CONFIGURATION
    assert said in ended.stderr.decode()
    assert b"Traceback" not in ended.stderr
    assert not (tmp_path / "data").exists()


# ── the wire, through the other transport ────────────────────────────────────────────────────


@pytest.mark.trio
@pytest.mark.parametrize("other", ["trio-websocket"])
async def test_the_failpoints_of_the_wire_are_those_of_both_transports(
    tmp_path: Path, issuer: Issuer, key_set: Path, other: str
) -> None:
    lab = laboratory(tmp_path / "relay", issuer, key_set, other)
    with lab.relay:
        await trio.to_thread.run_sync(lab.status)
        for place, action in (
            ("decode", "raise"),
            ("decode", "drop"),
            ("send", "raise"),
            ("send", "drop"),
        ):
            async with staged(lab) as stage:
                await stage.order(place, action, times=1)
                sent = stage.envelope()
                await stage.alice.tell(send(sent))
                if (place, action) == ("decode", "drop"):
                    assert await stage.alice.before_pong() == []
                else:
                    code = raw.ENDED if action == "drop" else 1011
                    assert await stage.alice.close_code() == code
                await stage.await_hits()
        await trio.to_thread.run_sync(lab.assert_nothing_is_left)
        assert lab.relay.terminate() == 0


# ── what the page says ───────────────────────────────────────────────────────────────────────


def rows(head: str) -> list[list[str]]:
    """The rows of the table whose head begins so."""
    found = re.search(rf"^\| {re.escape(head)} .*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert found is not None, head
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in found[1].splitlines()
    ]


def test_the_page_has_what_each_action_does_at_each_place() -> None:
    shown = {
        (place.strip("`"), action.strip("`")): does
        for place, action, does in rows("place | action")
    }
    told = {
        (place.value, action.value): does
        for place, effects in EFFECTS.items()
        for action, does in effects.items()
    }

    assert shown == told
    assert len(told) == 40


def test_an_operator_is_told_of_every_place_what_the_page_says(lab: Laboratory) -> None:
    listed = lab.operator.look("/failpoints").json["places"]

    assert [one["place"] for one in listed] == [*map(str, Place)]
    assert [one["does"] for one in listed] == [EFFECTS[place] for place in Place]


def test_the_page_says_which_places_know_conversations() -> None:
    shown = {place.strip("`"): knows for place, _, _, knows in rows("place | what passes there")}

    assert shown == {place.value: "no" if place in OF_NO_CONVERSATION else "yes" for place in Place}


def test_the_page_has_every_field_of_an_order() -> None:
    from storage.fault_orders import Order

    assert [name.strip("`") for name, _, _ in rows("field")] == list(Order.__struct_fields__)


def commands() -> list[tuple[str, str]]:
    """Each command that the page shows, and what it is shown to print."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], ""))
                continue
            command, printed = found.pop()
            is_unfinished = command.endswith("\\") or command.count("'") % 2 == 1
            found.append(
                (f"{command}\n{line}", printed) if is_unfinished else (command, printed + line)
            )
    return found


def test_what_the_page_tells_people_to_type_does_what_it_shows(tmp_path: Path) -> None:
    (serve, _), *curls = commands()
    assert serve.startswith("ksmp-relay serve --lab ")
    shown = shlex.split(serve)[2:]
    relay = RelayProcess(tmp_path, options=("--lab",))
    with relay:
        operator = Operator(relay)
        printed = []
        for curl, _ in curls:
            at = f"{operator.address[0]}:{operator.address[1]}"
            command = curl.replace("127.0.0.1:8776", at).replace(
                "var/lab", str(relay.data_directory)
            )
            ended = subprocess.run(
                ["bash", "-c", command], capture_output=True, timeout=30, check=True
            )
            printed.append(ended.stdout.decode())
    assert " ".join(shown) == "--lab --data var/lab --port 8775 --admin-port 8776"
    assert len(curls) == 7
    assert json.loads(printed[0])["orders"] == []
    assert [(text, expected) for text, (_, expected) in zip(printed, curls, strict=True)][1:] == [
        (expected, expected) for _, expected in curls[1:]
    ]


def test_the_program_knows_the_flags(tmp_path: Path) -> None:
    shown = subprocess.run(
        [*PROGRAM, "serve", "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout

    assert {"--lab", "--failpoints"} <= set(re.findall(r"--[a-z-]+", shown))

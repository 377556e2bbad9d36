"""An operator finds what the log has told him of, by its hash, and can let it live again."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import pytest
import trio
from starlette.applications import Starlette
from trio.testing import MockClock

from actors.conversation import Conversation
from actors.dead_letters import DeadLetter
from actors.supervisor import Intensity
from actors.telemetry import hashed_conversation
from actors.traffic import Traffic
from ksmp.types import TimeMs
from relay.admin.observed import Observed
from relay.admin.pages import MOST_LISTED, Pages
from relay.admin.readiness import Readiness
from relay.admin.watches import LoopWatch, StoreWatch
from relay.digests import HASH_KEY_BYTES, Digests
from storage.commit_meter import CommitMeter
from storage.read_meter import ReadMeter
from tests.actors.world import Client, World, all_answered, key_of, send_letter
from tests.recording_telemetry import RecordingTelemetry
from tests.relay.admin.asking import ask

DIGESTS = Digests(b"k" * HASH_KEY_BYTES)


async def nothing() -> None:  # noqa: ASYNC124
    return None


class Stage(NamedTuple):
    world: World
    pages: Starlette
    telemetry: RecordingTelemetry


@pytest.fixture
def stage() -> Stage:
    world, telemetry, meter = (
        World(intensity=Intensity(0, 60.0)),
        RecordingTelemetry(),
        CommitMeter(),
    )
    observed = Observed(
        readiness=Readiness(meter, ReadMeter(), sync_stall_seconds=1.0, min_free_bytes=1),
        router=world.router,
        traffic=Traffic(),
        meter=meter,
        read_meter=ReadMeter(),
        loop=LoopWatch(),
        store=StoreWatch(nothing),
        lines=Counter(),
        connections=lambda: 0,
        handshakes=lambda: 0,
        digest=DIGESTS.of,
    )
    return Stage(world, Pages(observed, telemetry).application(), telemetry)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """No conversation can start."""

    async def crash(self: Conversation) -> None:  # noqa: ASYNC124
        raise RuntimeError("planted")

    monkeypatch.setattr(Conversation, "_read_head", crash)


def digest_of(conversation: str) -> str:
    return DIGESTS.of(hashed_conversation(key_of(conversation)))


async def quarantine(world: World, names: list[str]) -> None:
    letters = [send_letter(Client(), conversation=name) for name in names]
    for letter in letters:
        world.route(letter)
    await all_answered(list(letters))


@pytest.mark.rule("S26")
@pytest.mark.usefixtures("broken")
async def test_what_is_quarantined_is_listed_and_released_by_its_hash_alone(
    autojump_clock: MockClock, stage: Stage
) -> None:
    world, pages, telemetry = stage
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        await quarantine(world, ["one", "two"])
        listed = (await ask(pages, "/conversations/quarantined")).json
        assert listed["total"] == 2
        assert {one["conversation"] for one in listed["quarantined"]} == {
            digest_of("one"),
            digest_of("two"),
        }
        assert all(one["times"] == 1 and one["seconds"] > 0 for one in listed["quarantined"])

        release = f"/conversations/{digest_of('one')}/release"
        assert (await ask(pages, release)).status == 405
        assert (await ask(pages, release, method="POST")).json == {"released": True}
        assert (await ask(pages, release, method="POST")).status == 404
        by_name = await ask(pages, "/conversations/two/release", method="POST")
        assert by_name.status == 404
        (left,) = (await ask(pages, "/conversations/quarantined")).json["quarantined"]
        assert left["conversation"] == digest_of("two")
        nursery.cancel_scope.cancel()

    assert telemetry.events == ["conversation.released"]
    assert world.router.route(key_of("one"), send_letter(Client(), conversation="one")) is None


@pytest.mark.usefixtures("broken")
async def test_of_very_many_quarantines_some_are_listed_and_each_can_be_released(
    autojump_clock: MockClock, stage: Stage
) -> None:
    world, pages, _ = stage
    names = [f"talk-{number}" for number in range(3 * MOST_LISTED)]
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        await quarantine(world, names)
        listed = (await ask(pages, "/conversations/quarantined")).json
        assert (listed["total"], len(listed["quarantined"])) == (len(names), MOST_LISTED)
        for name in (names[0], names[-1]):
            release = f"/conversations/{digest_of(name)}/release"
            assert (await ask(pages, release, method="POST")).status == 200
        nursery.cancel_scope.cancel()


@pytest.mark.rule("S16")
async def test_dead_letters_are_shown_the_newest_first_and_without_names(stage: Stage) -> None:
    world, pages, _ = stage
    for number in (1, 2):
        conversation = hashed_conversation(key_of(f"secret-{number}"))
        world.router.dead_letters.add(
            DeadLetter(TimeMs(number), "SendLetter", conversation, "ValueError", "a.py:1 b")
        )
    answer = await ask(pages, "/dead-letters")

    assert answer.json["total"] == 2
    assert answer.json["latest"][0] == {
        "at_ms": 2,
        "kind": "SendLetter",
        "conversation": digest_of("secret-2"),
        "error": "ValueError",
        "at": "a.py:1 b",
    }
    assert b"secret" not in answer.body


@pytest.mark.parametrize("path", ["/metrics/", "/dead-letters/", "/failpoints/", "//"])
async def test_a_path_with_a_slash_too_many_is_no_page_and_no_redirection(
    stage: Stage, path: str
) -> None:
    answer = await ask(stage.pages, path)

    assert (answer.status, answer.json) == (404, {"error": "not_found"})

"""Whatever keeps the relay from its work shows on /readyz while it does, by its own reason."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Final, NamedTuple

import pytest
import trio

from tests.faults.observing import MIB, pid_of
from tests.faults.strace import calls
from tests.wire.connecting import Clients, StartRelay
from tests.wire.messages import envelope, fresh, ping
from tests.wire.operator import Operator
from tests.wire.relay_process import PROGRAM, REPOSITORY
from tests.wire.test_reload import MakeReloadable, Reloadable, make

__all__ = ["make"]

pytestmark = [pytest.mark.trio, pytest.mark.timeout(120)]

LONG_MICROSECONDS: Final = 4_000_000
PATIENCE_SECONDS: Final = 60


@pytest.fixture(scope="session")
def transport() -> str:
    """One is enough: what is shown here is none of the transport's business."""
    return "websockets"


async def reasons(operator: Operator) -> list[str]:
    """What /readyz says, its status being in accord with it."""
    answer = await trio.to_thread.run_sync(lambda: operator.ask("/readyz"))
    said: list[str] = answer.json["reasons"]
    assert answer.json["ready"] is not bool(said)
    assert answer.status == (503 if said else 200)
    return said


async def become(operator: Operator, expected: list[str]) -> None:
    """Return once these are the reasons; the metrics agree then."""
    with trio.fail_after(PATIENCE_SECONDS):
        while (said := await reasons(operator)) != expected:  # noqa: ASYNC110 - it cannot tell us
            await trio.sleep(0.05)
    metrics = await trio.to_thread.run_sync(operator.metrics)
    assert metrics["ksmp_ready"] == (0 if said else 1)


# ── starting ─────────────────────────────────────────────────────────────────────────────────


class Opening(NamedTuple):
    """A relay whose disk makes it wait while it opens its store."""

    data: Path
    stderr: Path
    ports: Path

    def admin_port(self) -> int | None:
        for line in self.stderr.read_text().splitlines():
            if '"admin.ready"' in line:
                return int(json.loads(line)["port"])
        return None


@pytest.fixture
def opening(tmp_path: Path) -> Iterator[Opening]:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: it makes a sync wait")
    slow = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync"]
    inject = f"inject=fdatasync:delay_enter={LONG_MICROSECONDS}:when=1"
    data, stderr, ports = tmp_path / "data", tmp_path / "stderr", tmp_path / "ports"
    serve = [*PROGRAM, "serve", "--port", "0", "--admin-port", "0", "--data", str(data)]
    with stderr.open("wb") as log:
        process = subprocess.Popen(
            ["strace", *slow, "-e", inject, *serve, "--ports-file", str(ports)],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            process_group=0,
        )
    with process:
        try:
            yield Opening(data, stderr, ports)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # strace, and the relay, which is its child


async def test_a_relay_that_opens_its_store_says_that_it_starts_and_lives(opening: Opening) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        while (port := opening.admin_port()) is None:  # noqa: ASYNC110 - it cannot tell us
            await trio.sleep(0.01)

    def ask(path: str, method: str = "GET") -> tuple[int, object]:
        # One connection for all, as an operator's program would have it.
        token = (opening.data / "admin-token").read_text().strip()
        connection.request(method, path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    starting = {"ready": False, "reasons": ["starting"]}
    assert ask("/readyz") == (503, starting)
    assert ask("/healthz") == (200, {"status": "ok"})
    assert ask("/conversations/quarantined") == (503, {"error": "starting"})
    assert not opening.ports.exists(), "it has started meanwhile, and nothing is shown"
    with trio.fail_after(PATIENCE_SECONDS):
        while (said := ask("/readyz")) != (200, {"ready": True, "reasons": []}):
            assert said == (503, starting)
            await trio.sleep(0.05)
    assert ask("/conversations/quarantined") == (200, {"total": 0, "quarantined": []})
    connection.close()


# ── draining ─────────────────────────────────────────────────────────────────────────────────


async def test_a_relay_that_drains_with_sends_under_way_says_so_and_answers_them(
    start: StartRelay,
) -> None:
    own = start(server__drain_seconds=30)
    operator = Operator(own.relay)
    async with own.connect("alice") as alice:
        await alice.send(envelope("alice", "bob"))
        with calls(pid_of(own.relay), "fdatasync", f"delay_enter={LONG_MICROSECONDS}:when=1"):
            offered = envelope("alice", "bob")
            await alice.tell({"type": "ksmpv3.send", "envelope": offered})
            await alice.tell(ping("taken"))
            assert (await alice.receive())["type"] == "ksmpv3.pong"
            own.relay.signal_terminate()
            await become(operator, ["draining"])
            assert (await alice.answer_about(offered)).event["type"] == "ksmpv3.send.ack"
    assert await trio.to_thread.run_sync(own.relay.wait) == 0


# ── the disk ─────────────────────────────────────────────────────────────────────────────────


async def test_a_disk_that_fills_up_shows_before_and_while_sends_are_refused(
    make: MakeReloadable,
) -> None:
    configured = make()
    own, operator = configured.client, Operator(configured.relay)
    free = shutil.disk_usage(configured.relay.directory).free
    await become(operator, [])
    # What the disk lacks is what is kept free: moving that bound is as good as filling it.
    await keep_free(configured, free * 3 // 4)
    await become(operator, ["disk_nearly_full"])
    async with own.connect("alice") as alice:
        await alice.send(envelope("alice", "bob"))
        await keep_free(configured, free * 2)
        refused = (await alice.answer_to(envelope("alice", "bob"))).event
        assert refused["code"] == "storage_full"
        await become(operator, ["storage_full", "disk_nearly_full"])
        await keep_free(configured, free // 100)
        with trio.fail_after(PATIENCE_SECONDS):
            while await reasons(operator):
                await alice.answer_to(envelope("alice", "bob"))  # who tries finds out
                await trio.sleep(0.5)


async def keep_free(configured: Reloadable, min_free_bytes: int) -> None:
    configured.configure(limits__min_free_bytes=min_free_bytes)
    await trio.to_thread.run_sync(configured.reload)


# ── the map ──────────────────────────────────────────────────────────────────────────────────


async def test_a_map_that_cannot_grow_shows_when_it_is_nearly_full(start: StartRelay) -> None:
    own = start(store__map_size_bytes=8 * MIB, limits__sends_burst=1_000)
    operator = Operator(own.relay)
    await become(operator, [])
    forbid_to_grow(own)
    async with own.connect("alice") as alice:
        code = ""
        while code != "storage_full":
            large = envelope("alice", "bob", conversationId="talk", ciphertext=bytes(200_000))
            code = (await alice.answer_to(large)).event.get("code", "")
        await become(operator, ["storage_full", "map_nearly_full"])


def forbid_to_grow(own: Clients) -> None:
    """The relay's address space has room for what a start leaves to do, and for no larger map."""
    pid = pid_of(own.relay)
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + 12 * MIB
    resource.prlimit(pid, resource.RLIMIT_AS, (most, most))


# ── reads ────────────────────────────────────────────────────────────────────────────────────


async def test_a_stuck_read_shows_while_it_is_stuck_and_hinders_no_send(start: StartRelay) -> None:
    own = start(store__sync_stall_seconds=0.5)
    operator = Operator(own.relay)
    await become(operator, [])
    async with own.connect("alice") as alice:
        # The reading thread is who asks how full the disk is, by this call alone.
        with calls(pid_of(own.relay), "fstatfs", f"delay_enter={LONG_MICROSECONDS}:when=1"):
            await become(operator, ["reads_stalled"])
            metrics = await trio.to_thread.run_sync(operator.metrics)
            assert metrics["ksmp_read_under_way_seconds"] > 0.5
            acked = await alice.send(envelope("alice", "bob", conversationId=fresh("talk")))
            assert acked["serverSeq"] == 1
            assert await reasons(operator) == ["reads_stalled"]
            await become(operator, [])
    metrics = await trio.to_thread.run_sync(operator.metrics)
    assert metrics["ksmp_read_seconds_sum"] >= LONG_MICROSECONDS / 1_000_000

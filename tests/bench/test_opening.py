"""Whoever opens a connection notices at once that there is none, whatever client of the bench."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bench.final_read import FinalRead
from bench.history import Recorder
from bench.idlers import Idler
from bench.meter import Meter
from bench.opening import HANDSHAKE_SECONDS
from bench.process import LoadError
from bench.user import User
from bench.visitor import Visitor
from bench.witness import NullWitness
from ksmp.codec import MSGPACK
from ksmp.types import GlobalInboxSeq

TOKEN = f"head.{base64.urlsafe_b64encode(json.dumps({'sub': 'a'}).encode()).decode()}."

Come = Callable[[str, Recorder], Awaitable[None]]


async def user(url: str, _: Recorder) -> None:
    made = User(
        token=TOKEN,
        name="a",
        size=1,
        codec=MSGPACK,
        meter=Meter(),
        witness=NullWitness(),
        fail=pytest.fail,
    )
    await made.connect(url)


async def idler(url: str, _: Recorder) -> None:
    await Idler().open(url, TOKEN)


async def visitor(url: str, recorder: Recorder) -> None:
    await Visitor(recorder, TOKEN, pytest.fail).come(url)


async def reader(url: str, recorder: Recorder) -> None:
    await FinalRead(recorder, TOKEN, GlobalInboxSeq(0)).run(url)


@pytest.mark.parametrize("come", [user, idler, visitor, reader])
def test_a_handshake_that_is_cut_off_is_noticed_at_once_so_that_it_can_be_made_again(
    come: Come, tmp_path: Path
) -> None:
    def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async def come_to_nobody() -> None:
        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with Recorder(tmp_path / "history", relay="test") as recorder:
            async with server, asyncio.timeout(HANDSHAKE_SECONDS / 2):
                await come(f"ws://127.0.0.1:{port}/", recorder)

    with pytest.raises(LoadError, match="hung up during the handshake"):
        asyncio.run(come_to_nobody())

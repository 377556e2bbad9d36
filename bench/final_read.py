"""One user's inbox read once more, when nothing else goes on: the last word on what is stored."""

from __future__ import annotations

import asyncio
from time import monotonic_ns
from typing import Final

from picows import WSFrame, WSListener, WSTransport

from bench.checker.records import Frame
from bench.history import Recorder
from bench.opening import open_websocket
from bench.process import LoadError
from bench.seen import frame_of, note_connected, note_position, note_refusal
from bench.user import CARRYING, client_message
from ksmp.codec import MSGPACK, Codec
from ksmp.events import Connected, Error, InboxFrame, Read, Resume, ResumeComplete
from ksmp.malformed import UndecodableError
from ksmp.types import GlobalInboxSeq

FRAMES_AT_ONCE: Final = 200


class FinalRead(WSListener):
    """Connects, reads everything after `base`, records it and leaves."""

    def __init__(
        self, recorder: Recorder, token: str, base: GlobalInboxSeq, codec: Codec = MSGPACK
    ) -> None:
        self._recorder = recorder
        self._token = token
        self._base = base
        self._codec = codec
        self._began_ns = monotonic_ns()
        self._connection = -1
        self._frames: list[Frame] = []
        self._fragments: list[bytes] = []
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, url: str) -> None:
        """Read to the end.

        Raises:
            LoadError: the relay is not there, refuses, or hangs up.
        """
        transport = await open_websocket(self, url, self._token, codec=self._codec)
        try:
            await self._done
        finally:
            transport.disconnect(graceful=False)
            if self._connection >= 0:  # else it has no number, and the history knows nothing of it
                self._recorder.closed(self._connection, None)

    # ── what picows calls ────────────────────────────────────────────────────────────────────

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take one frame."""
        if frame.msg_type not in CARRYING:
            return
        self._fragments.append(frame.get_payload_as_bytes())
        if frame.fin:
            raw = b"".join(self._fragments)
            self._fragments.clear()
            self._take(transport, raw)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Before the end this is a failure."""
        self._fail("the relay hung up while an inbox was read back")

    # ── what arrives ─────────────────────────────────────────────────────────────────────────

    def _take(self, transport: WSTransport, raw: bytes) -> None:
        try:
            event = self._codec.decode_server_event(raw)
        except UndecodableError:
            self._fail("the relay sent what is not an event")
            return
        match event:
            case InboxFrame():
                self._frames.append(frame_of(self._recorder, event, raw))
                if len(self._frames) >= FRAMES_AT_ONCE:
                    self._record_frames()
            case Read():
                note_position(self._recorder, self._connection, event)
            case Connected():
                self._connection = note_connected(
                    self._recorder, event, self._began_ns, self._codec.subprotocol
                )
                self._recorder.resume(self._connection, self._base, is_final=True)
                resume = self._codec.encode(Resume(self._base))
                message = client_message(resume, is_text=self._codec.is_text)
                transport.underlying_transport.write(message)
            case ResumeComplete():
                self._record_frames()
                self._recorder.resumed(self._connection, event.global_inbox_seq)
                if not self._done.done():
                    self._done.set_result(None)
            case Error():
                note_refusal(self._recorder, self._connection, None, event)
                self._fail(f"the relay refused: {event.code}")
            case _:
                pass

    def _record_frames(self) -> None:
        if self._frames:
            self._recorder.frames(self._connection, tuple(self._frames))
            self._frames.clear()

    def _fail(self, reason: str) -> None:
        if not self._done.done():
            self._done.set_exception(LoadError(reason))

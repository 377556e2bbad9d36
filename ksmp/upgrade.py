"""The client's side of the upgrade to a WebSocket (RFC 6455 section 4), without I/O.

ClientHandshake.request   to be sent
ClientHandshake.receive   what is answered goes in; an open `ClientFraming` comes out
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, WebSocketException
from websockets.http11 import Response
from websockets.streams import StreamReader
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from ksmp.websocket import SILENT, ClientFraming


class UpgradeRefusedError(Exception):
    """The server did not accept the upgrade.

    `status` is 0 where it did not even answer with HTTP; `body` is what it answered.
    """

    def __init__(self, status: int, body: bytes = b"") -> None:
        super().__init__(f"the server answered {status}" if status else "this is not HTTP")
        self.status = status
        self.body = body


class ClientHandshake:
    """One upgrade request, and the judge of its answer.

    Send `request`, give what arrives to `receive` until it returns a framing.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        is_secure: bool,
        path: str,
        subprotocol: str,
        is_text: bool,
        token: str,
        max_frame_bytes: int,
    ) -> None:
        self._is_text = is_text
        self._max_frame_bytes = max_frame_bytes
        self._upgrade = ClientProtocol(
            WebSocketURI(is_secure, host, port, path, ""),
            subprotocols=[Subprotocol(subprotocol)],
            logger=SILENT,
        )
        request = self._upgrade.connect()
        request.headers["Authorization"] = f"Bearer {token}"
        self.request: Final = request.serialize()
        self._reader = StreamReader()
        self._parser: Generator[None, None, Response] = Response.parse(
            self._reader.read_line, self._reader.read_exact, self._reader.read_to_eof
        )

    def receive(self, chunk: bytes | bytearray) -> tuple[ClientFraming, bytes] | None:
        """The open connection and the bytes that follow the answer; None while it is incomplete.

        The bytes belong to the framing's `receive`. An empty chunk says that the server is done.

        Raises:
            UpgradeRefusedError: the answer is not an acceptance.
        """
        if chunk:
            self._reader.feed_data(chunk)
        else:
            self._reader.feed_eof()
        try:
            next(self._parser)
        except StopIteration as done:
            return self._judge(done.value)
        except (EOFError, ValueError, LookupError, NotImplementedError, WebSocketException):
            raise UpgradeRefusedError(0) from None
        return None

    def _judge(self, response: Response) -> tuple[ClientFraming, bytes]:
        try:
            self._upgrade.process_response(response)
        except InvalidHandshake:
            raise UpgradeRefusedError(response.status_code, bytes(response.body or b"")) from None
        if self._upgrade.subprotocol is None:
            raise UpgradeRefusedError(response.status_code)
        framing = ClientFraming(is_text=self._is_text, max_frame_bytes=self._max_frame_bytes)
        return framing, bytes(self._reader.buffer)

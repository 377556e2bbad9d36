"""One request to an ASGI application, without a network."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import trio


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(app: Any, path: str, *, method: str = "GET", **headers: str) -> Answer:
    """Send a request; a header's name has underscores for its hyphens."""
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [
            (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
        ],
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        await trio.sleep_forever()

    async def send(message: Any) -> None:  # noqa: ASYNC124
        sent.append(message)

    await app(scope, receive, send)
    start, *rest = sent
    body = b"".join(part["body"] for part in rest)
    return Answer(start["status"], dict(start["headers"]), body)

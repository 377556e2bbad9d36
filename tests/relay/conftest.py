"""The transports that tests of their contract run against."""

from __future__ import annotations

import pytest

from relay.system import open_epoll
from relay.transport.opening import Websocket, opening
from tests.relay.wires import Wires


@pytest.fixture(
    params=[
        ("websockets", open_epoll),
        ("websockets", lambda: None),
        ("trio-websocket", open_epoll),
    ],
    ids=["websockets", "websockets-without-epoll", "trio-websocket"],
)
def wires(request: pytest.FixtureRequest) -> Wires:
    """Each transport, and each way to learn what has arrived."""
    name: Websocket
    name, epoll = request.param
    return Wires(opening(name), epoll)

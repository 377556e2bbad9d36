"""The transports that tests of their contract run against."""

from __future__ import annotations

import pytest

from relay.transport.opening import Websocket, opening
from tests.relay.wires import Wires


@pytest.fixture(params=["websockets", "trio-websocket"])
def wires(request: pytest.FixtureRequest) -> Wires:
    """Each transport."""
    name: Websocket = request.param
    return Wires(opening(name))

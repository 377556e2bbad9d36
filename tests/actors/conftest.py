"""What tests of the connection share."""

from __future__ import annotations

import pytest

from tests.actors.fake_transport import FakeTransport


@pytest.fixture(params=[False, True], ids=["in-a-turn-of-its-own", "handed-over"])
def both_ways_in(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What arrives comes as the result of `receive` or, in another run, to `at_once`."""
    monkeypatch.setattr(FakeTransport, "hands_over", request.param)

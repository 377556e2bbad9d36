"""Every refusal is registered, says what to do, and says when to retry if that helps."""

from __future__ import annotations

from typing import get_args

import pytest
from msgspec import UNSET

from ksmp.errors import REGISTRY, Action, error


@pytest.mark.parametrize("code", REGISTRY)
def test_retry_after_is_there_exactly_where_a_retry_helps(code: str) -> None:
    refused = error(code, retry_after_ms=250)

    assert refused.retryable == (refused.retry_after_ms == 250)
    assert refused.retryable or refused.retry_after_ms is UNSET
    assert refused.action in get_args(Action)
    assert refused.retryable == (refused.action in ("retry", "reconnect"))


def test_an_unregistered_code_cannot_be_sent() -> None:
    with pytest.raises(KeyError):
        error("nonsense")

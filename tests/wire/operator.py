"""An operator of one relay process: asks its admin listener, with the token or without."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from tests.wire.clients import ANSWER_SECONDS
from tests.wire.relay_process import RelayProcess


class Answer(NamedTuple):
    """What the admin listener said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Operator:
    """Asks a relay that runs; each request on a connection of its own."""

    def __init__(self, relay: RelayProcess) -> None:
        self._relay = relay

    @property
    def token(self) -> str:
        """As the operator reads it from the data directory."""
        return (self._relay.data_directory / "admin-token").read_text().strip()

    @property
    def address(self) -> tuple[str, int]:
        """Where the relay's admin listener is."""
        assert self._relay.admin_address is not None
        return self._relay.admin_address

    def ask(
        self, path: str, method: str = "GET", *, token: str | None = None, body: bytes | None = None
    ) -> Answer:
        """One request; without a token unless one is given."""
        headers = {"Connection": "close"}  # else the listener keeps each for some seconds
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        connection = http.client.HTTPConnection(*self.address, timeout=ANSWER_SECONDS)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def look(self, path: str, method: str = "GET") -> Answer:
        """One request with the token."""
        return self.ask(path, method, token=self.token)

    def metrics(self) -> dict[str, float]:
        """Every sample of a scrape: name → value, or `name{label="value"}` → value."""
        answer = self.look("/metrics")
        assert answer.status == 200, answer
        samples = {}
        for family in text_string_to_metric_families(answer.body.decode()):
            assert family.documentation, family.name
            for sample in family.samples:
                labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
                samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return samples

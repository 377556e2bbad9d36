"""What a relay tells its operator, as far as measurements need it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Final, NamedTuple, TypeVar

from prometheus_client.parser import text_string_to_metric_families

from bench.relay_of_its_own import Admin
from bench.run import RunError

ANSWER_SECONDS: Final = 30.0
_BUCKET: Final = "_bucket"

T = TypeVar("T")


class Metrics(NamedTuple):
    """Those at one moment. A histogram is the count at or below each bound, which may be inf."""

    values: Mapping[str, float]
    histograms: Mapping[str, Mapping[float, int]]

    def value(self, name: str) -> float:
        """Of a metric without labels.

        Raises:
            RunError: the relay does not tell it.
        """
        return _found(self.values, name)

    def histogram(self, name: str) -> Mapping[float, int]:
        """Of a histogram without labels of its own.

        Raises:
            RunError: the relay does not tell it.
        """
        return _found(self.histograms, name)


def commits_of(admin: Admin) -> int:
    """Transactions that stored something, since the relay's start.

    Raises:
        RunError: it does not tell.
    """
    return int(metrics_of(admin).value("ksmp_commit_operations_count"))


def metrics_of(admin: Admin) -> Metrics:
    """As they are now.

    Raises:
        RunError: the relay does not tell them.
    """
    connection = HTTPConnection(admin.host, admin.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {admin.token}"})
        answer = connection.getresponse()
        if answer.status != HTTPStatus.OK:
            raise RunError(f"the relay's metrics: its answer was {answer.status}")
        return parsed(answer.read().decode())
    except (OSError, HTTPException, ValueError) as error:
        raise RunError(f"the relay's metrics: {type(error).__name__}") from None
    finally:
        connection.close()


def parsed(text: str) -> Metrics:
    """The metrics in a page of them.

    Raises:
        ValueError: it is no such page.
    """
    values: dict[str, float] = {}
    histograms: dict[str, dict[float, int]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if not sample.labels:
                values[sample.name] = sample.value
            elif sample.labels.keys() == {"le"} and sample.name.endswith(_BUCKET):
                buckets = histograms.setdefault(sample.name.removesuffix(_BUCKET), {})
                buckets[float(sample.labels["le"])] = int(sample.value)
    return Metrics(values, histograms)


def _found(told: Mapping[str, T], name: str) -> T:
    try:
        return told[name]
    except LookupError:
        raise RunError(f"the relay's metrics do not tell {name}") from None

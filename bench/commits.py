"""How many commits a relay has made, as it tells its operator."""

from __future__ import annotations

import re
from http.client import HTTPConnection, HTTPException
from typing import Final

from bench.relay_of_its_own import Admin
from bench.run import RunError

ANSWER_SECONDS: Final = 30.0
_COUNT: Final = re.compile(rb"^ksmp_commit_operations_count (\S+)$", re.MULTILINE)


def commits_of(admin: Admin) -> int:
    """Transactions that stored something, since the relay's start.

    Raises:
        RunError: it does not tell.
    """
    connection = HTTPConnection(admin.host, admin.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {admin.token}"})
        text = connection.getresponse().read()
    except (OSError, HTTPException) as error:
        raise RunError(f"the relay's metrics: {type(error).__name__}") from None
    finally:
        connection.close()
    found = _COUNT.search(text)
    if found is None:
        raise RunError("the relay's metrics do not say how often it has committed")
    return int(float(found[1]))

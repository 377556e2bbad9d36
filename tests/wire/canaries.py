"""Strings that must not come out again, and the search for them in every form they may take."""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Iterable
from pathlib import Path


def forms(canary: bytes) -> dict[str, bytes]:
    """How a canary may look: raw, escaped, hex, url-encoded, in base64 at each of three offsets."""
    found = {
        "raw": canary,
        "hex": canary.hex().encode(),
        "HEX": canary.hex().upper().encode(),
        "url": urllib.parse.quote_from_bytes(canary, safe="").encode(),
        "escaped": repr(canary)[2:-1].encode(),
        "JSON": json.dumps(canary.decode(errors="replace"))[1:-1].encode(),
    }
    for offset in range(3):
        # Within a longer text the first and last characters depend on the neighbours.
        shifted = canary[offset:]
        whole = shifted[: len(shifted) // 3 * 3]
        found[f"base64 at {offset}"] = base64.b64encode(whole)
        found[f"url-safe base64 at {offset}"] = base64.urlsafe_b64encode(whole)
    return found


def found_in(text: bytes, canaries: Iterable[bytes]) -> list[str]:
    """Which canaries, in which form, are in `text`."""
    return [
        f"{canary!r} {form}"
        for canary in canaries
        for form, needle in forms(canary).items()
        if needle in text
    ]


def outside_the_store(directory: Path) -> bytes:
    """All file names below a directory, and the contents of all files but the store's own."""
    parts = []
    for path in sorted(directory.rglob("*")):
        parts.append(str(path.relative_to(directory)).encode())
        if path.is_file() and path.suffix != ".mdb":
            parts.append(path.read_bytes())
    return b"\n".join(parts)

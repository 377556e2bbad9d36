"""Tokens for a relay that runs already: its operator puts them into a file, one a line."""

from __future__ import annotations

from pathlib import Path

from bench.run import RunError


def tokens_in(file: Path, connections: int, pairs: int) -> tuple[str, ...]:
    """As many as connect.

    Raises:
        RunError: the file holds fewer.
    """
    tokens = tuple(file.read_text().split()[:connections])
    if len(tokens) < connections:
        raise RunError(f"{pairs} pairs need {connections} tokens, one a line")
    return tokens

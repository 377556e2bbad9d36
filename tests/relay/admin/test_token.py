"""The admin token is made once, is nobody's but the owner's, and is never told in an error."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from relay.admin.token import TOKEN_FILE, load_or_create_token
from relay.keys import KeyFileError


def new_token() -> str:
    return "a-new-token-of-32-letters-or-so"


def another() -> str:
    return "another-token-that-is-never-used"


def test_the_token_is_made_at_the_first_start_and_stays(tmp_path: Path) -> None:
    made = load_or_create_token(tmp_path / "data", new_token)

    assert made == new_token().encode()
    assert load_or_create_token(tmp_path / "data", another) == made
    assert stat.S_IMODE((tmp_path / "data" / TOKEN_FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_token_that_others_can_read_is_not_used(tmp_path: Path, mode: int) -> None:
    token = load_or_create_token(tmp_path, new_token).decode()
    (tmp_path / TOKEN_FILE).chmod(mode)

    with pytest.raises(KeyFileError) as refused:
        load_or_create_token(tmp_path, another)
    assert f"{mode:04o}" in refused.value.what
    assert token not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"short", b"two words of a token", b"\xff" * 40])
def test_what_is_no_token_is_not_used_as_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / TOKEN_FILE).touch(mode=0o600)
    (tmp_path / TOKEN_FILE).write_bytes(content)

    with pytest.raises(KeyFileError, match="is not one"):
        load_or_create_token(tmp_path, new_token)

"""RESP2 against the bytes of its specification."""

from __future__ import annotations

import pytest

from bench.peers.resp import NotRespError, Replies, ReplyError, command


def test_a_command_is_an_array_of_bulk_strings() -> None:
    assert command(b"LLEN", b"mylist") == b"*2\r\n$4\r\nLLEN\r\n$6\r\nmylist\r\n"


def test_every_kind_of_reply_is_read() -> None:
    replies = Replies().feed(
        b"+OK\r\n:-1000\r\n$5\r\nhello\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n"
        b"*2\r\n*2\r\n:1\r\n$2\r\n\r\n\r\n*1\r\n+a\r\n"
    )

    assert replies == [b"OK", -1000, b"hello", b"", None, None, [], [[1, b"\r\n"], [b"a"]]]


def test_an_error_is_told_by_its_code_alone() -> None:
    (reply,) = Replies().feed(b"-WRONGTYPE Operation against a key\r\n")

    assert isinstance(reply, ReplyError)
    assert str(reply) == "WRONGTYPE"


def test_a_stream_may_be_cut_anywhere() -> None:
    stream = b"*2\r\n$5\r\nhe\r\no\r\n*1\r\n:7\r\n$3\r\n1-0\r\n"
    for cut in range(len(stream) + 1):
        replies = Replies()
        assert replies.feed(stream[:cut]) + replies.feed(stream[cut:]) == [
            [b"he\r\no", [7]],
            b"1-0",
        ]


@pytest.mark.parametrize("stream", [b"HTTP/1.1 400\r\n", b"$five\r\n"])
def test_what_is_no_resp_is_refused(stream: bytes) -> None:
    with pytest.raises(NotRespError):
        Replies().feed(stream)

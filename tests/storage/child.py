"""A process with a store open, to be killed, limited or got in the way of: `child.py WHAT PATH`."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from storage.errors import StoreFailedError
from storage.log import Append, Appended, ConversationHead, Failed, Full, KnownKeys, ReadHead
from tests.storage.world import Sent, append, base, conversation, head_after, opened, writer

KEY = conversation("ann", "bob")


def hold(path: Path) -> None:
    with opened(path):
        print("open", flush=True)
        sys.stdin.read()


def write(path: Path) -> None:
    """Append for ever; say the head's number once it is acknowledged."""
    with opened(path) as environment:
        one = writer(environment)
        (head,) = one.transact([ReadHead(KEY)])
        assert isinstance(head, ConversationHead)
        while True:
            number = head.server_seq
            new = append(KEY, head, [Sent("ann", f"k{number + n}", bytes(500)) for n in range(8)])
            (outcome,) = one.transact([new])
            assert isinstance(outcome, Appended)
            head = head_after(new)
            print(head.server_seq, flush=True)


def run_out_of_space(path: Path) -> None:
    """The file may not grow: clean refusals, and all is well once it may."""
    with opened(path, map_size_bytes=1 << 28) as environment:
        one = writer(environment)
        stored: list[Append] = []
        head = base(KEY)
        _limit_file_size(20 << 20)
        while True:
            new = append(KEY, head, [Sent("ann", f"k{len(stored)}", bytes(100_000))])
            (outcome,) = one.transact([new])
            if isinstance(outcome, Full):
                break
            assert isinstance(outcome, Appended), outcome
            stored.append(new)
            head = head_after(new)
        assert len(stored) > 50
        again = append(KEY, head, [Sent("ann", "k0", bytes(100_000))])
        outcomes = one.transact([again, new, ReadHead(KEY)])
        assert [type(outcome) for outcome in outcomes] == [KnownKeys, Full, ConversationHead]
        assert outcomes[2] == head
        _limit_file_size(resource.RLIM_INFINITY)
        (outcome,) = one.transact([new])
        assert isinstance(outcome, Appended), outcome


def break_in_a_checkpoint(path: Path) -> None:
    """A slice cut short: from then on nothing is answered, and the next start has everything."""
    with opened(path, map_size_bytes=1 << 28, segment_bytes=1) as environment:
        one = writer(environment)
        head = base(KEY)
        for n in range(3):
            new = append(KEY, head, [Sent("ann", f"k{n}", bytes(1 << 20))])
            assert isinstance(one.transact([new])[0], Appended)
            head = head_after(new)
        environment.reserve = lambda pages: None  # type: ignore[method-assign]
        _limit_file_size((1 << 20) + 10_000)  # in the middle of a record's pages
        while (failure := one.fold()) is None:
            assert one.is_folding
        assert isinstance(failure, StoreFailedError)
        _limit_file_size(resource.RLIM_INFINITY)
        assert isinstance(one.transact([ReadHead(KEY)])[0], Failed)
    with opened(path, map_size_bytes=1 << 28) as environment:
        assert writer(environment).transact([ReadHead(KEY)]) == [head]


def _limit_file_size(limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))

"""The relay as it is shipped, in a world that a test moves, and broken where the test says so.

    python -m tests.faults.launcher WORLD PLANT serve …

WORLD is the directory of a `tests.faults.world.World`. PLANT is `nothing`, or the name of one of
the faults below, each planted by replacing a seam before the relay starts.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import relay.app
import relay.system
from actors.conversation import Conversation
from actors.letters import SendLetter
from actors.mailbox import Mailbox
from ksmp.types import ServerSeq, TimeMs
from storage.batch import Batch
from storage.directory import DATA_FILE
from storage.environment import Environment, open_environment
from storage.group_commit import GroupCommit
from storage.keys import ConversationNumbers, Mark, Marks
from storage.log import Append, MarkRead, Operation, Outcome
from tests.faults.world import World


def main() -> None:
    """Put on the world, plant the fault, and be the relay."""
    _, directory, plant, *rest = sys.argv
    world = World(Path(directory))
    _put_on(world)
    PLANTED[plant](world)
    sys.argv = ["ksmp-relay", *rest]
    from relay.cli import main as run

    run()


def _put_on(world: World) -> None:
    now = relay.system.wall_clock
    transact_of = GroupCommit.__init__

    def shifted() -> TimeMs:
        return TimeMs(now() + world.wall_shift_ms())

    def on_a_disk_that_stalls(self: GroupCommit, transact: Any, *rest: Any, **more: Any) -> None:
        def slowly(operations: Sequence[Operation]) -> Sequence[Outcome]:
            outcomes: Sequence[Outcome] = transact(operations)
            world.wait_while_stalled()
            return outcomes

        transact_of(self, slowly, *rest, **more)

    relay.system.wall_clock = shifted
    GroupCommit.__init__ = on_a_disk_that_stalls  # type: ignore[method-assign]


# ── what can be planted ──────────────────────────────────────────────────────────────────────


def nothing(world: World) -> None:
    """The relay keeps all it promises."""


def a_read_cursor_is_set(world: World) -> None:
    """The last `ack.read` wins, where the highest should."""

    def last(
        self: Batch, before: Marks, mark: MarkRead, numbers: ConversationNumbers, side: int
    ) -> Marks:
        user = numbers.low if side == 0 else numbers.high
        set_to = Mark(mark.server_seq, mark.read_at_ms, self._inbox_state(user).global_inbox_seq)
        return Marks(set_to, set_to)

    Batch._risen = last  # type: ignore[method-assign]


def a_stall_loses_what_waited(world: World) -> None:
    """What came to a conversation while a commit was stalled is dropped."""
    take = Mailbox.take
    has_lost: set[int] = set()

    async def losing(self: Mailbox, gather: Any = None) -> Any:
        letters = await take(self, gather)
        if world.is_stalled and id(self) not in has_lost:
            has_lost.add(id(self))
            return await take(self, gather)
        return letters

    Mailbox.take = losing  # type: ignore[method-assign]


def the_wall_clock_numbers(world: World) -> None:
    """A record's number is the time, so that a clock that goes back gives lower ones."""
    number, decide = Conversation._number, Batch._append
    began = relay.system.wall_clock() - 86_400_000

    def timed(self: Conversation, letters: Sequence[SendLetter]) -> Append:
        self._head = self._head._replace(server_seq=ServerSeq(relay.system.wall_clock() - began))
        return number(self, letters)

    def unfenced(self: Batch, append: Append) -> Any:
        head = self._head(append.conversation, self._find_conversation(append.conversation))
        self._head = lambda *_: head._replace(server_seq=append.last_seq)  # type: ignore[method-assign]
        try:
            return decide(self, append)
        finally:
            del self._head

    Conversation._number = timed  # type: ignore[method-assign]
    Batch._append = unfenced  # type: ignore[method-assign]


def a_restart_takes_commits_back(world: World) -> None:
    """No commit reaches the disk: a new process finds the store as the one before it did."""
    found = world.directory / "found"

    def forgetful(path: Path, **options: Any) -> Environment:
        if found.exists():
            shutil.copyfile(found, path / DATA_FILE)
        environment = open_environment(path, **options)
        if not found.exists():
            shutil.copyfile(path / DATA_FILE, found)
        return environment

    vars(relay.app)["open_environment"] = forgetful


PLANTED: Final[dict[str, Callable[[World], None]]] = {
    plant.__name__: plant
    for plant in (
        nothing,
        a_read_cursor_is_set,
        a_stall_loses_what_waited,
        the_wall_clock_numbers,
        a_restart_takes_commits_back,
    )
}


if __name__ == "__main__":
    main()

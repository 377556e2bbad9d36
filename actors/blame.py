"""Which letter a crash is put down to, and when that is proved.

A crashed turn may have held many letters, one of which is to blame, or none. Where the turn was
at one letter when it crashed, that one is taken again alone, in its place, and the others together;
else each is taken alone. A letter that crashes a turn of its own is dead. Once another has been
served after that, the conversation is cleared: what failed before was the letter's doing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actors.letters import Letter


class Blame:
    """Belongs to the mailbox, and so outlives the incarnations that crash."""

    __slots__ = ("_has_buried", "_is_cleared", "at_work", "failure", "suspect")

    def __init__(self) -> None:
        self.at_work: Letter | None = None  # the letter that a turn is at, if at one of several
        self.suspect: Letter | None = None  # taken alone, after a crash
        self.failure: Mapping[str, str] = {}  # what that turn raised, as `describe` tells it
        self._has_buried = False
        self._is_cleared = False

    def apart(self, letters: Sequence[Letter]) -> Sequence[Sequence[Letter]]:
        """What to take in one turn each, in the order of `letters`, after a crash."""
        at_work, self.at_work = self.at_work, None
        if at_work is None:
            return [[letter] for letter in letters]
        if at_work not in letters:  # dead, or answered by the log
            return [letters] if letters else []
        place = letters.index(at_work)
        groups = letters[:place], [at_work], letters[place + 1 :]
        return [group for group in groups if group]

    def bury(self) -> Letter | None:
        """The suspect, where it is to be answered as a dead letter: nobody else may answer it."""
        suspect, self.suspect = self.suspect, None
        if suspect is None or not suspect.is_open or suspect.is_handed_over:
            return None
        self._has_buried = True
        return suspect

    def served(self) -> None:
        """A turn has come to its end."""
        if self._has_buried:
            self._has_buried, self._is_cleared = False, True

    def is_cleared(self) -> bool:
        """Whether the failures before the present one were a dead letter's; told once."""
        is_cleared, self._is_cleared = self._is_cleared, False
        return is_cleared

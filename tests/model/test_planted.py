"""The model finds what it is for: each of these faults, planted through a seam, is found.

What is not found within the examples given here would not be found by the suite either.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from actors.conversation import Conversation, _acknowledgement
from actors.delivery import Delivery
from actors.inboxes import Inboxes
from actors.letters import SendLetter
from actors.mailbox import Mailbox
from actors.pending import Pending
from ksmp.types import GlobalInboxSeq, TimeMs
from storage import batch as batch_module
from storage.batch import Batch
from storage.log import Append, Full, Outcome
from storage.reader import Reader
from tests.model.ledger import Disagreement
from tests.model.play import play
from tests.model.steps import Case, stormy_cases

EXAMPLES: Final = 120

Plant = Callable[[pytest.MonkeyPatch], None]


def number_from_memory_without_fencing(patch: pytest.MonkeyPatch) -> None:
    """A restarted actor goes on from what its predecessor remembered, and nobody checks it."""
    memory: dict[Any, Any] = {}
    read_head, append, decide = Conversation._read_head, Conversation._append, Batch._append

    async def remembered(self: Conversation) -> Any:
        head = await read_head(self)
        return memory.setdefault((id(self._log), self._key), head)

    async def remembering(self: Conversation, letters: Sequence[SendLetter]) -> list[SendLetter]:
        rest = await append(self, letters)
        memory[id(self._log), self._key] = self._head
        return rest

    def unfenced(self: Batch, operation: Append) -> Outcome:
        head = self._head(operation.conversation, self._find_conversation(operation.conversation))
        # Without the check the numbers stand as they were given.
        if head.server_seq > operation.last_seq:
            self._head = lambda *_: head._replace(server_seq=operation.last_seq)  # type: ignore[method-assign]
        try:
            return decide(self, operation)
        finally:
            self.__dict__.pop("_head", None)

    patch.setattr(Conversation, "_read_head", remembered)
    patch.setattr(Conversation, "_append", remembering)
    patch.setattr(Batch, "_append", unfenced)


def fan_out_of_the_first_record_only(patch: pytest.MonkeyPatch) -> None:
    store = Batch._store_inbox

    def first_only(self: Batch, user: int, append: Append, numbers: Any, *sent: Any) -> list[Any]:
        if user != numbers.high or len(append.records) < 2:
            return store(self, user, append, numbers, *sent)
        first = dataclasses.replace(append, records=append.records[:1])
        return store(self, user, first, numbers, *sent) * len(append.records)

    patch.setattr(Batch, "_store_inbox", first_only)


def replay_from_the_cursor_itself(patch: pytest.MonkeyPatch) -> None:
    inbox = Reader._inbox

    def inclusive(self: Reader, txn: Any, user: int, after: int, through: int) -> Iterator[Any]:
        return inbox(self, txn, user, GlobalInboxSeq(max(after - 1, 0)), GlobalInboxSeq(through))

    patch.setattr(Reader, "_inbox", inclusive)


def hand_over_skips_to_the_head(patch: pytest.MonkeyPatch) -> None:
    advance = Delivery.advance

    def skipping(self: Delivery) -> Any:
        if self._target is not None and self._cursor >= self._target:
            self._cursor = self._inbox.head
        return advance(self)

    patch.setattr(Delivery, "advance", skipping)


def resume_begins_one_too_late(patch: pytest.MonkeyPatch) -> None:
    resume = Delivery.resume

    def late(self: Delivery, cursor: GlobalInboxSeq) -> None:
        resume(self, GlobalInboxSeq(min(cursor + 1, self._inbox.head)))

    patch.setattr(Delivery, "resume", late)


def key_without_its_sender(patch: pytest.MonkeyPatch) -> None:
    names = batch_module._key_names

    def without(append: Append, numbers: Any) -> list[bytes]:
        low = append.conversation.low
        same = [dataclasses.replace(record, sender=low) for record in append.records]
        return names(dataclasses.replace(append, records=same), numbers)

    patch.setattr(batch_module, "_key_names", without)


def keys_forgotten_at_a_restart(patch: pytest.MonkeyPatch) -> None:
    known_keys = Batch._known_keys
    remembered: set[tuple[int, Any, int]] = set()

    def young(self: Batch, append: Append, names: Sequence[bytes]) -> dict[int, Any]:
        home = id(self._tables)
        known = known_keys(self, append, names)
        kept = {
            index: one
            for index, one in known.items()
            if (home, append.conversation, one.server_seq) in remembered
        }
        for record in append.records:
            remembered.add((home, append.conversation, record.server_seq))
        return kept

    patch.setattr(Batch, "_known_keys", young)


def ack_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    number = Conversation._number

    def eager(self: Conversation, letters: Sequence[SendLetter]) -> Append:
        append = number(self, letters)
        for letter, record in zip(letters, append.records, strict=True):
            letter.answer(_acknowledgement(letter, record))
        return append

    patch.setattr(Conversation, "_number", eager)


def only_a_living_asker_moves_the_head(patch: pytest.MonkeyPatch) -> None:
    settle = Conversation._settle_append

    def alive_only(
        self: Conversation, letters: Any, append: Append, pending: Pending, outcome: Outcome
    ) -> None:
        if pending._waiter is None:
            pending.settle(outcome)
            return
        settle(self, letters, append, pending, outcome)

    patch.setattr(Conversation, "_settle_append", alive_only)


def a_crash_loses_what_was_in_hand(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mailbox, "take_again", lambda self: [])


def a_retry_is_stamped_anew(patch: pytest.MonkeyPatch) -> None:
    known_keys = Batch._known_keys

    def restamped(self: Batch, append: Append, names: Sequence[bytes]) -> dict[int, Any]:
        known = known_keys(self, append, names)
        return {
            index: one._replace(
                server_received_at_ms=TimeMs(append.records[index].server_received_at_ms)
            )
            for index, one in known.items()
        }

    patch.setattr(Batch, "_known_keys", restamped)


def conflicts_are_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("actors.conversation.payload_digest", lambda payload: bytes(32))


def a_read_is_set_not_raised(patch: pytest.MonkeyPatch) -> None:
    risen = Batch._risen

    def lowered(self: Batch, before: Any, mark: Any, numbers: Any, side: int) -> Any:
        after = risen(self, before, mark, numbers, side)
        own = after.own._replace(server_seq=mark.server_seq)
        return after._replace(own=own)

    patch.setattr(Batch, "_risen", lowered)


def private_reads_are_told_to_the_peer(patch: pytest.MonkeyPatch) -> None:
    publish = Inboxes.publish_read

    def leaking(self: Inboxes, letter: Any, marked: Any) -> None:
        public = {"public": marked.own, "public_rose": marked.own_rose}
        publish(self, letter, dataclasses.replace(marked, **public))

    patch.setattr(Inboxes, "publish_read", leaking)


def inbox_numbers_begin_anew_with_the_process(patch: pytest.MonkeyPatch) -> None:
    state = Batch._inbox_state
    bases: dict[tuple[int, int | None], int] = {}

    def rebased(self: Batch, user: int | None) -> Any:
        found = state(self, user)
        base = bases.setdefault((id(self._tables), user), found.global_inbox_seq)
        return found._replace(global_inbox_seq=found.global_inbox_seq - base)

    patch.setattr(Batch, "_inbox_state", rebased)


def passivation_takes_the_mail_along(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mailbox, "is_idle", True)
    take = Mailbox.take

    async def deaf(self: Mailbox) -> list[Any]:
        return [] if self.is_closed else await take(self)

    patch.setattr(Mailbox, "take", deaf)


def no_space_is_taken_for_success(patch: pytest.MonkeyPatch) -> None:
    settle = Conversation._settle_append

    def cheerful(
        self: Conversation, letters: Any, append: Append, pending: Pending, outcome: Outcome
    ) -> None:
        if isinstance(outcome, Full):
            for letter, record in zip(letters, append.records, strict=True):
                letter.answer(_acknowledgement(letter, record))
        settle(self, letters, append, pending, outcome)

    patch.setattr(Conversation, "_settle_append", cheerful)


def known_keys_stop_a_whole_batch(patch: pytest.MonkeyPatch) -> None:
    """What stands beside a retry in one append is dropped."""
    append = Conversation._append

    async def dropping(self: Conversation, letters: Sequence[SendLetter]) -> list[SendLetter]:
        rest = await append(self, letters)
        return [] if len(rest) < len(letters) else rest

    patch.setattr(Conversation, "_append", dropping)


PLANTS: Final[tuple[Plant, ...]] = (
    number_from_memory_without_fencing,
    fan_out_of_the_first_record_only,
    replay_from_the_cursor_itself,
    hand_over_skips_to_the_head,
    resume_begins_one_too_late,
    key_without_its_sender,
    keys_forgotten_at_a_restart,
    ack_before_the_commit,
    only_a_living_asker_moves_the_head,
    a_crash_loses_what_was_in_hand,
    a_retry_is_stamped_anew,
    conflicts_are_not_looked_at,
    a_read_is_set_not_raised,
    private_reads_are_told_to_the_peer,
    inbox_numbers_begin_anew_with_the_process,
    passivation_takes_the_mail_along,
    no_space_is_taken_for_success,
    known_keys_stop_a_whole_batch,
)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    found: list[Disagreement] = []
    played = 0

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(stormy_cases(), st.random_module())
    def relay_agrees(case: Case, schedule: object) -> None:
        nonlocal played
        if found:
            return
        played += 1
        with TemporaryDirectory() as directory:
            try:
                play(case, Path(directory) / "store")
            except Disagreement as disagreement:
                found.append(disagreement)

    relay_agrees()

    assert found
    print(f"found by example {played}")

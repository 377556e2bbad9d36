"""All persons of one experiment, two for each conversation, and who of them is struck."""

from __future__ import annotations

import os
import random

from bench.history import Recorder
from bench.isolation.plan import LoadPlan
from bench.isolation.schedule import stuck_readers, victims_of
from bench.isolation.stuck import FILLER_BYTES
from bench.open_loop.crowd import Crowd
from bench.open_loop.person import SMALL_RECEIVE_BYTES, Contents, Person, Shared
from bench.user import subject
from ksmp.types import ConversationId


class StruckCrowd(Crowd):
    """See the head of this file."""

    def __init__(self, plan: LoadPlan, recorder: Recorder) -> None:
        experiment = plan.experiment
        shared = Shared(
            plan.url,
            recorder,
            Contents(recorder, os.urandom(experiment.size), os.urandom(FILLER_BYTES)),
            random.Random(f"{experiment.seed} backoff"),
            set(),
        )
        stuck = stuck_readers(experiment) if experiment.fault == "stuck-reader" else ()
        persons = [
            _person(shared, plan, number, is_stuck=number in stuck)
            for number in range(2 * experiment.conversations)
        ]
        self._struck = victims_of(experiment)
        # What the flooders write is not in the history: to its reader it is somebody else's.
        super().__init__(shared, persons, self._struck if plan.flooding_tokens else ())

    @property
    def victims(self) -> tuple[int, ...]:
        """The numbers, in the history, of the conversations that are struck."""
        return tuple(self.persons[2 * victim].conversation for victim in self._struck)


def _person(shared: Shared, plan: LoadPlan, number: int, *, is_stuck: bool) -> Person:
    token, peer_token = plan.tokens[number], plan.tokens[number ^ 1]
    return Person(
        shared,
        token=token,
        user=subject(token),
        peer=subject(peer_token),
        conversation_id=ConversationId(f"isolation.{number // 2}"),
        receive_bytes=SMALL_RECEIVE_BYTES if is_stuck else None,
    )

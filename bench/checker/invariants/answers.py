"""What the relay answers: the same for the same key, registered refusals, settled outcomes."""

from __future__ import annotations

from typing import Final

from bench.checker.codes import ACTIONS, CLOSES, HTTP_STATUSES, RETRIED
from bench.checker.describing import answer_line, connection_name, frame_line, line_at, sent_line
from bench.checker.index import Index, place_of
from bench.checker.story import Outcome, Refusal, Story
from bench.checker.verdict import Examination, Invariant

TRACES: Final = ("Traceback", 'File "', "Error:", "Exception")
"""What the words for people never hold."""


def _equal_acks(story: Story, index: Index, examination: Examination) -> None:
    attempts, offers = story.attempts, story.offers
    first_of_key: dict[int, int] = {}
    first_bytes: dict[tuple[int, str], int] = {}
    for attempt, outcome in enumerate(attempts.outcome):
        if outcome != Outcome.OK:
            continue
        key = offers.key[attempts.offer[attempt]]
        first = first_of_key.setdefault(key, attempt)
        if first == attempt:
            continue
        examination.examined += 1
        subprotocol = story.connections[attempts.connection[attempt]].subprotocol
        # Bytes are compared with the first ack in the same subprotocol.
        if story.connections[attempts.connection[first]].subprotocol == subprotocol:
            same = first
        else:
            same = first_bytes.setdefault((key, subprotocol), attempt)
        if _differ(story, first, attempt) or attempts.raw[attempt] != attempts.raw[same]:

            def show(first: int = first, attempt: int = attempt) -> list[str]:
                return [answer_line(story, first), answer_line(story, attempt)]

            examination.violated(show)


def _differ(story: Story, one: int, other: int) -> bool:
    attempts = story.attempts
    columns = (attempts.offer, attempts.server_seq, attempts.received_ms, attempts.chain)
    return any(column[one] != column[other] for column in columns)


def _registered_refusals(story: Story, index: Index, examination: Examination) -> None:
    words: dict[str, str] = {}
    for refusal in story.refusals:
        examination.examined += 1
        said = words.setdefault(refusal.code, refusal.message)
        fault = _fault(refusal, said)
        if fault:
            _tell(examination, refusal.at, f"{refusal.who} is refused: {refusal.code}, {fault}")
    for http in story.http_refusals:
        examination.examined += 1
        if HTTP_STATUSES.get(http.code) != http.status:
            who = story.users[http.user].user_id
            _tell(examination, http.at, f"{who} cannot connect: {http.status} {http.code}")
    for at, connection, code in story.closes:
        examination.examined += 1
        if code not in CLOSES:
            _tell(examination, at, f"{connection_name(story, connection)} is closed with {code}")


def _fault(refusal: Refusal, said: str) -> str:
    """What is wrong with an error event, if anything."""
    if refusal.code not in ACTIONS:
        return "which is not a registered code"
    if refusal.action != ACTIONS[refusal.code]:
        return f"which calls for {ACTIONS[refusal.code]}, but says {refusal.action}"
    if (refusal.retry_after_ms is not None) != (refusal.code in RETRIED):
        return "with a retryAfterMs exactly where there must be none, or none where one must be"
    if refusal.message != said or any(trace in refusal.message for trace in TRACES):
        return f"in other words: {refusal.message[:200]}"
    return ""


def _tell(examination: Examination, at: int, words: str) -> None:
    examination.violated(lambda: [line_at(at, words)])


def _indeterminate_sends_settle(story: Story, index: Index, examination: Examination) -> None:
    for offer in _indeterminate(story):
        conversation, seq = story.offers.conversation[offer], index.seq[offer]
        users = story.conversations[conversation].users
        if not any(user in index.finals for user in users):
            continue
        examination.examined += 1
        row = index.log[conversation].get(seq)
        if row is None:
            continue  # never seen by anybody
        final = index.finals.get(story.user_of_row(row))
        stays = final is None or place_of(conversation, seq) in final.number_of
        stored = index.stored[conversation].get(seq, row)
        if stays and story.frames.payload[stored] == story.offers.payload[offer]:
            continue

        def show(offer: int = offer, row: int = row) -> list[str]:
            attempt = story.attempts.offer.index(offer)
            words = "but the final read of the same inbox does not have it"
            seen = [sent_line(story, attempt), answer_line(story, attempt)]
            return [*seen, frame_line(story, row), line_at(story.ended_at, words)]

        examination.violated(show)


def _indeterminate(story: Story) -> list[int]:
    """The offers that were never acked, and not always refused."""
    acked, open_ = set(), set()
    attempts = story.attempts
    for offer, outcome in zip(attempts.offer, attempts.outcome, strict=True):
        if outcome == Outcome.OK:
            acked.add(offer)
        elif outcome != Outcome.FAIL:
            open_.add(offer)
    return sorted(open_ - acked)


I5: Final = Invariant(
    "I5",
    "All acks of a key are equal, byte for byte within a subprotocol.",
    _equal_acks,
)
I18: Final = Invariant(
    "I18",
    "Every refusal has a registered code, its action and its words; no traceback is shown.",
    _registered_refusals,
)
I23: Final = Invariant(
    "I23",
    "A send without a known outcome is absent, or present for ever once it was seen.",
    _indeterminate_sends_settle,
)

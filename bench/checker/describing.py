"""Rows of a story in words: the lines of an excerpt."""

from __future__ import annotations

from bench.checker.story import Outcome, Story


def frame_line(story: Story, row: int) -> str:
    """One inbox frame."""
    frames = story.frames
    number, previous = frames.global_inbox_seq[row], frames.previous[row]
    record = record_name(story, frames.conversation[row], frames.server_seq[row])
    who = connection_name(story, frames.connection[row])
    what = envelope_name(story, frames.payload[row])
    chain = f"chain {frames.chain[row]:016x}"
    return (
        f"{_time(frames.at[row])} {who} is sent frame {number} (after {previous}):"
        f" {record}, {what}, {chain}"
    )


def sent_line(story: Story, attempt: int) -> str:
    """An attempt begins."""
    attempts = story.attempts
    offer = attempts.offer[attempt]
    where = conversation_name(story, story.offers.conversation[offer])
    who = connection_name(story, attempts.connection[attempt])
    what = envelope_name(story, story.offers.payload[offer])
    return f"{_time(attempts.at[attempt])} {who} offers {what} to {where} (attempt {attempt})"


def answer_line(story: Story, attempt: int) -> str:
    """An attempt ends, or does not."""
    attempts = story.attempts
    outcome = Outcome(attempts.outcome[attempt])
    if outcome is Outcome.NONE:
        return f"{_time(story.ended_at)} attempt {attempt} has no answer"
    when = _time(attempts.settled_at[attempt])
    if outcome is not Outcome.OK:
        return f"{when} attempt {attempt} ends: {outcome.name.lower()}"
    seq, chain = attempts.server_seq[attempt], attempts.chain[attempt]
    where = story.offers.conversation[attempts.offer[attempt]]
    raw = attempts.raw[attempt]
    return (
        f"{when} attempt {attempt} is acked as {record_name(story, where, seq)},"
        f" chain {chain:016x}, bytes {raw:016x}"
    )


def line_at(at: int, words: str) -> str:
    """Anything else that happened at a time."""
    return f"{_time(at)} {words}"


def connection_name(story: Story, number: int) -> str:
    """Whose connection, and which."""
    user = story.connections[number].user
    return f"{story.users[user].user_id} on connection {number}"


def conversation_name(story: Story, number: int) -> str:
    """The conversation with its people."""
    conversation = story.conversations[number]
    one, other = (story.users[user].user_id for user in conversation.users)
    return f"{conversation.conversation_id} of {one} and {other}"


def record_name(story: Story, conversation: int, server_seq: int) -> str:
    """A place in a conversation."""
    return f"{story.conversations[conversation].conversation_id} #{server_seq}"


def envelope_name(story: Story, payload: int) -> str:
    """The envelope behind a mark, if anybody sent it."""
    offer = story.offer_of_payload.get(payload)
    if offer is None:
        return f"what nobody sent ({payload:016x})"
    return f"message {story.offers.message_ids[offer]}"


def _time(at: int) -> str:
    return f"{at / 1e9:12.6f} s"

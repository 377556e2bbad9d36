"""One transaction: what is stored, what is refused, and that refusals leave no trace."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ksmp.types import GlobalInboxSeq, ServerSeq, TimeMs, UserId
from storage.environment import Environment
from storage.limits import DEFAULT_MIN_FREE_BYTES, StoreLimits
from storage.log import (
    Append,
    Appended,
    ConversationHead,
    Full,
    InboxHead,
    InboxPlace,
    KnownKey,
    KnownKeys,
    NoSuchRecord,
    OpenInbox,
    Operation,
    Page,
    ReadHead,
    ReadMarked,
    ReadPosition,
    ReadStatePage,
    SequenceConflict,
)
from storage.reader import Reader
from storage.transaction import Writer
from storage.verify import verify
from tests.storage.model import Model
from tests.storage.world import (
    PLENTY,
    Sent,
    append,
    base,
    conversation,
    head_after,
    mark,
    opened,
    writer,
)

ANN_BOB = conversation("ann", "bob")
ANN_CARL = conversation("ann", "carl")
ANN_ANN = conversation("ann", "ann")
ANN, BOB = UserId("ann"), UserId("bob")


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    with opened(tmp_path / "store") as environment:
        yield environment


def place(seq: int) -> InboxPlace:
    return InboxPlace(GlobalInboxSeq(seq), GlobalInboxSeq(seq - 1))


def position(seq: int, at: int) -> ReadPosition:
    return ReadPosition(ServerSeq(seq), TimeMs(at))


def page(environment: Environment, user: str) -> Page:
    found = Reader(environment).page(UserId(user), GlobalInboxSeq(0), GlobalInboxSeq(10**6), 10**9)
    assert isinstance(found, Page)
    return found


# ── appends ──────────────────────────────────────────────────────────────────────────────────


def test_append_is_in_the_log_and_in_both_inboxes(environment: Environment) -> None:
    new = append(ANN_BOB, base(ANN_BOB), [Sent("ann", "k1"), Sent("bob", "k1")])

    (outcome,) = writer(environment).transact([new])

    assert outcome == Appended({ANN: [place(1), place(2)], BOB: [place(1), place(2)]})
    rows = [(row.recorded, row.chain) for row in page(environment, "ann").rows]
    assert rows == [(record.recorded, record.chain) for record in new.records]
    assert page(environment, "bob") == page(environment, "ann")


def test_conversation_with_oneself_has_one_inbox_row_a_record(environment: Environment) -> None:
    new = append(ANN_ANN, base(ANN_ANN), [Sent("ann", "k1")])

    (outcome,) = writer(environment).transact([new])

    assert outcome == Appended({ANN: [place(1)]})
    assert len(page(environment, "ann").rows) == 1


def test_writer_that_believes_in_an_old_head_is_fenced_off(environment: Environment) -> None:
    first = append(ANN_BOB, base(ANN_BOB), [Sent("ann", "k1")])
    zombie = append(ANN_BOB, base(ANN_BOB), [Sent("ann", "k2")])

    outcomes = writer(environment).transact([first, zombie])

    assert outcomes[1] == SequenceConflict(head_after(first))
    assert len(page(environment, "bob").rows) == 1


def test_writer_ahead_of_an_unknown_conversation_learns_that_it_is_empty(
    environment: Environment,
) -> None:
    ahead = ConversationHead(ServerSeq(3), b"x" * 32)

    (outcome,) = writer(environment).transact([append(ANN_BOB, ahead, [Sent("ann", "k")])])

    assert outcome == SequenceConflict(base(ANN_BOB))


@pytest.mark.parametrize("same_transaction", [True, False])
def test_known_key_is_answered_with_its_first_record_and_stores_nothing(
    environment: Environment, same_transaction: bool
) -> None:
    first = append(ANN_BOB, base(ANN_BOB), [Sent("ann", "k1"), Sent("ann", "k2")])
    again = append(ANN_BOB, head_after(first), [Sent("ann", "new"), Sent("ann", "k2", b"other")])
    one = writer(environment)

    outcomes = (
        one.transact([first, again])
        if same_transaction
        else [*one.transact([first]), *one.transact([again])]
    )

    old = first.records[1]
    expected = KnownKey(old.server_seq, old.server_received_at_ms, old.chain, old.payload_digest)
    assert outcomes[1] == KnownKeys({1: expected})
    assert len(page(environment, "ann").rows) == 2


def test_key_belongs_to_its_sender_and_its_conversation(environment: Environment) -> None:
    operations = [
        append(ANN_BOB, base(ANN_BOB), [Sent("ann", "k"), Sent("bob", "k")]),
        append(ANN_CARL, base(ANN_CARL), [Sent("ann", "k")]),
        append(ANN_ANN, base(ANN_ANN), [Sent("ann", "k")]),
    ]

    outcomes = writer(environment).transact(operations)

    assert all(isinstance(outcome, Appended) for outcome in outcomes)


def test_refused_append_does_not_touch_its_neighbours(environment: Environment) -> None:
    first = append(ANN_BOB, base(ANN_BOB), [Sent("ann", "k1")])
    refused = append(ANN_BOB, base(ANN_BOB), [Sent("ann", "k2")])
    last = append(ANN_BOB, head_after(first), [Sent("bob", "k3")])
    other = append(ANN_CARL, base(ANN_CARL), [Sent("carl", "k4")])

    outcomes = writer(environment).transact([first, refused, last, other, OpenInbox(ANN)])

    assert outcomes[2] == Appended({ANN: [place(2)], BOB: [place(2)]})
    assert outcomes[4] == InboxHead(GlobalInboxSeq(3), GlobalInboxSeq(0))


def test_batch_that_stores_nothing_commits_nothing(environment: Environment) -> None:
    one = writer(environment)
    first = append(ANN_BOB, base(ANN_BOB), [Sent("ann", "k1")])
    one.transact([first, mark(ANN_BOB, "bob", 1)])
    before = environment.journal.number

    one.transact(
        [
            ReadHead(ANN_CARL),
            OpenInbox(UserId("nobody")),
            mark(ANN_CARL, "carl", 0),
            mark(ANN_BOB, "bob", 1),
            append(ANN_BOB, base(ANN_BOB), [Sent("ann", "k9")]),
            append(ANN_BOB, head_after(first), [Sent("ann", "k1")]),
        ]
    )

    assert environment.journal.number == before


# ── read positions ───────────────────────────────────────────────────────────────────────────


def test_read_position_is_a_maximum_and_the_private_one_is_kept_apart(
    environment: Environment,
) -> None:
    sends = [Sent("ann", f"k{n}") for n in range(3)]

    outcomes = writer(environment).transact(
        [
            append(ANN_BOB, base(ANN_BOB), sends),
            mark(ANN_BOB, "bob", 1, at=10),
            mark(ANN_BOB, "bob", 3, at=11, private=True),
            mark(ANN_BOB, "bob", 2, at=12),
            mark(ANN_BOB, "bob", 1, at=13),
            mark(ANN_BOB, "bob", 4, at=14),
        ]
    )

    assert outcomes[1:] == [
        ReadMarked(position(1, 10), position(1, 10), True, True),
        ReadMarked(position(3, 11), position(1, 10), True, False),
        ReadMarked(position(3, 11), position(2, 12), False, True),
        ReadMarked(position(3, 11), position(2, 12), False, False),
        NoSuchRecord(),
    ]


# ── no space ─────────────────────────────────────────────────────────────────────────────────


def test_low_free_space_refuses_what_is_new_and_answers_what_is_known(
    environment: Environment,
) -> None:
    free = [PLENTY]
    one = Writer(environment, free_bytes=lambda: free[0])
    first = append(ANN_BOB, base(ANN_BOB), [Sent("ann", "k1"), Sent("ann", "k2")])
    one.transact([first, mark(ANN_BOB, "bob", 1)])
    free[0] = DEFAULT_MIN_FREE_BYTES - 1
    new = append(ANN_BOB, head_after(first), [Sent("ann", "k3")])
    batch: list[Operation] = [
        new,
        append(ANN_BOB, head_after(first), [Sent("ann", "k1")]),
        append(ANN_BOB, base(ANN_BOB), [Sent("ann", "k4")]),
        mark(ANN_BOB, "bob", 2),
        mark(ANN_BOB, "bob", 1),
        ReadHead(ANN_BOB),
    ]

    kinds = [type(outcome) for outcome in one.transact(batch)]

    assert kinds == [Full, KnownKeys, SequenceConflict, Full, ReadMarked, ConversationHead]
    free[0] = DEFAULT_MIN_FREE_BYTES
    assert isinstance(one.transact([new])[0], Appended)


def test_map_grows_by_itself_and_the_batch_is_stored_once(tmp_path: Path) -> None:
    with opened(tmp_path / "store", map_size_bytes=1 << 18) as environment:
        one = writer(environment)
        sends = [Sent("ann", f"k{n}", bytes(100_000)) for n in range(20)]
        new = append(ANN_BOB, base(ANN_BOB), sends)

        outcomes = one.transact([new, mark(ANN_BOB, "bob", 20)])

        assert isinstance(outcomes[0], Appended)
        assert len(page(environment, "bob").rows) == 20
    assert verify(tmp_path / "store").problems == []


def sent(head: ConversationHead) -> Append:
    """A large record behind `head`."""
    return append(ANN_BOB, head, [Sent("ann", f"large{head.server_seq}", bytes(1 << 18))])


def test_map_that_cannot_grow_is_full_and_known_keys_are_still_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal takes what fits into its two files; then there is no room any more."""
    with opened(tmp_path / "store", map_size_bytes=1 << 18, segment_bytes=1 << 20) as environment:
        one = writer(environment)
        first = append(ANN_BOB, base(ANN_BOB), [Sent("ann", "k1")])
        one.transact([first])
        again = append(ANN_BOB, head_after(first), [Sent("ann", "k1")])
        monkeypatch.setattr(environment, "grow", lambda: False)
        head = head_after(first)
        while isinstance(one.transact([large := sent(head)])[0], Appended):
            one.fold()
            head = head_after(large)

        assert 12 < head.server_seq < 24
        kinds = [type(outcome) for outcome in one.transact([large, again])]
        assert kinds == [Full, SequenceConflict]
        again = append(ANN_BOB, head, [Sent("ann", "k1")])
        assert isinstance(one.transact([again])[0], KnownKeys)
        monkeypatch.undo()
        while one.is_folding:
            assert one.fold() is None
        assert isinstance(one.transact([large])[0], Appended)
    assert verify(tmp_path / "store").problems == []


@pytest.mark.parametrize("seed", range(3))
def test_checkpoint_adds_no_more_pages_than_were_reserved_for_it(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    keys = [conversation(f"user{n}", f"user{n + 1}") for n in range(20)]
    heads = {key: base(key) for key in keys}
    reserved: list[int] = []
    steps = 0
    with opened(tmp_path / "store", map_size_bytes=1 << 28, segment_bytes=1) as environment:
        environment.reserve = reserved.append  # type: ignore[assignment, method-assign]
        one = writer(environment)
        for _ in range(15):
            batch: list[Operation] = []
            for key in chance.sample(keys, chance.randint(1, 20)):
                size = chance.choice([50, 300, 2_000, 20_000, 300_000])
                name = f"{chance.getrandbits(64):x}" * chance.randint(1, 4)
                sends = [Sent(key.low, f"{name}-{n}", bytes(size)) for n in range(8)]
                new = append(key, heads[key], sends)
                heads[key] = head_after(new)
                batch += [new, mark(key, key.high, heads[key].server_seq)]
            assert all(isinstance(outcome, Appended) for outcome in one.transact(batch)[::2])
            last_page = environment._env.info()["last_pgno"]
            while one.is_folding:
                assert one.fold() is None
                added = environment._env.info()["last_pgno"] - last_page
                last_page += added
                steps += 1
                assert added <= reserved.pop()
    assert steps > 100


# ── everything, against the model ────────────────────────────────────────────────────────────

CONVERSATIONS = [ANN_BOB, ANN_CARL, ANN_ANN, conversation("bob", "ann", "d")]


SIZED = {name: b"x" * 100 * place for place, name in enumerate("abcdefgh", 1)}
"""What is sent with a key: always the same, and one is larger than another."""


@st.composite
def wishes(draw: st.DrawFn) -> tuple:
    """What to do next; resolved against the model, which knows the heads."""
    key = draw(st.sampled_from(CONVERSATIONS))
    who = draw(st.sampled_from(key[1:]))
    kind = draw(st.sampled_from(["append"] * 4 + ["mark"] * 3 + ["head", "inbox"]))
    if kind == "append":
        fresh = st.sampled_from("abcdefgh")
        sends = draw(
            st.lists(
                st.tuples(st.sampled_from(key[1:]), fresh), min_size=1, max_size=3, unique=True
            )
        )
        return kind, key, sends, draw(st.integers(0, 5)) == 0
    if kind == "mark":
        return kind, key, who, draw(st.integers(0, 6)), draw(st.booleans())
    return kind, key, who


def resolve(model: Model, wish: tuple, at: int) -> Operation:
    match wish:
        case ("append", key, sends, is_stale):
            head = model.head(key)
            if is_stale:
                head = ConversationHead(ServerSeq(max(0, head.server_seq - 1)), head.chain)
            return append(key, head, [Sent(sender, name, SIZED[name]) for sender, name in sends])
        case ("mark", key, who, seq, private):
            return mark(key, who, seq, private=private, at=at)
        case ("head", key, _):
            return ReadHead(key)
        case (_, _, who):
            return OpenInbox(who)
    raise AssertionError(wish)


def plenty() -> int:
    return PLENTY


def no_space() -> int:
    return 0


def agree(model: Model, environment: Environment) -> None:
    reader = Reader(environment)
    for user in ("ann", "bob", "carl"):
        owner = UserId(user)
        assert list(page(environment, user).rows) == model.rows(owner)
        for stored_from in range(0, model.inbox_head(owner) + 2, 2):
            found = reader.read_states(owner, GlobalInboxSeq(stored_from), None, 100)
            assert isinstance(found, ReadStatePage)
            assert len(found.states) == len(set(found.states))
            assert set(found.states) == model.read_states(owner, stored_from)


QUOTAS = [0, 0, 250, 1_000, 2_500]
"""Of bytes; a record of `wishes` takes about 300 to 1,000."""


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    batches=st.lists(
        st.tuples(st.lists(wishes(), min_size=1, max_size=8), st.integers(0, 9)),
        min_size=1,
        max_size=6,
    ),
    quotas=st.tuples(st.sampled_from(QUOTAS), st.sampled_from(QUOTAS)),
)
def test_any_batches_have_the_outcomes_of_the_model(batches: list, quotas: tuple) -> None:
    model = Model()
    per_sender, per_inbox = quotas
    model.limits = StoreLimits(stored_bytes_per_sender=per_sender, stored_bytes_per_inbox=per_inbox)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "store"
        at = 0
        for batch, chance in batches:
            # Reopened for each, so that nothing is known from memory.
            with opened(path, segment_bytes=2_048) as environment:
                model.is_full = chance == 0
                free_bytes = no_space if model.is_full else plenty
                operations, expected = [], []
                for wish in batch:
                    at += 1
                    operations.append(resolve(model, wish, at))
                    expected.append(model.decide(operations[-1]))

                one = Writer(environment, free_bytes, model.limits)
                outcomes = one.transact(operations)

                assert outcomes == expected
                agree(model, environment)
                for _ in range(chance % 4):  # none, a part, or all of what is to be folded
                    assert one.fold() is None
                    agree(model, environment)
                if chance == 9:
                    assert one.finish() is None
                    agree(model, environment)
        assert verify(path).problems == []

"""A mailbox is bounded, keeps its order, and loses nothing to a receiver that fails."""

from __future__ import annotations

from itertools import count

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.letters import Letter, SendLetter
from actors.mailbox import BATCH_BYTES, BATCH_LETTERS, Mailbox
from ksmp.errors import error
from tests.actors.saboteur import Planted, Saboteur
from tests.actors.world import Client, envelope

ANSWER = error("internal")


def letters(amount: int, size: int = 10) -> list[Letter]:
    client = Client()
    return [SendLetter(envelope(f"key-{n}"), client, size) for n in range(amount)]


async def test_letters_are_taken_in_the_order_in_which_they_were_put() -> None:
    mailbox = Mailbox(10, 1_000)
    put = letters(7)
    for letter in put:
        assert mailbox.put(letter)

    assert await mailbox.take() == put


async def test_no_more_letters_wait_than_the_limit_and_taking_makes_room() -> None:
    mailbox = Mailbox(3, 1_000)
    *fitting, one_too_many = letters(4)

    assert all(mailbox.put(letter) for letter in fitting)
    assert not mailbox.put(one_too_many)
    assert await mailbox.take() == fitting
    assert mailbox.put(one_too_many)
    assert await mailbox.take() == [one_too_many]


async def test_no_more_bytes_wait_than_the_limit_and_taking_makes_room() -> None:
    mailbox = Mailbox(100, 30)
    *fitting, one_too_many = letters(4)

    assert all(mailbox.put(letter) for letter in fitting)
    assert not mailbox.put(one_too_many)
    assert await mailbox.take() == fitting
    assert all(mailbox.put(letter) for letter in fitting)
    assert not mailbox.put(one_too_many)


async def test_one_letter_always_fits_an_empty_mailbox_and_nothing_fits_beside_it() -> None:
    mailbox = Mailbox(100, 30)
    giant, small = letters(1, size=1_000)[0], letters(1, size=1)[0]

    assert mailbox.put(giant)
    assert not mailbox.put(small)
    assert await mailbox.take() == [giant]
    assert mailbox.put(small)


async def test_a_batch_ends_at_its_number_of_letters_and_the_rest_is_the_next() -> None:
    mailbox = Mailbox(1_000, 1 << 30)
    put = letters(BATCH_LETTERS + 5)
    for letter in put:
        mailbox.put(letter)

    assert await mailbox.take() == put[:BATCH_LETTERS]
    assert await mailbox.take() == put[BATCH_LETTERS:]


async def test_a_batch_ends_with_the_letter_that_reaches_its_bytes() -> None:
    mailbox = Mailbox(1_000, 1 << 30)
    put = letters(5, size=BATCH_BYTES // 2)
    for letter in put:
        mailbox.put(letter)

    assert await mailbox.take() == put[:2]
    assert await mailbox.take() == put[2:4]
    assert await mailbox.take() == put[4:]


async def test_whoever_waits_gets_the_letter_that_comes(autojump_clock: MockClock) -> None:
    mailbox = Mailbox(10, 1_000)
    (letter,) = letters(1)
    taken: list[Letter] = []
    idle: list[bool] = []

    async def receive() -> None:
        taken.extend(await mailbox.take())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        idle.append(mailbox.is_idle)
        mailbox.put(letter)
        idle.append(mailbox.is_idle)

    assert taken == [letter]
    assert idle == [True, False], "a letter on its way to the receiver is not yet answered"


async def test_a_closed_mailbox_tells_whoever_waits_after_all_that_was_put(
    autojump_clock: MockClock,
) -> None:
    mailbox = Mailbox(10, 1_000)
    put = letters(2)
    taken: list[list[Letter]] = []

    async def receive() -> None:
        while batch := await mailbox.take():
            taken.append(batch)

    async with trio.open_nursery() as nursery:
        for letter in put:
            mailbox.put(letter)
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        mailbox.close()

    assert taken == [put]
    assert mailbox.is_closed


async def test_a_mailbox_is_idle_only_when_nothing_waits_and_all_in_hand_is_answered() -> None:
    mailbox = Mailbox(10, 1_000)
    first, second = letters(2)
    seen = [mailbox.is_idle]
    mailbox.put(first)
    mailbox.put(second)
    seen.append(mailbox.is_idle)
    await mailbox.take()
    seen.append(mailbox.is_idle)
    first.answer(ANSWER)
    seen.append(mailbox.is_idle)
    second.answer(ANSWER)
    seen.append(mailbox.is_idle)

    assert seen == [True, False, False, False, True]


@pytest.mark.rule("S5")
@pytest.mark.parametrize("is_receiver_first", [True, False])
async def test_a_receiver_that_fails_at_any_checkpoint_loses_no_letter(
    autojump_clock: MockClock, is_receiver_first: bool
) -> None:
    struck = 0
    for at in count(1):
        mailbox = Mailbox(10, 1_000)
        put = letters(3)
        answered: list[Letter] = []
        saboteur = Saboteur(at)

        async def receive(
            mailbox: Mailbox = mailbox,
            saboteur: Saboteur = saboteur,
            answered: list[Letter] = answered,
        ) -> None:
            try:
                await saboteur.run(answer_all(mailbox, answered))
            except Planted:
                answer(mailbox.take_again(), answered)
                await answer_all(mailbox, answered)

        async with trio.open_nursery() as nursery:
            if is_receiver_first:
                nursery.start_soon(receive)
                await wait_all_tasks_blocked()
            for letter in put:
                mailbox.put(letter)
            if not is_receiver_first:
                nursery.start_soon(receive)
            await wait_all_tasks_blocked()
            mailbox.close()

        assert answered == put, f"failing at checkpoint {at}"
        assert mailbox.is_idle
        if not saboteur.has_struck:
            break
        struck += 1

    assert struck >= 2


async def test_a_receiver_cancelled_before_or_after_letters_come_loses_none(
    autojump_clock: MockClock,
) -> None:
    mailbox = Mailbox(10, 1_000)
    before, after = letters(3), letters(3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.take)
        await wait_all_tasks_blocked()
        for letter in before:
            mailbox.put(letter)
        nursery.cancel_scope.cancel()
    taken = mailbox.take_again()
    answer(taken, [])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.take)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        for letter in after:
            mailbox.put(letter)

    assert taken == before
    assert [*mailbox.take_again(), *await mailbox.take()] == after


async def test_what_was_answered_before_the_crash_is_not_taken_again() -> None:
    mailbox = Mailbox(10, 1_000)
    put = letters(3)
    for letter in put:
        mailbox.put(letter)
    await mailbox.take()
    put[1].answer(ANSWER)

    assert mailbox.take_again() == [put[0], put[2]]


async def test_emptying_leaves_out_what_the_log_holds_and_what_is_answered() -> None:
    mailbox = Mailbox(10, 1_000)
    put = letters(5)
    for letter in put[:3]:
        mailbox.put(letter)
    await mailbox.take()
    put[0].is_handed_over = True
    put[1].answer(ANSWER)
    for letter in put[3:]:
        mailbox.put(letter)

    assert mailbox.empty() == put[2:]


async def answer_all(mailbox: Mailbox, answered: list[Letter]) -> None:
    while batch := await mailbox.take():
        answer(batch, answered)


def answer(batch: list[Letter], answered: list[Letter]) -> None:
    for letter in batch:
        letter.answer(ANSWER)
        answered.append(letter)

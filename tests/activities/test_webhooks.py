"""A slice of announcements: whoever asks is told once for good, and whoever is down, later."""

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

from standardwebhooks import Webhook as Verifier
from uuid_utils.compat import uuid7

from activities.bell import Bell
from activities.slices import Timing
from activities.webhook_ends import Delivered
from channels.egress import EgressTransport
from domain.deliveries import FAILED_FOR_DAYS, GONE, KEPT_TRIES, WAS_DISABLED
from domain.workspaces import DEFAULT_WORKSPACE, SYSTEM_WORKSPACE
from lab.http_server import Answer, Asked
from models.base import Sessions
from models.queries import webhook_deliveries
from tests.channels.calls_support import NOBODY
from tests.support import GivenClock, eventually
from tests.webhooks import (
    OLD_SECRET,
    SECRET,
    Receiver,
    a_webhook,
    announced,
    here,
    look,
    receiving,
    slice_of,
    states,
)


async def test_whoever_asks_is_told_once_and_can_verify_it(
    sessions: Sessions, bell: Bell, clock: GivenClock
) -> None:
    async with receiving() as receiver:
        webhook = await a_webhook(sessions, receiver.url, ["message.*"])
        await a_webhook(sessions, NOBODY, ["campaign.started"])
        await announced(sessions, clock, 300)

        done = await slice_of(sessions, bell, clock)

    assert (done.delivered, done.again, done.failed, done.pending) == (300, 0, 0, False)
    assert len(receiver.taken) == 300
    assert set(receiver.taken.values()) == {1}
    assert {body["data"]["nth"] for [body] in receiver.said.values()} == set(range(1, 301))
    assert receiver.asked[0].headers["content-type"] == "application/json"
    assert await states(sessions, webhook) == {"delivered": 300}
    [tried] = (await look(sessions, "select tries from webhook_deliveries limit 1"))[0]
    assert (tried["status"], tried["reason"], tried["answer"]) == (204, None, "")


async def test_while_a_secret_is_changed_either_one_verifies(
    sessions: Sessions, bell: Bell, clock: GivenClock
) -> None:
    overlap: dict[str, Any] = {"old_secret": OLD_SECRET, "old_secret_until": clock.now() + timedelta(hours=1)}
    async with receiving(Receiver(verifier=Verifier(OLD_SECRET))) as old, receiving() as new:
        await a_webhook(sessions, old.url, **overlap)
        await a_webhook(sessions, new.url, **overlap)
        await announced(sessions, clock)
        assert (await slice_of(sessions, bell, clock)).delivered == 2

        clock.move(timedelta(hours=2))
        await announced(sessions, clock)
        await slice_of(sessions, bell, clock)

    assert (len(old.taken), len(new.taken)) == (1, 2)
    assert len(new.asked[-1].headers["webhook-signature"].split(" ")) == 1


async def test_an_endpoint_that_is_down_for_a_day_gets_everything_afterwards_with_the_same_ids(
    sessions: Sessions, bell: Bell, clock: GivenClock
) -> None:
    """Meanwhile it is tried again and again, by one delivery at a time, at most once in five minutes."""
    receiver = Receiver(answer=lambda asked: Answer(503))
    async with receiving(receiver):
        webhook = await a_webhook(sessions, receiver.url)
        ends = clock.now() + timedelta(days=1)
        while clock.now() < ends:
            if len(await look(sessions, "select id from webhook_deliveries")) < 200:
                await announced(sessions, clock, 10)
            done = await slice_of(sessions, bell, clock)
            assert done.pending
            assert done.next_due_at is not None
            assert done.next_due_at > clock.now()
            clock.time = done.next_due_at + timedelta(minutes=55)
        tried = len(receiver.asked)
        receiver.answer = lambda asked: Answer(200)
        while (await slice_of(sessions, bell, clock)).pending:
            clock.move(timedelta(hours=12))

    assert 22 <= tried < 60, "one at each of these looks, after the first"
    assert await states(sessions, webhook) == {"delivered": 200}
    assert len(receiver.taken) == 200
    assert set(receiver.taken.values()) == {1}
    ids = {str(id_) for id_ in await look(sessions, "select id from webhook_deliveries")}
    assert receiver.said.keys() == ids
    assert all(body == bodies[0] for bodies in receiver.said.values() for body in bodies)
    [row] = await look(sessions, "select array[failures, rests] from webhooks")
    assert row == [0, 0]


async def test_what_is_held_by_a_rest_loses_no_attempt(
    sessions: Sessions, bell: Bell, clock: GivenClock
) -> None:
    async with receiving(Receiver(answer=lambda asked: Answer(500, b"out of order"))) as receiver:
        webhook = await a_webhook(sessions, receiver.url)
        await announced(sessions, clock, 500)
        done = await slice_of(sessions, bell, clock)

    tried = len(receiver.asked)
    assert 5 <= tried <= 25
    assert done.again == tried
    [attempts] = await look(sessions, "select sum(attempts) from webhook_deliveries")
    assert attempts == tried
    assert await look(sessions, "select id from webhook_deliveries where leased_until is not null") == []
    [rests] = await look(sessions, "select rests_until from webhooks where id = :id", id=webhook)
    assert done.next_due_at == rests == clock.now() + timedelta(seconds=5)


async def test_a_hanging_endpoint_does_not_slow_its_neighbour(
    sessions: Sessions, bell: Bell, clock: GivenClock
) -> None:
    """Not even when the slice is over: the neighbour goes on as long as somebody is waited for."""
    short = Timing(slice=0.5, linger=0, lease=60, reconcile_after=900)
    async with receiving(Receiver(pause=30)) as hanging, receiving() as healthy:
        await a_webhook(sessions, hanging.url, ["profile.*", "message.*"])
        await a_webhook(sessions, healthy.url, ["message.*"])
        await announced(sessions, clock, 20)
        taken: list[int] = []

        def answer(asked: Asked) -> Answer:
            taken.append(len(hanging.taken))
            return Answer(200)

        healthy.answer = answer
        work = slice_of(sessions, bell, clock, timing=short, guard=lambda: here(5))

        async def took(n: int) -> bool:
            return len(taken) >= n

        async def announce_more() -> None:
            await eventually(lambda: took(20))
            await asyncio.sleep(0.7)  # The slice is over by now.
            await announced(sessions, clock, 5)
            await eventually(lambda: took(25))
            assert not work_is_done.is_set()

        work_is_done = asyncio.Event()

        async def deliver() -> Delivered:
            done = await work
            work_is_done.set()
            return done

        done, _ = await asyncio.gather(deliver(), announce_more())

    assert not hanging.taken
    assert len(healthy.taken) == 25
    assert done.delivered == 25
    assert 4 <= done.again <= 20


async def test_what_is_no_success_is_tried_again(sessions: Sessions, bell: Bell, clock: GivenClock) -> None:
    statuses = [301, 400, 404, 408, 500]

    def answer(asked: Asked) -> Answer:
        return Answer(int(asked.query["status"]), headers={"Location": "http://169.254.169.254/"})

    async with receiving(Receiver(answer=answer)) as receiver:
        for status in statuses:
            await a_webhook(sessions, f"{receiver.url}?status={status}")
        await announced(sessions, clock)
        done = await slice_of(sessions, bell, clock)

    assert len(receiver.asked) == len(statuses)
    assert (done.again, done.failed) == (len(statuses), 0)
    for due in await look(sessions, "select due_at from webhook_deliveries"):
        assert timedelta(seconds=4) <= due - clock.now() <= timedelta(seconds=5)


async def test_retry_after_is_obeyed_and_the_webhook_left_alone_until_then(
    sessions: Sessions, bell: Bell, clock: GivenClock
) -> None:
    answers = [Answer(429, headers={"Retry-After": "120"}), Answer(200)]
    async with receiving(Receiver(answer=lambda asked: answers.pop(0))) as receiver:
        await a_webhook(sessions, receiver.url)
        await announced(sessions, clock)
        await slice_of(sessions, bell, clock)
        await announced(sessions, clock)
        clock.move(timedelta(seconds=119))
        done = await slice_of(sessions, bell, clock)
        assert len(receiver.asked) == 1
        assert done.next_due_at == clock.now() + timedelta(seconds=1)

        answers.append(Answer(200))
        clock.move(timedelta(seconds=1))
        assert (await slice_of(sessions, bell, clock)).delivered == 2


async def test_whoever_says_410_is_disabled_at_once_and_the_others_and_the_admins_are_told(
    sessions: Sessions, bell: Bell, clock: GivenClock
) -> None:
    async with receiving(Receiver(answer=lambda asked: Answer(410))) as gone, receiving() as other:
        webhook = await a_webhook(sessions, gone.url, ["message.*"])
        await a_webhook(sessions, other.url, ["webhook.disabled"])
        await announced(sessions, clock, 60)
        done = await slice_of(sessions, bell, clock, timing=Timing(slice=30, linger=0.3))
        again = await slice_of(sessions, bell, clock)

    assert done.disabled == 1
    assert not again.pending
    assert await states(sessions, webhook) == {"failed": 60}
    reasons = await look(sessions, "select disabled_reason from webhooks where state = 'disabled'")
    assert reasons == [GONE]
    [[said]] = other.said.values()
    assert said["type"] == "webhook.disabled"
    assert said["data"]["webhook_id"] == str(webhook)
    assert said["data"]["url"] == gone.url.removesuffix("/hook"), "the path may be a secret"
    mails = await look(
        sessions, "select bare from messages where step = 'webhook disabled'", workspace=SYSTEM_WORKSPACE
    )
    assert mails == ["owner@records.example"]


async def test_it_is_given_up_after_three_days_and_the_webhook_disabled_after_five(
    sessions: Sessions, bell: Bell, clock: GivenClock
) -> None:
    began = clock.now()
    async with receiving(Receiver(answer=lambda asked: Answer(500, b"x" * 5000))) as receiver:
        webhook = await a_webhook(sessions, receiver.url)
        await announced(sessions, clock)
        while (done := await slice_of(sessions, bell, clock)).pending:
            assert done.next_due_at is not None
            clock.time = done.next_due_at
        assert await states(sessions, webhook) == {"failed": 1}
        assert began + timedelta(days=3) <= clock.now() <= began + timedelta(days=3, minutes=5)
        tries = len(receiver.asked)
        assert 12 <= tries <= 20
        [[attempts, kept]] = await look(
            sessions, "select array[attempts, jsonb_array_length(tries)] from webhook_deliveries"
        )
        assert (attempts, kept) == (tries, min(tries, KEPT_TRIES))

        clock.time = began + timedelta(days=5, minutes=1)
        await announced(sessions, clock, 3)
        done = await slice_of(sessions, bell, clock)

    assert (done.disabled, done.pending) == (1, False)
    assert await states(sessions, webhook) == {"failed": 4}
    assert await look(sessions, "select disabled_reason from webhooks") == [FAILED_FOR_DAYS]
    noted = await look(sessions, "select reason from failure_logs where subject = 'webhook' order by id")
    assert noted == [
        "The receiver answered 500",
        f"The webhook n8n was disabled. {FAILED_FOR_DAYS}",
        WAS_DISABLED,
    ]


async def test_what_a_rest_held_for_three_days_is_given_up_without_a_try(
    sessions: Sessions, bell: Bell, clock: GivenClock
) -> None:
    webhook = await a_webhook(sessions, NOBODY, failures=9, rests_until=clock.now(), rests=3)
    await announced(sessions, clock, 5)
    clock.move(timedelta(days=3, hours=2))
    await announced(sessions, clock, 2)

    done = await slice_of(sessions, bell, clock)

    assert (done.failed, done.again) == (5, 1)
    assert await states(sessions, webhook) == {"failed": 5, "pending": 2}


async def test_what_is_said_of_an_answer_is_short_and_holds_no_secret(
    sessions: Sessions, bell: Bell, clock: GivenClock
) -> None:
    words = f"Signed with {SECRET}? Ask eve@shop.example, token {'a1B2' * 12}. " + "much " * 5_000
    async with receiving(Receiver(answer=lambda asked: Answer(200, words.encode()))) as receiver:
        await a_webhook(sessions, receiver.url)
        await announced(sessions, clock)
        assert (await slice_of(sessions, bell, clock)).delivered == 1

    [[tried]] = await look(sessions, "select tries from webhook_deliveries")
    assert len(tried["answer"]) <= 500
    assert tried["answer"].startswith("Signed with [secret]? Ask …, token …. much much")


NOT_CALLED = [
    "https://127.0.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://[::ffff:127.0.0.1]/",
    "https://0x7f.1/",
    "http://8.8.8.8/",
    "https://ada:secret@shop.example/",
    "ftp://shop.example/",
    "https://8.8.8.8:99999/",
    "https://0177.0.0.1/",
    "nonsense",
]


async def test_an_address_that_is_not_called_fails_for_good(
    sessions: Sessions, bell: Bell, clock: GivenClock
) -> None:
    for url in NOT_CALLED:
        await a_webhook(sessions, url)
    await announced(sessions, clock)

    done = await slice_of(sessions, bell, clock, guard=EgressTransport)

    assert (done.failed, done.again) == (len(NOT_CALLED), 0)
    reasons = await look(sessions, "select reason from webhook_deliveries where state = 'failed'")
    assert len(reasons) == len(NOT_CALLED)
    assert not any("secret" in reason for reason in reasons)


async def test_a_staging_system_calls_nobody_but_whom_it_may(
    sessions: Sessions, bell: Bell, clock: GivenClock
) -> None:
    async with receiving() as receiver:
        await a_webhook(sessions, receiver.url)
        held = await a_webhook(sessions, "http://127.0.0.2:9/")
        await announced(sessions, clock, 6)
        done = await slice_of(sessions, bell, clock, only_to="127.0.0.1")

    assert (done.delivered, done.failed) == (6, 6)
    [failures] = await look(sessions, "select failures from webhooks where id = :id", id=held)
    assert failures == 0


async def test_a_lease_that_ended_is_taken_over_with_the_same_id(
    sessions: Sessions, bell: Bell, clock: GivenClock
) -> None:
    async with receiving() as receiver:
        await a_webhook(sessions, receiver.url)
        await announced(sessions, clock, 2)
        lease = "clock_timestamp() + make_interval(secs => :left)"
        held = f"update webhook_deliveries set attempt = uuidv7(), leased_until = {lease} returning id"
        await look(sessions, held, left=60)
        done = await slice_of(sessions, bell, clock)
        assert (done.delivered, done.pending) == (0, True)
        assert done.lease_left is not None
        assert 50 < done.lease_left <= 60

        ids = await look(sessions, held, left=-1)
        assert (await slice_of(sessions, bell, clock)).delivered == 2

    assert receiver.taken.keys() == {str(id_) for id_ in ids}


async def test_bodies_are_claimed_by_their_size(sessions: Sessions, bell: Bell, clock: GivenClock) -> None:
    webhook = await a_webhook(sessions, NOBODY)
    await announced(sessions, clock, 10, more="x" * 200_000)
    async with sessions.batch(DEFAULT_WORKSPACE) as db:
        claim = partial(webhook_deliveries.claim, db, DEFAULT_WORKSPACE, webhook, lease=60, most=10)
        some, _ = await claim(uuid7(), clock.now(), most_bytes=500_000)
        one, _ = await claim(uuid7(), clock.now(), most_bytes=1)
    assert (len(some), len(one)) == (3, 1)


async def test_what_was_closed_long_ago_is_removed(sessions: Sessions, bell: Bell, clock: GivenClock) -> None:
    async with receiving() as receiver:
        await a_webhook(sessions, receiver.url)
        await announced(sessions, clock, 3)
        await slice_of(sessions, bell, clock)
        clock.move(timedelta(days=20))
        await announced(sessions, clock, 2)
    clock.move(timedelta(days=11))
    async with sessions.engine() as db:
        assert await webhook_deliveries.drop_old(db, clock.now() - timedelta(days=30), clock.now()) == 3
    assert len(await look(sessions, "select id from webhook_deliveries")) == 2

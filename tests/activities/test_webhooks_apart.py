"""What one receiver does, or what becomes of its webhook meanwhile, is its own matter and nobody else's."""

import asyncio
from datetime import timedelta

import pytest
from uuid_utils.compat import uuid7

from activities.bell import Bell
from activities.slices import Timing
from activities.webhook_ends import closed_without_a_try
from channels import posts
from domain.workspaces import DEFAULT_WORKSPACE
from lab.http_server import Answer, Asked
from models.base import Sessions
from models.queries import failures_retried, webhook_deliveries, webhooks
from models.queries.failures_retried import How
from models.queries.webhook_health import GivenUp
from tests.channels.calls_support import NOBODY
from tests.sending import NOW
from tests.support import GivenClock, eventually
from tests.webhooks import (
    Receiver,
    a_webhook,
    announced,
    look,
    receiving,
    slice_of,
    states,
)


async def test_who_becomes_slow_while_a_slice_ends_holds_it_up_by_a_post_and_not_by_all_it_claimed(
    sessions: Sessions, bell: Bell, clock: GivenClock
) -> None:
    receiver = Receiver()

    def answer(asked: Asked) -> Answer:
        receiver.pause = 1.0 if len(receiver.asked) >= 100 else 0
        return Answer(204)

    receiver.answer = answer
    async with receiving(receiver):
        await a_webhook(sessions, receiver.url)
        await announced(sessions, clock, 400)
        began = asyncio.get_running_loop().time()
        short = Timing(slice=0.5, linger=0, lease=60, reconcile_after=900)
        done = await slice_of(sessions, bell, clock, timing=short)
        took = asyncio.get_running_loop().time() - began

    assert done.delivered < 200
    assert took < 5
    assert await look(sessions, "select id from webhook_deliveries where leased_until is not null") == []


async def test_where_too_many_connections_are_open_a_webhook_has_one(
    sessions: Sessions, bell: Bell, clock: GivenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posts, "MOST_OPEN", 0)
    under_way: list[int] = []
    receiver = Receiver(pause=0.01)

    def answer(asked: Asked) -> Answer:
        under_way.append(len(receiver.asked) - len(under_way))
        return Answer(204)

    receiver.answer = answer
    async with receiving(receiver):
        await a_webhook(sessions, receiver.url)
        await announced(sessions, clock, 30)
        done = await slice_of(sessions, bell, clock)

    assert done.delivered == 30
    assert set(under_way) == {1}


async def test_who_was_disabled_meanwhile_is_not_posted_all_that_was_claimed(
    sessions: Sessions, bell: Bell, clock: GivenClock
) -> None:
    async def much_is_held() -> bool:
        held = "select count(*) from webhook_deliveries where leased_until is not null"
        return bool((await look(sessions, held))[0] >= 150)

    async def disable() -> int:
        await eventually(much_is_held, every=0.01)
        async with sessions(DEFAULT_WORKSPACE) as db:
            row = await webhooks.get(db, webhook, lock=True)
            await webhooks.change(db, row, {"state": "disabled"}, clock.now())
        return len(receiver.asked)

    async with receiving(Receiver(pause=0.05)) as receiver:
        webhook = await a_webhook(sessions, receiver.url)
        await announced(sessions, clock, 1_000)
        _, asked = await asyncio.gather(slice_of(sessions, bell, clock), disable())

    assert len(receiver.asked) - asked < 80
    assert (await states(sessions, webhook)).keys() == {"delivered", "failed"}


async def test_an_answer_that_can_not_be_read_is_its_receivers_matter_alone(
    sessions: Sessions, bell: Bell, clock: GivenClock
) -> None:
    date = "Thu, 26 Nov 2026 14:00:00"
    said = Answer(503, headers={"Retry-After": f"{date} +{'9' * 14}", "Date": f"{date} GMT"})
    async with receiving(Receiver(answer=lambda asked: said)) as evil, receiving() as good:
        await a_webhook(sessions, evil.url)
        webhook = await a_webhook(sessions, good.url)
        await announced(sessions, clock, 3)
        done = await slice_of(sessions, bell, clock)

    assert (done.delivered, done.again) == (3, 3)
    assert await states(sessions, webhook) == {"delivered": 3}


async def test_what_is_closed_page_by_page_is_counted_in_all(sessions: Sessions) -> None:
    webhook = uuid7()
    for n in (2, 1):
        closed = [GivenUp(uuid7(), webhook, "message.failed") for _ in range(n)]
        async with sessions(DEFAULT_WORKSPACE) as db:
            await closed_without_a_try(db, DEFAULT_WORKSPACE, closed, [], NOW)

    assert await look(sessions, "select detail -> 'deliveries' from failure_logs order by id") == [2, 1]


@pytest.mark.parametrize(("days", "kept", "left"), [(0, 30, 1), (4.5, 30, 1), (3, 1, 1), (4.5, 1, 0)])
async def test_what_is_on_its_way_is_kept_as_long_as_it_may_be(
    sessions: Sessions, clock: GivenClock, days: float, kept: int, left: int
) -> None:
    """A replay begins anew, however old it is. Content that is kept for a day stays until it was told."""
    await a_webhook(sessions, NOBODY)
    await announced(sessions, clock)
    clock.move(timedelta(days=40 if not days else 0))
    replay = "update webhook_deliveries set replayed_at = :now returning id"
    await look(sessions, replay, now=clock.now())
    clock.move(timedelta(days=days))
    async with sessions.engine() as db:
        await webhook_deliveries.drop_old(db, clock.now() - timedelta(days=kept), clock.now())
    assert len(await look(sessions, "select id from webhook_deliveries")) == left


async def test_what_is_tried_again_by_its_failure_has_days_and_a_failure_of_its_own(
    sessions: Sessions, bell: Bell, clock: GivenClock
) -> None:
    async with receiving(Receiver(answer=lambda asked: Answer(500))) as receiver:
        webhook = await a_webhook(sessions, receiver.url)
        await announced(sessions, clock)
        for n in range(1, 4):
            clock.move(timedelta(days=3, minutes=1))
            await slice_of(sessions, bell, clock)
            *_, failure = await look(sessions, "select id from failure_logs order by id")
            assert len(await look(sessions, "select id from failure_logs")) == n

            async with sessions(DEFAULT_WORKSPACE) as db:
                how = How("Ada", "Ada asked for it.")
                done = await failures_retried.retry(db, DEFAULT_WORKSPACE, [failure], how, clock.now())
            assert done.again.keys() == {failure}
            assert (await slice_of(sessions, bell, clock)).again == 1
            assert await states(sessions, webhook) == {"pending": 1}
            await look(sessions, "update webhooks set failures = 0, failing_since = null returning id")

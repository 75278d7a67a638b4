"""How much one may ask, whichever process answers."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from httpx2 import ASGITransport, AsyncClient
from temporalio.testing import ActivityEnvironment

from activities.upkeep import UpkeepActivities
from api.app import build
from api.errors import TooMany
from api.front import Front
from api.leases import Leases
from api.limits import strictly
from api.stack import Stack, TemporalLink
from models.base import Sessions
from models.queries import rate_limits
from settings import Settings
from tests.api.support import KEY, V1, refusal
from tests.support import GivenClock

MINUTE = timedelta(minutes=1)
AT = f"{V1}/whoami"


def a_stack(sessions: Sessions, clock: GivenClock, limit: int) -> Stack:
    settings = Settings(requests_a_minute=limit)
    return Stack(settings, sessions, TemporalLink("127.0.0.1:9", "default"), clock)


def a_process(stack: Stack) -> AsyncClient:
    app = build(stack.settings)
    app.state.stack = stack
    return AsyncClient(
        transport=ASGITransport(app=Front(app)),
        base_url="http://campanile",
        headers={"Authorization": f"Bearer {KEY}"},
    )


@pytest.mark.parametrize("limit", [7, 100])
async def test_two_processes_together_never_grant_more_than_the_limit(
    sessions: Sessions, clock: GivenClock, limit: int
) -> None:
    stacks = [a_stack(sessions, clock, limit) for _ in range(2)]

    async with a_process(stacks[0]) as one, a_process(stacks[1]) as other:
        answers = [await (one, other)[n % 2].get(AT) for n in range(limit + 20)]

    granted = [answer for answer in answers if answer.status_code == 200]
    assert limit - limit // 20 <= len(granted) <= limit
    assert {answer.status_code for answer in answers} == {200, 429}


async def test_one_process_alone_grants_all_of_the_limit(sessions: Sessions, clock: GivenClock) -> None:
    async with a_process(a_stack(sessions, clock, 90)) as process:
        answers = [await process.get(AT) for _ in range(91)]

    assert [answer.status_code for answer in answers] == [200] * 90 + [429]


async def test_the_answers_say_how_one_stands_and_when_to_come_back(
    sessions: Sessions, clock: GivenClock
) -> None:
    async with a_process(a_stack(sessions, clock, 2)) as process:
        first = await process.get(AT)
        clock.move(timedelta(seconds=20.5))
        refusal(await process.get(f"{V1}/segments/{uuid4()}"), 404)
        refused = await process.get(AT)
        clock.move(timedelta(seconds=39.5))
        again = await process.get(AT)

    assert first.headers["ratelimit-policy"] == '"requests";q=2;w=60'
    assert first.headers["ratelimit"] == '"requests";r=1;t=60'
    assert refusal(refused, 429)["type"] == "urn:campanile:problem:too-many-requests"
    assert refused.headers["retry-after"] == "40"
    assert refused.headers["ratelimit"] == '"requests";r=0;t=40'
    assert again.status_code == 200


async def test_a_refusal_carries_the_headers_too(strict_api: AsyncClient) -> None:
    refused = await strict_api.get(f"{V1}/segments/{uuid4()}")

    refusal(refused, 404)
    assert "ratelimit" in refused.headers


async def test_who_is_nobody_is_not_counted(strict_api: AsyncClient) -> None:
    refused = await strict_api.get(f"{V1}/segments", headers={"Authorization": "Bearer sk_of-nobody"})

    refusal(refused, 401)
    assert "ratelimit" not in refused.headers


async def test_attempts_are_counted_exactly_whichever_process_they_come_to(
    sessions: Sessions, clock: GivenClock
) -> None:
    here, there = (a_stack(sessions, clock, 100) for _ in range(2))
    await strictly(here, "sign-in:ada@example.com", 2, MINUTE)
    await strictly(there, "sign-in:ada@example.com", 2, MINUTE)

    for stack in (here, there):
        with pytest.raises(TooMany) as refused:
            await strictly(stack, "sign-in:ada@example.com", 2, MINUTE)
        assert refused.value.retry_after == 60

    await strictly(here, "sign-in:grace@example.com", 2, MINUTE)
    clock.move(MINUTE)
    await strictly(there, "sign-in:ada@example.com", 2, MINUTE)


async def test_who_wants_more_than_is_left_gets_what_is_left(sessions: Sessions, clock: GivenClock) -> None:
    async with sessions.engine() as db:
        some = await rate_limits.take(db, "x", 8, 10, MINUTE, clock.now())
        rest = await rate_limits.take(db, "x", 8, 10, MINUTE, clock.now())
        none = await rate_limits.take(db, "x", 8, 10, MINUTE, clock.now())
        lowered = await rate_limits.take(db, "x", 8, 5, MINUTE, clock.now())

    assert [(each.granted, each.left) for each in (some, rest, none, lowered)] == [
        (8, 2),
        (2, 0),
        (0, 0),
        (0, 0),
    ]


async def test_upkeep_forgets_windows_that_are_over(sessions: Sessions, clock: GivenClock) -> None:
    await strictly(a_stack(sessions, clock, 100), "sign-in:ada@example.com", 2, MINUTE)

    await ActivityEnvironment().run(UpkeepActivities(sessions, clock).upkeep)
    async with sessions.engine() as db:
        assert await rate_limits.drop_ended(db, clock.now() + MINUTE) == 1

    await strictly(a_stack(sessions, clock, 100), "sign-in:ada@example.com", 2, MINUTE)
    clock.move(MINUTE)
    await ActivityEnvironment().run(UpkeepActivities(sessions, clock).upkeep)
    async with sessions.engine() as db:
        assert await rate_limits.drop_ended(db, clock.now()) == 0


async def test_several_at_once_are_taken_whole_or_not_at_all(sessions: Sessions, clock: GivenClock) -> None:
    leases = Leases(sessions, 1_000, MINUTE)

    async def takers(n: int, times: int) -> int:
        taken = [leases.spend("x", clock.now(), n) for _ in range(3)]
        for _ in range(times - 3):
            taken.append(
                leases.spend("x", clock.now(), n) or (await leases.take("x", clock.now(), n)).granted
            )
            await asyncio.sleep(0)
        return n * sum(taken)

    granted = await asyncio.gather(*(takers(n, 10) for n in 10 * [1, 5]))
    assert sum(granted) >= 10 * 10 * 6 - 3 * 60  # Nobody was sent away who asked, for so much was left.
    rest = 1_000 - sum(granted)
    assert not (await leases.take("x", clock.now(), rest + 1)).granted
    assert (await leases.take("x", clock.now(), rest)).granted
    assert not leases.spend("x", clock.now())
    clock.move(MINUTE)
    assert (await leases.take("x", clock.now(), 1_000)).granted

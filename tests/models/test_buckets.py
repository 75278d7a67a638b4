"""Token buckets and breakers as rows: what one worker takes, no other has."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from domain.breakers import BAD_CALLS, FIRST_PAUSE, BreakerState, Tally
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import breakers, buckets
from models.queries.buckets import Ask, Counts
from tests.sending import some

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
HERE = DEFAULT_WORKSPACE
BAD = Tally(calls=1, bad_calls=1, badly=10, reason="down")


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


async def test_a_full_bucket_gives_its_burst_and_then_what_time_brought(db: AsyncSession) -> None:
    ask = {"workspace": Ask(100, 10, 20)}

    assert await buckets.lease(db, HERE, ask, NOW) == {"workspace": 20}
    assert await buckets.lease(db, HERE, ask, NOW) == {"workspace": 0}
    assert await buckets.lease(db, HERE, ask, later(0.55)) == {"workspace": 5}
    assert await buckets.lease(db, HERE, ask, later(60)) == {"workspace": 20}


async def test_a_worker_whose_clock_runs_behind_fills_nothing(db: AsyncSession) -> None:
    ask = {"workspace": Ask(100, 10, 20)}
    await buckets.lease(db, HERE, ask, NOW)

    assert await buckets.lease(db, HERE, ask, later(-60)) == {"workspace": 0}
    assert await buckets.lease(db, HERE, ask, later(1)) == {"workspace": 10}


async def test_several_buckets_are_asked_at_once(db: AsyncSession) -> None:
    asked = {"workspace": Ask(5, 10, 20), "p gmail.com": Ask(5, 1, 2)}

    assert await buckets.lease(db, HERE, asked, NOW) == {"workspace": 5, "p gmail.com": 2}
    assert await buckets.lease(db, HERE, asked, NOW) == {"workspace": 5, "p gmail.com": 0}


async def test_whom_somebody_waits_for_is_lent_to_and_others_pay_it_back(db: AsyncSession) -> None:
    await buckets.lease(db, HERE, {"workspace": Ask(20, 10, 20)}, NOW)

    hurried = await buckets.lease(db, HERE, {"workspace": Ask(15, 10, 20, overdraft=True)}, NOW)
    assert hurried == {"workspace": 15}
    assert await buckets.lease(db, HERE, {"workspace": Ask(1, 10, 20)}, later(1)) == {"workspace": 0}
    assert await buckets.lease(db, HERE, {"workspace": Ask(9, 10, 20)}, later(2)) == {"workspace": 5}


async def test_workers_who_ask_at_once_get_no_more_than_there_is(sessions: Sessions) -> None:
    async def worker(pair: tuple[str, str]) -> int:
        got = 0
        for _ in range(4):
            async with sessions.batch(HERE) as db:
                given = await buckets.lease(db, HERE, dict.fromkeys(pair, Ask(7, 1, 100)), NOW)
            assert given.keys() == {*pair}  # Whoever else made them a moment ago.
            got += given[pair[0]]
        return got

    for nth in range(10):
        pair = f"b{nth}", f"a{nth}"
        assert sum(await asyncio.gather(*(worker(pair) for _ in range(5)))) == 100


async def test_a_day_of_a_warm_up_is_given_out_once(db: AsyncSession) -> None:
    provider, day = uuid4(), NOW.date()

    given = [await buckets.lease_day(db, HERE, provider, day, 40, 100) for _ in range(4)]
    assert given == [40, 40, 20, 0]


async def test_a_warm_up_that_has_not_begun_gives_nothing(db: AsyncSession) -> None:
    assert await buckets.lease_day(db, HERE, uuid4(), NOW.date(), 40, 0) == 0


async def test_what_went_by_a_provider_is_added_up_by_the_day(db: AsyncSession) -> None:
    provider = uuid4()
    for _ in range(2):
        await buckets.count(db, HERE, provider, NOW.date(), Counts(3, 2, 1, 4))

    asked = "select array[accepted, rejected, retried, unknown] from provider_days"
    assert await some(db, asked) == [[6, 4, 2, 8]]


async def test_a_breaker_opens_for_all_and_says_so_once_in_its_history(db: AsyncSession) -> None:
    provider = uuid4()
    for _ in range(BAD_CALLS + 2):
        standing = await breakers.note(db, HERE, provider, BAD, NOW)

    kept = (await breakers.standings(db, HERE))[provider]
    assert (kept.state, kept.until, kept.reason) == (BreakerState.OPEN, later(FIRST_PAUSE), "down")
    assert standing.opens_at(NOW) == kept.opens_at(NOW)
    assert await some(db, "select state || ': ' || reason from breaker_changes") == ["open: down"]


async def test_of_many_workers_one_tries(sessions: Sessions) -> None:
    provider = uuid4()
    async with sessions.batch(HERE) as db:
        for _ in range(BAD_CALLS):
            await breakers.note(db, HERE, provider, BAD, NOW)

    async def worker() -> bool:
        async with sessions.batch(HERE) as db:
            return (await breakers.attempt(db, HERE, provider, later(FIRST_PAUSE)))[1]

    assert sum(await asyncio.gather(*(worker() for _ in range(6)))) == 1

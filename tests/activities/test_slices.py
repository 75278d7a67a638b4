"""How long a slice lasts."""

import asyncio
from uuid import UUID, uuid4

import pytest

from activities.bell import Bell
from activities.slices import TRICKLING, Hourglass, Pace, Timing
from channels.null import NullProvider
from domain.messages import SourceKind
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import claims, enrollments, flows
from models.queries.ledger import Queue
from tests.sending import (
    NOW,
    a_flow,
    a_graph,
    a_sender,
    a_sender_of,
    a_template,
    people,
    ran,
    send,
    some,
)


async def test_a_slice_to_which_people_come_one_by_one_lasts_longer() -> None:
    async def left(seconds: float) -> float:
        glass = Hourglass(seconds)
        glass.trickle()
        return glass.left

    assert (TRICKLING - 1) * 15 < await ran(left, 15) <= TRICKLING * 15


async def test_a_slice_that_is_over_stays_over_whoever_comes() -> None:
    async def over() -> bool:
        glass = Hourglass(0)
        glass.trickle()
        return glass.over

    assert await ran(over)


async def test_what_a_dead_worker_had_claimed_does_not_wait_for_the_end_of_a_long_slice(
    sessions: Sessions, bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "SHARE", 20)  # As it is: a slice breathes, and so knows a trickle.
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        template, _ = await a_template(db)
        flow, _, _ = await flows.publish(db, await a_flow(db, a_graph({"hello": send(template)}, "hello")))
        victim, *others = await people(db, 100)
    queue = Queue(DEFAULT_WORKSPACE, flow.id, SourceKind.FLOW)

    async def enter(who: UUID) -> None:
        async with sessions(DEFAULT_WORKSPACE) as db:
            await enrollments.enroll(db, DEFAULT_WORKSPACE, flow.id, [(who, "x", {})], NOW)

    await enter(victim)
    async with sessions.batch(DEFAULT_WORKSPACE) as batch:  # By a worker that is killed then.
        assert len((await claims.claim(batch, queue, uuid4(), NOW, 1.0, 1000)).claimed) == 1

    async def one_by_one() -> None:
        for who in others:
            await enter(who)
            await asyncio.sleep(0.1)

    coming = asyncio.create_task(one_by_one())
    timing = Timing(slice=1.5, linger=0.5, lease=1)
    done = await ran(a_sender_of(sessions, NullProvider(), bell, timing=timing).send, queue)
    coming.cancel()
    await asyncio.wait([coming])
    async with sessions(DEFAULT_WORKSPACE) as db:
        state = await some(db, "select state from messages where profile_id = :who", who=victim)
    assert (done.lively, state) == (True, ["accepted"])

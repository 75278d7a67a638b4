"""Pokes: whoever has work is found, whoever was told is not told twice, and nobody is forgotten."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import text

from domain.flows import START
from domain.messages import SourceKind, Work
from domain.outboxes import express
from domain.workspaces import DEFAULT_WORKSPACE, SYSTEM_WORKSPACE
from models.base import Sessions
from models.queries import flows, pokes
from tests.databases import Database
from tests.people import a_journey, write_the_agenda
from tests.sending import NOW, a_bare_message, a_campaign, a_draft, a_flow, a_graph, at, people, some, wait

LATE = NOW - timedelta(seconds=30)


@pytest.fixture
async def flow(sessions: Sessions) -> UUID:
    """A live flow with a member who waits until noon."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        flow_id = await a_flow(db, a_graph({"nap": wait(60)}, "nap"))
        row, version, _ = await flows.publish(db, flow_id)
        [person] = await people(db, 1)
        await a_journey(db, (row.id, version.id), person, step=START, due_at=NOW)
    return flow_id


@pytest.fixture
async def heard(database: Database) -> AsyncIterator[psycopg.AsyncConnection[tuple[object, ...]]]:
    url = database.url.replace("postgresql+psycopg://", "postgresql://")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("listen campanile")
        yield connection


async def poke(sessions: Sessions, queue: UUID, work: Work = Work.ADVANCE) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        pokes.poke(db, queue, work)


async def waiting(sessions: Sessions, grace: float = 0) -> list[pokes.Poked]:
    async with sessions.engine() as db:
        return await pokes.waiting(db, grace, 20)


async def swept(sessions: Sessions, hours: float = 1) -> int:
    async with sessions.engine() as db:
        return await pokes.sweep(db, at(hours))


async def test_a_poke_tells_whose_it_is_and_what_for(sessions: Sessions, flow: UUID) -> None:
    await poke(sessions, flow)
    await poke(sessions, DEFAULT_WORKSPACE, Work.SEND)

    told = [(p.queue_id, p.work, p.kind, p.name, p.slug, p.state) for p in await waiting(sessions)]

    assert told == [
        (flow, Work.ADVANCE, SourceKind.FLOW, "Welcome", "welcome", "live"),
        (DEFAULT_WORKSPACE, Work.SEND, SourceKind.OUTBOX, "", "", ""),
    ]


async def test_a_poke_is_heard_at_once_and_only_if_it_is_committed(
    sessions: Sessions, flow: UUID, heard: psycopg.AsyncConnection[tuple[object, ...]]
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        pokes.poke(db, flow, Work.SEND)
        await db.rollback()
    await poke(sessions, flow)

    [told] = [pokes.Heard.of(n.payload) async for n in heard.notifies(timeout=5, stop_after=1)]
    [there] = await waiting(sessions)
    assert told == (flow, Work.ADVANCE, there.seq)


async def test_a_poke_that_was_heard_is_taken_unless_it_was_renewed_since(
    sessions: Sessions, flow: UUID
) -> None:
    await poke(sessions, flow)
    [first] = await waiting(sessions)
    told = pokes.Heard(flow, Work.ADVANCE, first.seq)
    await poke(sessions, flow)

    async with sessions.engine() as db:
        await pokes.take_heard(db, [told])
    [renewed] = await waiting(sessions)
    async with sessions.engine() as db:
        await pokes.take_heard(db, [told._replace(seq=renewed.seq)])
    assert await waiting(sessions) == []


@pytest.mark.parametrize(
    "told", ["", "advance", "advance:x:1", f"dance:{UUID(int=1)}:1", "send::", "a:b:c:d"]
)
def test_what_is_no_poke_is_heard_by_nobody(told: str) -> None:
    assert pokes.Heard.of(told) is None


async def test_a_slice_under_way_has_a_moment_to_take_a_poke(sessions: Sessions, flow: UUID) -> None:
    await poke(sessions, flow)

    assert await waiting(sessions, grace=60) == []
    async with sessions(DEFAULT_WORKSPACE) as db:
        await pokes.take(db, flow, Work.SEND)  # Another work's.
    assert len(await waiting(sessions)) == 1
    async with sessions(DEFAULT_WORKSPACE) as db:
        await pokes.take(db, flow, Work.ADVANCE)
    assert await waiting(sessions) == []


async def test_many_pokes_are_one_and_a_renewed_one_is_not_answered_by_the_old(
    sessions: Sessions, flow: UUID
) -> None:
    for _ in range(3):
        await poke(sessions, flow)
    seen = await waiting(sessions)
    assert len(seen) == 1
    await poke(sessions, flow)

    async with sessions.engine() as db:
        await pokes.answered(db, seen)
    [renewed] = await waiting(sessions)
    assert renewed.seq > seen[0].seq
    async with sessions.engine() as db:
        await pokes.answered(db, [renewed])
    assert await waiting(sessions) == []


async def test_who_is_poked_again_and_again_keeps_their_place(sessions: Sessions, flow: UUID) -> None:
    await poke(sessions, flow)
    await poke(sessions, DEFAULT_WORKSPACE, Work.SEND)
    await poke(sessions, flow)

    first, second = await waiting(sessions)
    assert (first.queue_id, second.queue_id) == (flow, DEFAULT_WORKSPACE)
    await poke(sessions, flow)
    async with sessions.engine() as db:
        await pokes.answered(db, [first])  # It was told, so what came meanwhile may wait again.
    assert [p.queue_id for p in await waiting(sessions)] == [DEFAULT_WORKSPACE, flow]
    assert [p.queue_id for p in await waiting(sessions, grace=60)] == []


async def test_nobody_waits_for_a_poke_that_somebody_is_about_to_renew(
    sessions: Sessions, flow: UUID
) -> None:
    await poke(sessions, flow)
    await poke(sessions, DEFAULT_WORKSPACE, Work.SEND)
    seen = await waiting(sessions)
    heard = [pokes.Heard(p.queue_id, p.work, p.seq) for p in seen]
    async with sessions(DEFAULT_WORKSPACE) as frozen:
        await frozen.execute(text("select poke(:flow, 'advance')"), {"flow": flow})
        async with sessions.engine() as db:
            await db.execute(text("set local lock_timeout = '1s'"))
            await pokes.take_heard(db, heard)
            await pokes.answered(db, seen)

    assert [p.queue_id for p in await waiting(sessions)] == [flow]


async def test_a_poke_that_got_its_number_before_another_and_was_committed_after_it_stays(
    sessions: Sessions, flow: UUID
) -> None:
    await poke(sessions, flow)
    [late] = await waiting(sessions)

    async with sessions.engine() as db:
        await pokes.take_heard(db, [pokes.Heard(flow, Work.ADVANCE, late.seq + 1)])

    assert await waiting(sessions) == [late]


async def test_a_flow_with_an_overdue_member_is_swept_up_once(sessions: Sessions, flow: UUID) -> None:
    assert await swept(sessions, 0) == 0  # Due, and not late.
    assert await swept(sessions) == 1
    assert await swept(sessions) == 0
    assert [(p.queue_id, p.work) for p in await waiting(sessions)] == [(flow, Work.ADVANCE)]


@pytest.mark.parametrize("state", ["paused", "archived", "draft"])
async def test_a_flow_that_is_not_live_is_not_swept_up(sessions: Sessions, flow: UUID, state: str) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update flows set state = :state"), {"state": state})

    assert await swept(sessions) == 0


@pytest.mark.parametrize(
    "change", ["due_at = null, waiting_for = 'message'", "ended_at = now(), due_at = null"]
)
async def test_members_who_wait_for_a_message_or_have_ended_are_not_late(
    sessions: Sessions, flow: UUID, change: str
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text(f"update enrollments set {change}"))
        await write_the_agenda(db)

    assert await swept(sessions) == 0


async def test_an_outbox_and_a_flow_with_overdue_messages_are_swept_up(
    sessions: Sessions, flow: UUID
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update enrollments set due_at = null"))
        await write_the_agenda(db)
        await a_bare_message(db, "eve@elsewhere.example")
        await a_bare_message(db, "bob@elsewhere.example", queue_id=flow)
        await a_bare_message(db, "ada@elsewhere.example", state="accepted", queue_id=uuid4())

    assert await swept(sessions) == 2
    assert {(p.queue_id, p.work) for p in await waiting(sessions)} == {
        (flow, Work.SEND),
        (DEFAULT_WORKSPACE, Work.SEND),
    }


async def test_what_sweeps_up_wakes_the_poker(
    sessions: Sessions, flow: UUID, heard: psycopg.AsyncConnection[tuple[object, ...]]
) -> None:
    await swept(sessions)

    assert [notify.payload async for notify in heard.notifies(timeout=5, stop_after=1)] == [""]


async def test_campaigns_under_way_are_swept_up_and_others_are_not(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        running = await a_campaign(db, await people(db, 1))
        await a_draft(db, state="completed")
        await a_draft(db)
        await db.execute(text("update campaigns set started_at = :now where state <> 'draft'"), {"now": NOW})

    assert await swept(sessions) == 1
    assert [(p.queue_id, p.kind) for p in await waiting(sessions)] == [(running.id, SourceKind.CAMPAIGN)]
    async with sessions.engine() as db:
        assert await some(db, "select count(*) from pokes") == [1]


async def test_the_express_is_told_first_however_long_others_wait(sessions: Sessions, flow: UUID) -> None:
    its_queue = express(DEFAULT_WORKSPACE)
    await poke(sessions, flow)
    await poke(sessions, DEFAULT_WORKSPACE, Work.SEND)
    await poke(sessions, its_queue, Work.SEND)

    told = await waiting(sessions)

    assert [each.queue_id for each in told] == [its_queue, flow, DEFAULT_WORKSPACE]
    assert (told[0].kind, told[0].workspace_id) == (SourceKind.OUTBOX, DEFAULT_WORKSPACE)


async def test_nobody_pokes_another_workspaces_express(sessions: Sessions) -> None:
    await poke(sessions, express(SYSTEM_WORKSPACE), Work.SEND)

    assert await waiting(sessions) == []


async def test_an_express_that_is_overdue_is_found(sessions: Sessions) -> None:
    its_queue = express(DEFAULT_WORKSPACE)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_bare_message(db, "ada@shop.example", queue_id=its_queue, message_class="transactional")

    assert await swept(sessions) == 1
    assert [each.queue_id for each in await waiting(sessions)] == [its_queue]

"""A segment's members enter a flow page by page: each once, whatever happens between two pages."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg import OperationalError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from temporalio.testing import ActivityEnvironment

from activities import entering
from activities.entering import EntryActivities, VersionRef
from activities.flows import FlowRef
from domain.errors import CampanileError
from domain.flows import FlowState
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.flows import Flow
from models.queries import enrollments, flows, people_lock, profiles_merged, rows
from tests.announcing import listening, were_told
from tests.fragile import Blow, FragileSessions, Killed
from tests.sending import a_flow, a_graph, a_segment, a_sender, people, published, ran, some, wait
from tests.support import GivenClock, eventually, somebody_waits

CLOCK = GivenClock()
WITH_A_PLAN = {"all": [{"kind": "attribute", "name": "plan", "op": "exists"}]}


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entering, "FIRST_PAGE", 2)
    monkeypatch.setattr(entering, "LARGEST_PAGE", 3)


async def a_flow_of(sessions: Sessions, n: int) -> tuple[FlowRef, list[UUID]]:
    """A draft that begins with everybody who has a plan, and so many who have."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        members = await people(db, n, plan="pro")
        trigger = {"kind": "segment", "segment_id": str(await a_segment(db, WITH_A_PLAN))}
        return await a_draft(db, trigger), members


async def a_draft(db: AsyncSession, trigger: dict[str, str]) -> FlowRef:
    return FlowRef(DEFAULT_WORKSPACE, await a_flow(db, a_graph({"nap": wait(60)}, "nap", trigger=trigger)))


async def who_is_in(sessions: Sessions, flow: FlowRef) -> list[UUID]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        asked = "select profile_id from enrollments where flow_id = :flow order by 1"
        return await some(db, asked, flow=flow.flow_id)


class Meanwhile(FragileSessions):
    """Does something before the nth transaction begins."""

    def __init__(self, real: Sessions, nth: int, work: Callable[[], Awaitable[object]]) -> None:
        super().__init__(real, Blow(0, committed=True, killed=False))
        self._nth, self._work = nth, work

    @asynccontextmanager
    async def __call__(self, workspace_id: UUID, actor: str = "") -> AsyncIterator[AsyncSession]:
        if self.begun + 1 == self._nth:
            await self._work()
        async with super().__call__(workspace_id, actor) as db:
            yield db


@pytest.mark.parametrize("n", [0, 1, 2, 5, 8])
async def test_everybody_enters_once_however_they_fill_the_pages(sessions: Sessions, n: int) -> None:
    flow, members = await a_flow_of(sessions, n)

    assert (await published(sessions, CLOCK, flow)).entered == n
    assert (await published(sessions, CLOCK, flow)).entered == 0
    assert await who_is_in(sessions, flow) == sorted(members)


async def test_each_who_enters_is_told_of_once(sessions: Sessions) -> None:
    await listening(sessions, "flow.entered")
    flow, members = await a_flow_of(sessions, 5)

    await published(sessions, CLOCK, flow)
    await published(sessions, CLOCK, flow)

    told = [data["profile_id"] for _, data in await were_told(sessions)]
    assert sorted(told) == sorted(map(str, members))


@pytest.mark.parametrize("committed", [False, True])
async def test_it_may_be_struck_at_every_transaction(sessions: Sessions, committed: bool) -> None:
    flow, members = await a_flow_of(sessions, 6)
    async with sessions(DEFAULT_WORKSPACE) as db:
        trigger = (await some(db, "select definition -> 'trigger' from flows"))[0]
    blow = Blow(1, committed, killed=True)
    while True:
        fragile = FragileSessions(sessions, blow)
        with suppress(Killed, OperationalError):
            await published(fragile, CLOCK, flow)
        if fragile.struck:
            await published(sessions, CLOCK, flow)
        assert await who_is_in(sessions, flow) == sorted(members)
        if not fragile.struck:
            break
        blow = blow.next()
        async with sessions(DEFAULT_WORKSPACE) as db:
            flow = await a_draft(db, trigger)
    assert blow.nth > 4, "the version, and three pages"


async def test_who_was_merged_into_somebody_behind_still_enters(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        [behind] = await people(db, 1, "q")
    flow, members = await a_flow_of(sessions, 5)

    async def merge() -> None:
        async with sessions(DEFAULT_WORKSPACE) as db:
            await profiles_merged.merge(db, members[4], behind, CLOCK.now())

    meanwhile = Meanwhile(sessions, 3, merge)  # After the version and the first page.
    assert (await published(meanwhile, CLOCK, flow)).entered == 5
    assert await who_is_in(sessions, flow) == sorted([behind, *members[:4]])


async def test_a_person_who_is_merged_while_a_page_enters_is_in_once(sessions: Sessions) -> None:
    flow, [ada, bob] = await a_flow_of(sessions, 2)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await people_lock.take(db, DEFAULT_WORKSPACE)
        await profiles_merged.merge(db, ada, bob, CLOCK.now())
        entering = asyncio.create_task(published(sessions, CLOCK, flow))
        await eventually(lambda: somebody_waits(sessions))

    assert (await entering).entered == 1
    assert await who_is_in(sessions, flow) == [bob]


async def test_who_was_being_merged_when_it_began_still_enters(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        [behind] = await people(db, 1, "q")
    flow, members = await a_flow_of(sessions, 5)
    before = CLOCK.now() - timedelta(seconds=30)  # By the clock of whoever merges, or when they began.

    async def merge() -> None:
        async with sessions(DEFAULT_WORKSPACE) as db:
            await profiles_merged.merge(db, members[4], behind, before)

    assert (await published(Meanwhile(sessions, 3, merge), CLOCK, flow)).entered == 5
    assert await who_is_in(sessions, flow) == sorted([behind, *members[:4]])


async def test_nobody_enters_a_flow_that_was_archived_meanwhile(sessions: Sessions) -> None:
    flow, _ = await a_flow_of(sessions, 8)

    async def archive() -> None:
        async with sessions(DEFAULT_WORKSPACE) as db:
            assert await flows.move(db, flow.flow_id, [FlowState.LIVE], FlowState.ARCHIVED)

    await published(Meanwhile(sessions, 3, archive), CLOCK, flow)

    assert len(await who_is_in(sessions, flow)) == 2


async def test_a_pause_waits_for_no_page(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    flow, members = await a_flow_of(sessions, 3)
    enter_page = enrollments.enter_page

    async def paused_in_the_middle(*asked: Any) -> enrollments.Page:
        page = await enter_page(*asked)
        async with asyncio.timeout(5), sessions(DEFAULT_WORKSPACE) as db:
            await flows.move(db, flow.flow_id, [FlowState.LIVE], FlowState.PAUSED)
        return page

    monkeypatch.setattr(enrollments, "enter_page", paused_in_the_middle)
    await published(sessions, CLOCK, flow)

    assert await who_is_in(sessions, flow) == sorted(members)
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await some(db, "select state from flows") == ["paused"]


async def test_a_segment_that_can_not_be_asked_refuses_the_version(sessions: Sessions) -> None:
    flow, _ = await a_flow_of(sessions, 1)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("""update segments set rule = '{"kind": "star sign"}'"""))

    with pytest.raises(CampanileError):
        await ran(EntryActivities(sessions, CLOCK, 1).publish_version, flow)

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await some(db, "select state from flows") == ["draft"]
        assert await some(db, "select number from flow_versions") == []


async def test_who_waits_to_make_a_version_tells_that_they_live(sessions: Sessions) -> None:
    flow, _ = await a_flow_of(sessions, 1)
    environment, beats = ActivityEnvironment(), list[object]()
    environment.on_heartbeat = lambda *_: beats.append(None)

    async def tells() -> bool:
        return bool(beats)

    async with sessions(DEFAULT_WORKSPACE) as db:
        await rows.get(db, Flow, flow.flow_id, lock=True)
        made = asyncio.create_task(environment.run(EntryActivities(sessions, CLOCK, 1).publish_version, flow))
        await eventually(tells)

    assert (await made).number == 1


async def test_members_enter_the_version_that_they_were_let_in_to(sessions: Sessions) -> None:
    flow, members = await a_flow_of(sessions, 3)
    acts = EntryActivities(sessions, CLOCK, 1)
    first = await ran(acts.publish_version, flow)
    await ran(acts.publish_version, flow)
    assert first.version_id

    await ran(acts.enter_members, VersionRef(DEFAULT_WORKSPACE, flow.flow_id, first.version_id))

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await some(db, "select version_id from enrollments") == [first.version_id] * len(members)

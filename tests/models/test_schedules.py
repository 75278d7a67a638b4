"""Alarms follow campaigns, and a day's campaigns are found by an index."""

from datetime import timedelta

import psycopg
from sqlalchemy import text

from domain.schedules import Meant, Starter
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import schedules
from tests.databases import Database
from tests.models.test_plans import plans_of
from tests.sending import NOW, a_draft

SOON, LATER = NOW + timedelta(days=1), NOW + timedelta(days=2)


async def test_an_alarm_that_changed_while_temporal_was_told_stays_out_of_step(sessions: Sessions) -> None:
    async def planned(at: Meant) -> None:
        async with sessions(DEFAULT_WORKSPACE) as db:
            await schedules.schedule(db, campaign.id, at, "UTC", Starter.CAMPANILE, NOW)

    async with sessions(DEFAULT_WORKSPACE) as db:
        campaign = await a_draft(db)
    await planned(Meant(SOON))
    async with sessions.engine() as db:
        first = await schedules.out_of_step(db)
    await planned(Meant(LATER))
    async with sessions.engine() as db:
        await schedules.told(db, first)
        second = await schedules.out_of_step(db)
        await schedules.told(db, second)
        nothing = await schedules.out_of_step(db)
        late = await schedules.overdue(db, LATER + timedelta(seconds=1))

    assert [alarm.rings_at for alarm in first] == [SOON]
    assert [alarm.rings_at for alarm in second] == [LATER]
    assert nothing == []
    assert late == second


async def test_the_campaigns_of_a_day_are_found_by_their_index(
    sessions: Sessions, database: Database
) -> None:
    columns = "workspace_id, name, slug, segment_id, template_id"
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_draft(db)
        await db.execute(
            text(
                f"insert into campaigns ({columns}, scheduled_at, schedule_time_zone, starter)"
                f" select {columns}, cast(:soon as timestamptz) + n * interval '1 day', 'UTC', 'n8n'"
                " from campaigns, generate_series(1, 500) n"
            ),
            {"soon": SOON},
        )
    with psycopg.connect(database.admin_url.replace("+psycopg", "")) as owner:
        owner.execute("analyze campaigns")

    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("set local enable_seqscan = off"))
        [plan] = await plans_of(db, schedules.page(db, None, 9, between=(SOON, LATER)))
    assert "scheduled_at >=" in plan.sought["ix_campaigns_scheduled_at"]

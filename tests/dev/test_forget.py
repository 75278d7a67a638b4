"""The demo removes what it made, and nothing else."""

from sqlalchemy import text

from dev.forget import forget
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from tests.people import a_flow, a_journey, rows
from tests.sending import people
from tests.support import Database


async def test_journeys_of_the_demo_go_and_others_stay_on_the_agenda(
    database: Database, sessions: Sessions
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        [person] = await people(db, 1)
        ours, demos = await a_flow(db), await a_flow(db)
        rename = "update flows set name = 'Demo: welcome' where id = :id"
        await db.execute(text(rename), {"id": demos[0]})
        stays = await a_journey(db, ours, person)
        await a_journey(db, demos, person)

    forget(database.admin_url, "Demo: ")

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await rows(db, "select id from enrollments") == [stays]
        assert await rows(db, "select enrollment_id from agenda") == [stays]

"""Whoever is poked is told soon, whatever else rings meanwhile."""

from sqlalchemy import text
from temporalio.client import Client

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from tests.databases import Database
from tests.sending import a_graph, a_template, people, send
from tests.support import eventually
from tests.workflows.site import at_work, slices_of


async def test_a_crowd_of_rings_that_came_together_holds_up_nobody(
    temporal: Client, sessions: Sessions, database: Database
) -> None:
    async with at_work(temporal, sessions, database) as site:
        async with sessions(DEFAULT_WORKSPACE) as db:
            template, _ = await a_template(db)
            [member] = await people(db, 1)
        flow = await site.a_flow(a_graph({"hello": send(template)}, "hello"))
        await site.publish(flow)

        async def asleep() -> bool:
            under_way = (await site.flow(flow).describe()).raw_description.pending_activities
            return not under_way and {"advance", "send"} <= {*await slices_of(site.flow(flow))}

        await eventually(asleep)
        async with sessions.engine() as db:  # As pokes ring that slices under way hear and take.
            ring = "select pg_notify('campanile', 'send:' || n) from generate_series(1, 500) n"
            await db.execute(text(ring))
        await site.enroll(flow, member)

        await site.becomes("select state from messages", ["accepted"], within=20)

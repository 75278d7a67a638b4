"""Webhooks through Temporal: who announces wakes the workflow; it sleeps until something is due, and ends."""

from datetime import timedelta

from temporalio.client import Client, WorkflowExecutionStatus

from domain.workspaces import DEFAULT_WORKSPACE
from lab.http_server import Answer
from models.base import Sessions
from models.queries import pokes
from tests.databases import Database
from tests.support import eventually
from tests.webhooks import Receiver, a_webhook, announced, look, receiving
from tests.workflows.site import at_work, slices_of, told


async def test_what_is_announced_is_told_at_once_and_later_where_nobody_answered(
    temporal: Client, sessions: Sessions, database: Database
) -> None:
    answers = [Answer(503)]
    async with (
        at_work(temporal, sessions, database) as site,
        receiving(Receiver(answer=lambda asked: answers.pop() if answers else Answer(204))) as receiver,
    ):
        await a_webhook(sessions, receiver.url)
        await announced(sessions, site.clock)
        await site.becomes("select attempts from webhook_deliveries", [1])
        handle = site.client.get_workflow_handle(f"webhooks/{DEFAULT_WORKSPACE}")

        async def it_sleeps() -> bool:
            return (await told(handle))[2].startswith("0 delivered, 1 to be tried again")

        await eventually(it_sleeps, what="the end of a slice")
        sleeps_at = len(await slices_of(handle))
        site.clock.move(timedelta(seconds=10))
        await announced(sessions, site.clock)
        await site.becomes("select distinct state from webhook_deliveries", ["delivered"])

        async def it_ended() -> bool:
            return (await handle.describe()).status is WorkflowExecutionStatus.COMPLETED

        await eventually(it_ended, what="the workflow's end")

    assert sleeps_at == 1
    assert len(receiver.asked) == 3
    assert set(receiver.taken.values()) == {1}


async def test_what_no_poke_told_of_is_found_by_the_sweep(
    temporal: Client, sessions: Sessions, database: Database
) -> None:
    async with at_work(temporal, sessions, database) as site, receiving() as receiver:
        webhook = await a_webhook(sessions, receiver.url)
        late = """
            insert into webhook_deliveries (workspace_id, webhook_id, event_type, body, created_at, due_at)
            values (:here, :webhook, 'message.failed', '{}', :now, :now) returning id
        """
        now = site.clock.now()
        await look(sessions, late, here=DEFAULT_WORKSPACE, webhook=webhook, now=now)
        async with sessions.engine() as db:
            assert await pokes.sweep(db, now) == 0
            assert await pokes.sweep(db, now + timedelta(seconds=1)) == 1
        await site.becomes("select state from webhook_deliveries", ["delivered"])

"""Record a finished run of each workflow for `test_histories.py`: `python -m tests.workflows.record [scene]`.

Do so when a workflow has changed on purpose. Runs that are under way replay on the new code, so a change that
the old recordings do not survive strands them: it belongs behind `workflow.patched`. A recording that no
scene is named after was made by earlier code, and stays as long as its runs may be under way.
"""

import asyncio
import json
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import text
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowUpdateStage
from uuid_utils.compat import uuid7

from dev.places import ROOT
from dev.temporal import Temporal
from domain.failures import Category, Failure, Subject
from domain.messages import Work
from domain.schedules import Meant, Starter
from domain.workspaces import DEFAULT_WORKSPACE
from lab.http_server import Answer
from models.base import Sessions
from models.queries import (
    attributes,
    failures,
    hooks,
    pokes,
    schedules,
    segments_written,
)
from models.queries.hooks import Coming
from tests.arrivals import arrival, put
from tests.databases import a_clone, a_server, make_template
from tests.sending import (
    a_bare_message,
    a_graph,
    a_segment,
    a_sender,
    a_template,
    clicked,
    people,
    send,
    wait,
)
from tests.webhooks import Receiver, a_webhook, announced, receiving
from tests.workflows.site import Site, SlowProvider, at_work
from workflows import attributes as filling
from workflows.campaigns import CampaignWorkflow
from workflows.failures import FailuresWorkflow
from workflows.flows import FlowWorkflow
from workflows.ingest import IngestRun, IngestWorkflow
from workflows.reports import ReportsWorkflow
from workflows.segments import SegmentsWorkflow
from workflows.temporal import TASK_QUEUE, connect, workflow_id
from workflows.upkeep import UpkeepWorkflow

HISTORIES = Path(__file__).with_name("histories")
Run = WorkflowHandle[Any, Any]


async def keep(name: str, handle: Run) -> None:
    """Write the history down once it has ended, without what tells of the machine that made it.

    What never ends was ended by its scene.
    """
    with suppress(WorkflowFailureError):
        await handle.result()
    history = json.loads((await handle.fetch_history()).to_json())
    said = json.dumps(_nameless(history), indent=1).replace(str(ROOT), ".")
    (HISTORIES / f"{name}.json").write_text(said + "\n")
    print(f"{name}: {len(history['events'])} events")  # noqa: T201 - this is a program for a terminal


def _nameless(part: Any) -> Any:
    match part:
        case dict():
            return {key: "a worker" if key == "identity" else _nameless(value) for key, value in part.items()}
        case list():
            return [_nameless(each) for each in part]
        case str() if re.match(r"\d+@", part):  # A sticky queue has the process's and the machine's name.
            return "a worker's own queue"
    return part


async def a_campaign_that_is_paused_and_completes(site: Site) -> Run:
    handle = await site.start(await site.a_campaign(40))
    await handle.execute_update(CampaignWorkflow.pause)
    await handle.execute_update(CampaignWorkflow.resume)
    return handle


async def a_campaign_that_is_cancelled(site: Site) -> Run:
    handle = await site.start(await site.a_campaign(300))
    await handle.execute_update(CampaignWorkflow.cancel)
    return handle


async def steered_at_once(site: Site, handle: Run, first: Any, activity: str, then: Any) -> None:
    """The second is asked for while the first is committed and not answered yet."""
    held = site.answers.hold(activity)
    one = await handle.start_update(first, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
    await held.given.wait()
    other = await handle.start_update(then, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
    held.tell()
    await asyncio.gather(one.result(), other.result())


async def a_campaign_that_is_paused_and_resumed_at_once(site: Site) -> Run:
    handle = await site.start(await site.a_campaign(40))
    await steered_at_once(site, handle, CampaignWorkflow.pause, "pause_campaign", CampaignWorkflow.resume)
    return handle


async def a_campaign_that_fails(site: Site) -> Run:
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        segment = await a_segment(db, {"kind": "star sign"})
    return await site.start(await site.a_campaign(segment_id=segment))


async def a_campaign_that_starts_at_its_time(site: Site) -> Run:
    campaign, at = await site.a_campaign(3), site.clock.now().replace(microsecond=0)
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        await schedules.schedule(db, campaign.id, Meant(at), "UTC", Starter.CAMPANILE, at)
    await site.becomes("select state from campaigns", ["completed"])
    return site.client.get_workflow_handle(workflow_id("start", campaign.id, campaign.slug))


async def a_flow(site: Site) -> Run:
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        template, _ = await a_template(db)
        trigger = {"kind": "segment", "segment_id": str(await a_segment(db))}
        await people(db, 3)
    steps = {
        "hello": send(template, "nap"),
        "nap": wait(3600, "fork"),
        "fork": clicked("hello", "thanks", None),
        "thanks": send(template),
    }
    flow = await site.a_flow(a_graph(steps, "hello", trigger=trigger))
    await site.publish(flow)
    await site.becomes("select count(*) from enrollments where step = 'nap'", [3])
    await site.flow(flow).execute_update(FlowWorkflow.pause)
    await site.flow(flow).execute_update(FlowWorkflow.resume)
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        one = "update messages set clicked_at = due_at where id = (select id from messages limit 1)"
        await db.execute(text(one))
    site.clock.move(timedelta(hours=1))
    await site.flow(flow).signal(FlowWorkflow.poke, Work.ADVANCE)
    await site.becomes("select count(*) from enrollments where outcome = 'finished'", [3])
    await site.publish(flow)
    await site.flow(flow).execute_update(FlowWorkflow.archive)
    return site.flow(flow)


async def a_flow_that_is_steered_at_once(site: Site) -> Run:
    flow = await site.a_flow(a_graph({"nap": wait(3600)}, "nap"))
    await site.publish(flow)
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        members = await people(db, 3)
    await site.enroll(flow, *members)
    await site.becomes("select count(*) from enrollments where step = 'nap'", [3])
    handle = site.flow(flow)
    await steered_at_once(site, handle, FlowWorkflow.pause, "pause_flow", FlowWorkflow.resume)
    await steered_at_once(site, handle, FlowWorkflow.publish, "publish_version", FlowWorkflow.pause)
    await steered_at_once(site, handle, FlowWorkflow.resume, "resume_flow", FlowWorkflow.archive)
    return handle


async def an_outbox(site: Site) -> Run:
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        await a_bare_message(db, "eve@elsewhere.example", due_at=site.clock.now())
        pokes.poke(db, DEFAULT_WORKSPACE, Work.SEND)
    await site.becomes("select state from messages where bare is not null", ["accepted"])
    return site.client.get_workflow_handle(f"outbox/{DEFAULT_WORKSPACE}")


async def upkeep(site: Site) -> Run:
    return await site.client.start_workflow(UpkeepWorkflow.run, id="upkeep", task_queue=TASK_QUEUE)


async def ingest(site: Site) -> Run:
    handle = await site.client.start_workflow(
        IngestWorkflow.run, IngestRun(pumps=2), id="ingest", task_queue=TASK_QUEUE
    )
    for n in range(3):
        await put(site.sessions, arrival(user_id=f"u{n}"))
        await site.becomes("select count(*) from events", [n + 1])
        await asyncio.sleep(3)  # A pump's slice takes four of the site's seconds.
    await handle.terminate("It would go on for ever.")
    return handle


async def reports(site: Site) -> Run:
    """Webhooks of an account that nobody knows: each is read, and says nothing."""
    handle = await site.client.start_workflow(ReportsWorkflow.run, id="reports", task_queue=TASK_QUEUE)
    for _ in range(3):
        hook = Coming(uuid7(), DEFAULT_WORKSPACE, uuid4(), site.clock.now(), "POST", "", {}, b"")
        async with site.sessions.engine_batch() as db:
            await hooks.put(db, [hook])
        await asyncio.sleep(4)  # A slice takes four of the site's seconds.
    await handle.terminate("It would go on for ever.")
    return handle


async def failing(site: Site) -> Run:
    handle = await site.client.start_workflow(FailuresWorkflow.run, id="failures", task_queue=TASK_QUEUE)
    for n in range(3):
        failure = Failure(Subject.OUTSIDE, f"job {n}", Category.OURS, "It broke.", "Mend it.")
        async with site.sessions(DEFAULT_WORKSPACE) as db:
            await failures.note(db, DEFAULT_WORKSPACE, [failure], site.clock.now())
        await asyncio.sleep(4)  # A slice takes four of the site's seconds.
    await handle.terminate("It would go on for ever.")
    return handle


async def segments(site: Site) -> Run:
    handle = await site.client.start_workflow(SegmentsWorkflow.run, id="segments", task_queue=TASK_QUEUE)
    for n in range(3):
        async with site.sessions(DEFAULT_WORKSPACE) as db:
            await segments_written.create(db, DEFAULT_WORKSPACE, f"Everybody {n}", {"all": []})
        await site.becomes("select count(*) from segments where took_ms is not null", [n + 1])
        await asyncio.sleep(3)  # A slice takes four of the site's seconds.
    await handle.terminate("It would go on for ever.")
    return handle


async def an_attribute(site: Site) -> Run:
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        await people(db, 3)
        given = {"names": ["name"], "values": ['"Ada"']}
        await attributes.note(db, DEFAULT_WORKSPACE, attributes.GIVEN, site.clock.now(), given)
        await attributes.change(db, DEFAULT_WORKSPACE, "name", hot=True)
    await filling.start(site.client, DEFAULT_WORKSPACE, "name")
    return site.client.get_workflow_handle(filling.id_of(DEFAULT_WORKSPACE, "name"))


async def webhooks(site: Site) -> Run:
    """A receiver that is away at the first try, so that the workflow sleeps in between."""
    answers = [Answer(503), Answer(200), Answer(200)]
    async with receiving(Receiver(answer=lambda asked: answers.pop(0))) as receiver:
        await a_webhook(site.sessions, receiver.url)
        await announced(site.sessions, site.clock)
        await site.becomes("select attempts from webhook_deliveries", [1])
        await asyncio.sleep(2)  # The slice is over.
        site.clock.move(timedelta(seconds=10))
        await announced(site.sessions, site.clock)
        await site.becomes("select distinct state from webhook_deliveries", ["delivered"])
        handle = site.client.get_workflow_handle(f"webhooks/{DEFAULT_WORKSPACE}")
        await handle.result()
    return handle


SCENES = {
    "attribute": an_attribute,
    "campaign": a_campaign_that_is_paused_and_completes,
    "campaign-cancelled": a_campaign_that_is_cancelled,
    "campaign-failed": a_campaign_that_fails,
    "campaign-steered-at-once": a_campaign_that_is_paused_and_resumed_at_once,
    "failures": failing,
    "flow": a_flow,
    "flow-steered-at-once": a_flow_that_is_steered_at_once,
    "ingest": ingest,
    "outbox": an_outbox,
    "reports": reports,
    "scheduled-start": a_campaign_that_starts_at_its_time,
    "segments": segments,
    "upkeep": upkeep,
    "webhooks": webhooks,
}


@asynccontextmanager
async def a_site(client: Client) -> AsyncIterator[Site]:
    server = a_server()
    try:
        make_template(server)
        database = a_clone(server)
        sessions = Sessions(database.url, database.engine_url)
        async with at_work(client, sessions, database, channel=SlowProvider()) as site:
            yield site
        await sessions.close()
        server.drop_database(database.name)
    finally:
        server.stop()


async def record(address: str, names: Collection[str]) -> None:
    client = await connect(address)
    for name, scene in SCENES.items():
        if names and name not in names:
            continue
        async with a_site(client) as site:
            await keep(name, await scene(site))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = Temporal(folder=Path(folder) / "logs")
        server.start()
        try:
            asyncio.run(record(server.address, sys.argv[1:]))
        finally:
            server.kill()


if __name__ == "__main__":
    main()

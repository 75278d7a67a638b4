"""Flows through Temporal: people trickle in, loops side by side, pauses, new versions, the end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowUpdateFailedError

from domain.flows import FlowState
from domain.messages import Work
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.flows import Flow
from models.queries import pokes, rows
from tests.arrivals import arrival, pump, put
from tests.databases import Database
from tests.people import write_the_agenda
from tests.relay import Relay
from tests.sending import a_bare_message, a_graph, a_sender, a_template, as_json, clicked, people, send, wait
from tests.support import eventually
from tests.workflows.site import Site, at_work, slices_of, told
from workflows import flows, outbox
from workflows.flows import FlowWorkflow
from workflows.upkeep import UpkeepWorkflow

SENT = "select step || ' ' || state || ' ' || count(*) from messages group by step, state order by 1"
PLACES = """
    select place || ' ' || count(*) from (select coalesce(outcome, step) as place from enrollments) p
    group by place order by 1
"""


@pytest.fixture
async def site(temporal: Client, sessions: Sessions, database: Database) -> AsyncIterator[Site]:
    async with at_work(temporal, sessions, database) as working:
        yield working


async def a_template_of(site: Site) -> UUID:
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        return (await a_template(db))[0]


async def some_people(site: Site, n: int, prefix: str = "p") -> list[UUID]:
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        return await people(db, n, prefix)


async def greeting(site: Site) -> dict[str, Any]:
    template = await a_template_of(site)
    steps = {
        "hello": send(template, "nap"),
        "nap": wait(3600, "fork"),
        "fork": clicked("hello", "thanks", "bye"),
        "thanks": send(template),
        "bye": send(template),
    }
    return a_graph(steps, "hello")


async def an_hour_later(site: Site, flow: UUID) -> None:
    site.clock.move(timedelta(hours=1))
    for work in Work:
        await site.flow(flow).signal(FlowWorkflow.poke, work)


async def test_people_trickle_in_and_everyone_goes_their_way_to_the_end(site: Site) -> None:
    flow = await site.a_flow(await greeting(site))
    assert await site.publish(flow) == 1
    members = await some_people(site, 3)
    for member in members:  # The workflow sleeps between them, and is poked.
        await site.enroll(flow, member)
        await site.becomes(
            "select count(*) from messages where state = 'accepted'", [members.index(member) + 1]
        )
    await site.becomes(PLACES, ["nap 3"])
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        clicks = "update messages set clicked_at = :now where profile_id = :member"
        await db.execute(text(clicks), {"now": site.clock.now(), "member": members[0]})

    await an_hour_later(site, flow)

    await site.becomes(PLACES, ["finished 3"])
    assert await site.ask(SENT) == ["bye accepted 2", "hello accepted 3", "thanks accepted 1"]


async def test_what_comes_in_lets_people_into_a_flow_and_ends_their_waits(site: Site) -> None:
    template = await a_template_of(site)
    order = {"kind": "wait_for_event", "event": "order placed", "at_most": 3600}
    steps = {
        "order?": order | {"then": "thanks", "otherwise": "reminder"},
        "thanks": send(template),
        "reminder": send(template),
    }
    dear = [{"kind": "property", "name": "total", "op": ">=", "value": 50}]
    trigger = {"kind": "event", "event": "cart filled", "where": dear}
    flow = await site.a_flow(a_graph(steps, "order?", trigger=trigger))
    await site.publish(flow)
    await some_people(site, 3)
    ada, bob, eve = ({"email": f"p{n}@shop.example", "at": site.clock.now()} for n in (1, 2, 3))
    cart: Callable[..., dict[str, Any]] = partial(arrival, "track", "cart filled")

    await put(
        site.sessions,
        cart(properties={"total": 60}, **ada),
        cart(properties={"total": "60"}, **bob),
        cart(properties={"total": 40}, **eve),
        cart(properties={"total": 60}, historical=True, **eve),
    )
    assert (await pump(site.sessions, site.clock)).entered == 2
    await site.becomes(PLACES, ["order? 2"])
    bought = {
        "key": "o1",
        "total": "60",
        "currency": "USD",
        "quantity": 1,
        "status": "placed",
        "source": "api",
    }
    await put(site.sessions, arrival("order", None, properties=bought, **ada))
    assert (await pump(site.sessions, site.clock)).woken == 1

    await site.becomes(SENT, ["thanks accepted 1"])
    await an_hour_later(site, flow)
    await site.becomes(SENT, ["reminder accepted 1", "thanks accepted 1"])
    await site.becomes(PLACES, ["finished 2"])


async def test_a_flow_tells_name_state_and_counts_in_words(site: Site) -> None:
    flow = await site.a_flow(await greeting(site), "Welcome, new people")
    await site.publish(flow, "Welcome, new people")
    await site.enroll(flow, *await some_people(site, 12))
    await site.becomes(PLACES, ["nap 12"])

    async def all_told() -> bool:
        current = (await told(site.flow(flow)))[2]
        return "| nap | 12 | " in current and "| 12 | 0 | 0 | 0 |" in current

    await eventually(all_told, what="the whole story")
    summary, details, current, attributes = await told(site.flow(flow))
    assert summary == "Flow: Welcome, new people"
    assert str(flow) in details
    assert "**Welcome, new people**, version 1, is live." in current
    assert attributes == {
        "CampanileKind": "flow",
        "CampanileName": "Welcome, new people",
        "CampanileStatus": "live",
        "CampanileWorkspace": str(DEFAULT_WORKSPACE),
    }


async def test_a_pause_holds_everyone_and_keeps_entries_and_resume_goes_on(site: Site) -> None:
    flow = await site.a_flow(await greeting(site))
    await site.publish(flow)
    await site.enroll(flow, *await some_people(site, 2))
    await site.becomes(PLACES, ["nap 2"])
    await site.flow(flow).execute_update(FlowWorkflow.pause)
    before = len(await slices_of(site.flow(flow)))

    assert await site.enroll(flow, *await some_people(site, 1, "q")) == 1
    await an_hour_later(site, flow)
    await asyncio.sleep(0.6)  # Time enough for pokes to be signalled, and for nothing to come of it.
    assert await site.ask(PLACES) == ["nap 2", "start 1"]
    assert len(await slices_of(site.flow(flow))) - before <= 2  # Those under way when it paused.
    assert (await told(site.flow(flow)))[3]["CampanileStatus"] == "paused"

    await site.flow(flow).execute_update(FlowWorkflow.resume)
    await site.becomes(PLACES, ["finished 2", "nap 1"])


async def test_a_new_version_takes_those_who_come_and_leaves_the_others(site: Site) -> None:
    flow = await site.a_flow(a_graph({"nap": wait(3600)}, "nap"))
    await site.publish(flow)
    await site.enroll(flow, *await some_people(site, 1))
    await site.becomes(PLACES, ["nap 1"])
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        edited = text("update flows set definition = cast(:graph as jsonb)")
        await db.execute(edited, {"graph": as_json(a_graph({"doze": wait(3600)}, "doze"))})

    assert await site.publish(flow) == 2
    await site.enroll(flow, *await some_people(site, 1, "q"))
    await site.becomes(PLACES, ["doze 1", "nap 1"])
    await an_hour_later(site, flow)
    await site.becomes(PLACES, ["finished 2"])
    assert "version 2" in (await told(site.flow(flow)))[2]


async def test_archiving_ends_every_journey_and_the_workflow(site: Site) -> None:
    flow = await site.a_flow(await greeting(site))
    await site.publish(flow)
    await site.enroll(flow, *await some_people(site, 2))
    await site.becomes(PLACES, ["nap 2"])

    await site.flow(flow).execute_update(FlowWorkflow.archive)

    standing = await site.flow(flow).result()
    assert (standing.state, standing.accepted) == (FlowState.ARCHIVED, 2)
    assert await site.ask(PLACES) == ["archived 2"]
    assert await site.ask("select state from flows") == ["archived"]


async def test_a_flow_that_can_not_be_published_leaves_no_workflow_behind(site: Site) -> None:
    flow = await site.a_flow(a_graph({"nap": wait(3600, "elsewhere")}, "nap"))

    with pytest.raises(WorkflowUpdateFailedError):
        await site.publish(flow)

    assert (await site.flow(flow).result()).state is FlowState.DRAFT
    assert await site.ask("select state from flows") == ["draft"]


async def test_an_archived_flow_is_not_woken_by_what_came_too_late(site: Site) -> None:
    flow = await site.a_flow(a_graph({"nap": wait(3600)}, "nap"))
    await site.publish(flow)
    await site.flow(flow).execute_update(FlowWorkflow.archive)
    await site.flow(flow).result()

    async with site.sessions(DEFAULT_WORKSPACE) as db:
        pokes.poke(db, flow, Work.ADVANCE)

    await eventually(lambda: _nobody_is_poked(site), what="an answer to the poke")
    status = (await site.flow(flow).describe()).status
    assert status is WorkflowExecutionStatus.COMPLETED


async def _nobody_is_poked(site: Site) -> bool:
    async with site.sessions.engine() as db:
        return not (await db.execute(text("select 1 from pokes"))).all()


async def test_a_flow_whose_workflow_was_ended_by_hand_starts_again_as_it_stood(site: Site) -> None:
    flow = await site.a_flow(a_graph({"nap": wait(3600)}, "nap"))
    await site.publish(flow)
    await site.flow(flow).execute_update(FlowWorkflow.pause)
    await eventually(lambda: _nobody_is_at_it(site, flow), what="the end of the slices under way")
    await site.flow(flow).terminate()
    await site.enroll(flow, *await some_people(site, 1))

    async def there() -> bool:
        return (await site.flow(flow).describe()).status is WorkflowExecutionStatus.RUNNING

    await eventually(there, what="another workflow")
    assert (await site.flow(flow).query(FlowWorkflow.standing)).state is FlowState.PAUSED
    await site.flow(flow).execute_update(FlowWorkflow.resume)
    await site.becomes(PLACES, ["nap 1"])


async def test_a_held_flow_with_nobody_due_whose_workflow_was_ended_by_hand_can_be_resumed(
    site: Site,
) -> None:
    flow = await site.a_flow(a_graph({"nap": wait(3600)}, "nap"))
    await site.publish(flow)
    await site.flow(flow).execute_update(FlowWorkflow.pause)
    await site.flow(flow).terminate()
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        row = await rows.get(db, Flow, flow)

    await flows.steer(site.client, row, FlowWorkflow.resume)

    assert (await site.flow(flow).query(FlowWorkflow.standing)).state is FlowState.LIVE
    assert await site.ask("select state from flows") == ["live"]


async def _nobody_is_at_it(site: Site, flow: UUID) -> bool:
    """A slice under way would take the poke, and tell a workflow that is gone."""
    return not (await site.flow(flow).describe()).raw_description.pending_activities


async def test_the_outbox_sends_what_is_queued_and_ends(site: Site) -> None:
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        for n in range(3):
            await a_bare_message(db, f"eve{n}@elsewhere.example", due_at=site.clock.now())
        pokes.poke(db, DEFAULT_WORKSPACE, Work.SEND)

    await site.becomes("select distinct state from messages", ["accepted"])
    await outbox.wake(site.client, DEFAULT_WORKSPACE)  # A poke that finds nothing.
    handle = site.client.get_workflow_handle(f"outbox/{DEFAULT_WORKSPACE}")
    await handle.result()
    assert (await told(handle))[0].startswith("Outbox")


async def test_upkeep_finds_what_a_lost_poke_left_behind(site: Site) -> None:
    flow = await site.a_flow(a_graph({"nap": wait(3600)}, "nap"))
    await site.publish(flow)
    await site.becomes("select count(*) from flow_versions", [1])
    await asyncio.sleep(0.3)  # So that no slice of the first look is under way any more.
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        [member] = await people(db, 1)
        lost = """
            insert into enrollments
                (workspace_id, flow_id, version_id, profile_id, entry, step, due_at, entered_at)
            select workspace_id, flow_id, id, :member, 'x', 'start', :now, :now from flow_versions
        """
        await db.execute(text(lost), {"member": member, "now": site.clock.now()})
        await write_the_agenda(db)
    site.clock.move(timedelta(minutes=1))

    done = await site.client.execute_workflow(
        UpkeepWorkflow.run, id="upkeep-of-a-test", task_queue="campanile"
    )

    assert done.poked == 1
    await site.becomes(PLACES, ["nap 1"], within=5)


async def test_upkeep_sends_again_what_the_workspace_wants_sent_again(site: Site) -> None:
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db, unknown_policy="resend")
        values = {"state": "unknown", "reconcile_at": site.clock.now()}
        await a_bare_message(db, "eve@elsewhere.example", **values)

    done = await site.client.execute_workflow(
        UpkeepWorkflow.run, id="upkeep-of-a-test", task_queue="campanile"
    )

    assert (done.resent, done.left) == (1, 0)
    await site.becomes("select state || resend from messages order by resend", ["unknown0", "accepted1"])


async def test_the_poker_outlives_a_database_that_was_away(
    temporal: Client, sessions: Sessions, database: Database
) -> None:
    relay = Relay(database.url)
    await relay.mend()
    near = Database(
        database.name, relay.url(database.url), relay.url(database.engine_url), database.admin_url
    )
    far = Sessions(near.url, near.engine_url)
    async with at_work(temporal, far, near) as site:
        site.sessions = sessions  # We look on from where nothing was cut.
        flow = await site.a_flow(a_graph({"nap": wait(3600)}, "nap"))
        await site.publish(flow)
        await site.enroll(flow, *await some_people(site, 1))
        await site.becomes(PLACES, ["nap 1"])
        relay.cut()
        await asyncio.sleep(0.1)
        await relay.mend()

        await site.enroll(flow, *await some_people(site, 1, "q"))
        await site.becomes(PLACES, ["nap 2"], within=15)
    await far.close()

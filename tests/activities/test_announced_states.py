"""What becomes of campaigns, flows, providers and imports is told to the webhooks that ask."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from activities.bell import Bell
from activities.campaigns import CampaignActivities, CampaignRef
from activities.entering import EntryActivities
from activities.flows import FlowActivities, FlowRef
from domain.breakers import Tally, held, released
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import breakers
from tests.announcing import a_webhook, listening, told, types, were_told
from tests.importing import loaded, uploaded
from tests.sending import (
    CALLER,
    NOW,
    PATIENT,
    a_draft,
    a_flow,
    a_graph,
    a_sender,
    a_template,
    at,
    people,
    ran,
    send,
)
from tests.support import GivenClock


async def a_campaign_to_start(sessions: Sessions) -> CampaignRef:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        await people(db, 3)
        return CampaignRef(DEFAULT_WORKSPACE, (await a_draft(db)).id)


async def test_a_campaign_is_told_of_at_each_turn_and_with_counts_at_its_end(sessions: Sessions) -> None:
    campaign = await a_campaign_to_start(sessions)
    act = CampaignActivities(sessions, GivenClock(), PATIENT, 1)
    await listening(sessions, "campaign.*")

    for step in (
        act.begin,
        act.begin,
        act.pause,
        act.pause,
        act.resume,
        act.freeze,
        act.cancel,
        act.complete,
    ):
        await ran(step, campaign)

    found = await were_told(sessions)
    assert types(found) == [
        "campaign.started",
        "campaign.paused",
        "campaign.resumed",
        "campaign.cancelled",
    ]
    assert [data["counts"] for _, data in found[:3]] == [None] * 3
    assert found[3][1]["counts"]["open"] == 3
    assert found[3][1]["name"] == "Winter letter"


async def test_a_campaign_that_is_through_or_failed_is_told_of(sessions: Sessions) -> None:
    through = await a_campaign_to_start(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        failed = CampaignRef(DEFAULT_WORKSPACE, (await a_draft(db)).id)
    act = CampaignActivities(sessions, GivenClock(), PATIENT, 1)
    for campaign in (through, failed):
        await ran(act.begin, campaign)
    await listening(sessions, "campaign.completed", "campaign.failed")

    await ran(act.complete, through)
    await ran(act.fail, failed, "There is nobody in the segment.")

    found = await were_told(sessions)
    assert [(type_, data["state"], data["reason"]) for type_, data in found] == [
        ("campaign.completed", "completed", None),
        ("campaign.failed", "failed", "There is nobody in the segment."),
    ]


async def test_a_flow_is_told_of_when_it_is_published_paused_resumed_and_archived(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        template, _ = await a_template(db)
        flow = FlowRef(DEFAULT_WORKSPACE, await a_flow(db, a_graph({"hello": send(template)}, "hello")))
    act = FlowActivities(sessions, Bell(""), GivenClock(), PATIENT, CALLER)
    await listening(sessions, "flow.published", "flow.paused", "flow.resumed", "flow.archived")

    publish = EntryActivities(sessions, GivenClock(), 1).publish_version
    for step in (publish, act.pause, act.pause, act.resume, publish, act.archive):
        await ran(step, flow)

    found = await were_told(sessions)
    assert [(type_, data["state"], data["version"]) for type_, data in found] == [
        ("flow.published", "live", 1),
        ("flow.paused", "paused", 1),
        ("flow.resumed", "live", 1),
        ("flow.published", "live", 2),
        ("flow.archived", "archived", 2),
    ]


async def test_a_breaker_is_told_of_when_it_opens_and_when_it_closes_again(db: AsyncSession) -> None:
    provider = UUID(int=7)
    await a_webhook(db, "breaker.*")
    here = (db, DEFAULT_WORKSPACE, provider)
    bad = Tally(calls=3, bad_calls=3, badly=30, reason="503 from the server")

    await breakers.note(*here, bad, NOW)
    await breakers.note(*here, bad, NOW)
    await breakers.attempt(*here, at(1))  # Half open: it only tries.
    await breakers.note(*here, bad, at(1))  # It failed: open as before.
    await breakers.change(*here, lambda one: released(one, at(2)), at(2))
    await breakers.change(*here, lambda one: held(one, "by hand", at(3)), at(3))

    found = await told(db)
    assert [(type_, data["state"], data["reason"]) for type_, data in found] == [
        ("breaker.opened", "open", "503 from the server"),
        ("breaker.closed", "closed", None),
        ("breaker.opened", "held", "by hand"),
    ]


async def test_an_import_that_is_through_or_failed_is_told_of_once(sessions: Sessions) -> None:
    await listening(sessions, "import.finished")

    for _ in range(2):
        run = await uploaded(sessions, "customers", "customer_id,email\n1,ada@shop.example\n2,nonsense\n")
        await loaded(sessions, run)
        await loaded(sessions, run)
    await loaded(sessions, await uploaded(sessions, "orders", "nothing,to,see\n1,2,3\n"))

    found = [data for _, data in await were_told(sessions)]
    assert [(each["kind"], each["state"], each["rows"], each["rejected"]) for each in found] == [
        ("customers", "completed", 2, 1),
        ("customers", "completed", 2, 1),
        ("orders", "failed", 0, 0),
    ]
    assert [each["imported"] for each in found] == [1, 0, 0]
    assert found[2]["reason"]

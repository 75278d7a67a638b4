"""Whom the chaos tests write to, and what with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.flows import Flow, SegmentTrigger, Send, Wait
from domain.templates import Template
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import campaigns, flows, templates
from models.segments import Segment
from tests.chaos.site import Site
from workflows import campaigns as campaign_workflow
from workflows import flows as flow_workflow

LETTER = Template(
    subject="Hello {{ first_name }}",
    html='<p>Hi {{ first_name }} in {{ city | default: "town" }}</p><a href="https://shop.example/">Shop</a>',
)

# Everybody agreed to everything; later each twentieth unsubscribed.
_PEOPLE = (
    """
    update workspaces set sender_email = 'ada@shop.example', sending_email = 'ada@shop.example',
        postal_address = '1 Groove Street', caps = '[{"channel": "email", "limit": 5, "period": "month"}]'
    where id = :workspace
    """,
    """
    insert into profiles (workspace_id, attributes)
    select :workspace, jsonb_build_object('first_name', 'P' || n, 'city', 'Town ' || n % 100, 'n', n)
    from generate_series(1, :people) n
    """,
    """
    insert into identities (workspace_id, kind, value, profile_id)
    select workspace_id, 'email', 'p' || (attributes ->> 'n') || '@shop.example', id from profiles
    where workspace_id = :workspace
    """,
    """
    insert into consents (workspace_id, profile_id, purpose, state, source, at)
    select workspace_id, id, purpose, 'granted', 'test', now()
    from profiles, unnest(array['email', 'tracking']) purpose where workspace_id = :workspace
    """,
    """
    insert into suppressions (workspace_id, channel, address_hash, address, reason, source, at)
    select workspace_id, 'email', sha256(convert_to(value, 'UTF8')), value, 'unsubscribed', 'test', now()
    from identities
    where workspace_id = :workspace and cast(substring(value from '[0-9]+') as int) % 20 = 0
    """,
)


async def a_campaign(site: Site, people: int) -> UUID:
    """A campaign to so many people, started: each twentieth of them has unsubscribed."""
    async with _people(site, people) as (db, template_id, segment_id):
        values = {"name": "Winter", "slug": "winter", "template_id": template_id, "segment_id": segment_id}
        campaign = await campaigns.create(db, DEFAULT_WORKSPACE, values)
    await campaign_workflow.start(site.client, DEFAULT_WORKSPACE, campaign.id, "Winter", "winter")
    return campaign.id


async def a_flow(site: Site, people: int) -> UUID:
    """A flow of three messages a second apart, published to so many people as above."""
    async with _people(site, people) as (db, template_id, segment_id):
        second = timedelta(seconds=1)
        graph = Flow(
            trigger=SegmentTrigger(segment_id=segment_id),
            first="hello",
            steps={
                "hello": Send(template_id=template_id, then="a moment"),
                "a moment": Wait(duration=second, then="news"),
                "news": Send(template_id=template_id, then="another"),
                "another": Wait(duration=second, then="goodbye"),
                "goodbye": Send(template_id=template_id),
            },
        )
        values = {"name": "Welcome", "slug": "welcome", "definition": graph.model_dump(mode="json")}
        flow = await flows.create(db, DEFAULT_WORKSPACE, values)
    await flow_workflow.publish(site.client, DEFAULT_WORKSPACE, flow.id, "Welcome", "welcome")
    return flow.id


@asynccontextmanager
async def _people(site: Site, people: int) -> AsyncIterator[tuple[AsyncSession, UUID, UUID]]:
    """So many people, a template and a segment of everybody, in the transaction that is given."""
    sessions = Sessions(site.database.url, site.database.engine_url, pool_size=1)
    try:
        async with sessions(DEFAULT_WORKSPACE) as db:
            for statement in _PEOPLE:
                await db.execute(text(statement), {"workspace": DEFAULT_WORKSPACE, "people": people})
            template, _ = await templates.create(db, DEFAULT_WORKSPACE, "Letter", LETTER)
            segment = Segment(workspace_id=DEFAULT_WORKSPACE, name="Everybody", rule={"all": []})
            db.add(segment)
            await db.flush()
            yield db, template.id, segment.id
    finally:
        await sessions.close()

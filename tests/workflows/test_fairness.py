"""A big sender does not starve a small one: each workspace has its turn at the slots that there are."""

from dataclasses import replace
from uuid import UUID, uuid4

from sqlalchemy import text
from temporalio.client import Client

from models.base import Sessions
from models.campaigns import Campaign
from tests.databases import Database
from tests.support import eventually
from tests.workflows.site import BRISK, SlowProvider, at_work

CAMPAIGNS = 8  # Of the big sender's, each with a hundred people.


async def a_small_sender(sessions: Sessions, workspace_id: UUID) -> Campaign:
    """Another workspace, with a campaign to two people."""
    async with sessions.engine() as db:
        await db.execute(
            text(
                "insert into workspaces (id, name, sender_email, sending_email) "
                "values (:here, 'Small', 'x@small.example', 'x@small.example')"
            ),
            {"here": workspace_id},
        )
    async with sessions(workspace_id) as db:
        values = {"here": workspace_id, "n": 2}
        await db.execute(text(_PEOPLE), values)
        await db.execute(text(_TEMPLATE), values)
        campaign_id = await db.scalar(text(_CAMPAIGN), values)
        campaign = await db.get(Campaign, (workspace_id, campaign_id))
        assert campaign
        return campaign


_PEOPLE = """
    with made as (
        insert into profiles (workspace_id) select :here from generate_series(1, :n) returning id
    ), named as (
        insert into identities (workspace_id, kind, value, profile_id)
        select :here, 'email', id || '@small.example', id from made
    )
    insert into consents (workspace_id, profile_id, purpose, state, source, at)
    select :here, id, 'email', 'granted', 'import', now() from made
"""
_TEMPLATE = """
    with t as (insert into templates (workspace_id, name) values (:here, 'x') returning id)
    insert into template_versions (workspace_id, template_id, number, subject, html)
    select :here, id, 1, 'x', 'x' from t
"""
_CAMPAIGN = """
    with s as (
        insert into segments (workspace_id, name, rule) values (:here, 'x', '{"all": []}') returning id
    )
    insert into campaigns (workspace_id, name, slug, segment_id, template_id)
    select :here, 'Small', 'small', s.id, t.id from s, templates t returning id
"""


async def test_a_big_sender_does_not_starve_a_small_one(
    temporal: Client, sessions: Sessions, database: Database
) -> None:
    channel = SlowProvider(batch=2)  # A hundred mails a second, whoever they are for.
    timing = replace(BRISK, slice=0.2)
    async with at_work(
        temporal, sessions, database, channel=channel, timing=timing, slots=1, slices=1
    ) as site:
        for n in range(CAMPAIGNS):
            await site.start(await site.a_campaign(100 if n == 0 else 0))
        small = await a_small_sender(sessions, uuid4())
        ready = "select count(distinct queue_id) from messages"

        async def all_are_sending() -> bool:
            return await site.ask(ready) == [CAMPAIGNS]

        await eventually(all_are_sending, within=30, what="eight audiences")
        before = len(channel.sent)

        progress = await (await site.start(small)).result()

        assert progress.accepted == 2
        # First come, first served would let the eight have four slices each before the small one's four.
        theirs = len(channel.sent) - before - 2
        assert theirs < CAMPAIGNS * 4 * 20 / 2

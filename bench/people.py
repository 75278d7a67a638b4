"""Those whom the benchmarks write to, and what is written to them."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from channels import dkim
from domain.secrets import Sealer
from domain.templates import Template
from domain.workspaces import DEFAULT_WORKSPACE
from models.campaigns import Campaign
from models.flows import Flow
from models.queries import domains, templates, verified_senders
from models.segments import Segment
from settings import DEVELOPMENT_ENCRYPTION_KEY

ONE_SUPPRESSED_IN = 20

# As a superuser, whom no wall stops: to make a shop's customers is not what is measured.
_SETTLE = (
    """
    update workspaces set sender_name = 'The Shop', sender_email = 'news@shop.example',
        sending_email = 'news@shop.example',
        postal_address = '1 High Street, Springfield',
        caps = '[{"channel": "email", "limit": 10, "period": "day"}]'
    """,
    """
    create temporary table people as
    select n, uuidv7() as id, 'customer-' || n || '@example.com' as email from generate_series(1, %(size)s) n
    """,
    """
    insert into profiles (workspace_id, id, attributes)
    select %(workspace)s, id, jsonb_build_object('first_name', 'Customer ' || n, 'city', 'Town ' || n %% 100,
        'country', 'US', 'plan', 'standard', 'referred_by', 'a friend who shops here too')
    from people
    """,
    """
    insert into identities (workspace_id, kind, value, profile_id)
    select %(workspace)s, 'email', email, id from people
    """,
    """
    insert into consents (workspace_id, profile_id, purpose, state, source, at)
    select %(workspace)s, id, purpose, 'granted', 'import', now()
    from people, unnest(array['email', 'tracking']) purpose
    """,
    """
    insert into suppressions (workspace_id, channel, address_hash, address, reason, source, at)
    select %(workspace)s, 'email', sha256(convert_to(email, 'UTF8')), email, 'hard bounce', 'import', now()
    from people where n %% %(one_in)s = 0
    """,
    "drop table people",
)


def _letter(paragraphs: int) -> Template:
    parts = (
        "<html><body><h1>Hello {{ first_name }}</h1>",
        "<p>How is the weather in {{ city | default: 'town' }}?</p>",
        '<p><a href="https://shop.example/sale">See what we kept for you</a></p>',
        "<p>Everything in the shop was chosen by people who use it themselves.</p>" * paragraphs,
        "</body></html>",
    )
    return Template(
        subject="{{ first_name }}, we kept something for you",
        preheader="It is yours until Sunday.",
        html="".join(parts),
    )


# Two holes, a link and an open pixel. On the wire six kilobytes; and three, as in the measurements from which
# the aim of `smtp` comes.
LETTER, SHORT = _letter(30), _letter(8)


def settle(db: psycopg.Connection, size: int, workspace_id: UUID = DEFAULT_WORKSPACE) -> None:
    """So many customers, who all consented and one in twenty of whom is suppressed, and a cap that counts."""
    values = {"workspace": workspace_id, "size": size, "one_in": ONE_SUPPRESSED_IN}
    for statement in _SETTLE:
        db.execute(statement, values if "%(" in statement else None)
    # Not the ledger: vacuumed while it is empty it has no page, and a claim that comes before the first is
    # frozen would be planned as if it never had one. One that was never sent from was not vacuumed.
    db.execute("vacuum analyze workspaces, profiles, identities, consents, suppressions")


def suppressed(size: int) -> int:
    """How many of so many customers are suppressed."""
    return size // ONE_SUPPRESSED_IN


async def a_domain(db: AsyncSession) -> None:
    """The sender's domain, whose mail is signed by SMTP: RSA of 2,048 bits."""
    key, domain_id = dkim.new_key(), uuid7()
    values = {
        "name": "shop.example",
        "dkim_selector": "bench",
        "dkim_record": dkim.record_of(key),
        "dkim_key": Sealer.of(DEVELOPMENT_ENCRYPTION_KEY).seal(key, f"domain:{domain_id}"),
    }
    await domains.create(db, DEFAULT_WORKSPACE, domain_id, values)
    await domains.note(db, domain_id, [], datetime.now(UTC), verified=True, returns=False)
    await verified_senders.touch(db, DEFAULT_WORKSPACE)


async def a_template(
    db: AsyncSession, workspace_id: UUID = DEFAULT_WORKSPACE, letter: Template = LETTER
) -> UUID:
    template, _ = await templates.create(db, workspace_id, "Letter", letter)
    return template.id


async def everyone(db: AsyncSession, workspace_id: UUID = DEFAULT_WORKSPACE) -> UUID:
    """The segment of all profiles."""
    segment = Segment(workspace_id=workspace_id, name="Everyone", rule={"all": []})
    db.add(segment)
    await db.flush()
    return segment.id


async def a_campaign(
    db: AsyncSession, workspace_id: UUID = DEFAULT_WORKSPACE, letter: Template = LETTER
) -> UUID:
    campaign = Campaign(
        workspace_id=workspace_id,
        name="Sale",
        slug="sale",
        segment_id=await everyone(db, workspace_id),
        template_id=await a_template(db, workspace_id, letter),
    )
    db.add(campaign)
    await db.flush()
    return campaign.id


async def a_flow(db: AsyncSession, definition: dict[str, Any], name: str = "Welcome") -> UUID:
    flow = Flow(workspace_id=DEFAULT_WORKSPACE, name=name, slug=name.lower(), definition=definition)
    db.add(flow)
    await db.flush()
    return flow.id

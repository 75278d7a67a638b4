"""What readers did with their mails, written down by the group; and what a link in a mail stands for.

These run as the engine: a group holds arrivals of every workspace. Each arrival names its own, and its token
was signed by us, so nothing here looks beyond the message that a reader really has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.announcements import names
from domain.events import EventKind
from domain.messages import Interaction
from domain.profiles import ConsentState, Purpose
from domain.templates import Template
from models.queries.announced_messages import READS, Said, of_reading


@dataclass(frozen=True, slots=True)
class Arrival:
    """An open or a click that came in."""

    workspace_id: UUID
    message_id: UUID
    kind: Interaction
    at: datetime
    link: int | None  # Which of the template version's links, from 0.
    user_agent: str | None
    id: UUID  # Given when it comes in, so that a group whose commit was not answered can be repeated.
    url: str | None = None  # Where the link leads.


# Consent to tracking is read here, at the last moment. A click says that the mail was read, so it counts as
# an open where pictures are off. Where segments ask about messages, the pump follows that up; else there is
# one look at a few rows. Rows are not locked in an order of their own: who meets in a deadlock (two
# processes, or a slice that settles) is told so by PostgreSQL, and the group is repeated.
_RECORD = f"""
    with arrived as materialized (
        select a.*, m.opened_at, m.clicked_at, p.id as profile_id
        from jsonb_to_recordset(cast(:arrivals as jsonb)) as a(workspace_id uuid, id uuid, message_id uuid,
            kind text, at timestamptz, link int, user_agent text)
        join messages m on m.workspace_id = a.workspace_id and m.id = a.message_id and m.tracked
        join profiles p on p.workspace_id = m.workspace_id and p.id = m.profile_id
        join consents c on c.workspace_id = m.workspace_id and c.profile_id = coalesce(p.merged_into, p.id)
            and c.purpose = '{Purpose.TRACKING}' and c.ended_at is null and c.state = '{ConsentState.GRANTED}'
    ),
    noted as (
        insert into message_events (workspace_id, id, message_id, kind, at, link, user_agent)
        select workspace_id, id, message_id, kind, at, link, user_agent from arrived
        on conflict (workspace_id, id) do nothing
        returning id
    ),
    earlier as (
        select workspace_id, message_id, profile_id, min(at) as opened_at,
            min(at) filter (where kind = '{Interaction.CLICKED}') as clicked_at
        from arrived
        group by workspace_id, message_id, profile_id
        having bool_or(opened_at is null or at < opened_at)
            or bool_or(kind = '{Interaction.CLICKED}' and (clicked_at is null or at < clicked_at))
    ),
    followed as (
        insert into inbox (workspace_id, id, received_at, kind, trusted, historical, occurred_at, properties)
        select e.workspace_id, uuidv7(), e.opened_at, '{EventKind.CHANGE}', true, false, e.opened_at,
            jsonb_build_object('profile_id', e.profile_id, 'reads', jsonb_build_array('messages'))
        from earlier e
        where exists (select from segments s where s.workspace_id = e.workspace_id
            and s.materialized_at is not null and s.reads && array['messages'])
    ){{}}
"""
_MARK = """
    update messages m
    set opened_at = least(m.opened_at, e.opened_at), clicked_at = least(m.clicked_at, e.clicked_at)
    from earlier e
    where m.workspace_id = e.workspace_id and m.id = e.message_id
"""
_RECORD_SILENTLY = text(_RECORD.format(_MARK))
_RECORD_TELLING = text(_RECORD.format(f", marked as ({_MARK}) select id from noted"))
_ASKED = text(
    """
    select distinct w.workspace_id from webhooks w
    where w.workspace_id = any(cast(:workspaces as uuid[])) and w.state = 'enabled'
        and w.event_types && cast(:names as text[])
    """
)
_NAMES = [*{name for kind in (Interaction.OPENED, Interaction.CLICKED) for name in names(READS[kind])}]


# A campaign fills the ledger a moment before its readers come, so the planner's statistics know nothing of it
# yet: left alone, it reads the whole table for each group.
_BY_KEY = text(
    """
    select set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
        set_config('enable_mergejoin', 'off', true)
    """
)


async def record(db: AsyncSession, arrivals: Sequence[Arrival]) -> dict[UUID, list[Said]]:
    """Write down opens and clicks. Those of a message that is gone, was sent untracked, or whose profile
    doesn't allow tracking (any more) leave no trace. Doing it again with the same ids adds nothing.

    Returns what is to be announced of it, by workspace, where somebody asks.
    """
    await db.execute(_BY_KEY)
    values = {"arrivals": orjson.dumps(arrivals).decode()}
    here = {"workspaces": [*{each.workspace_id for each in arrivals}], "names": _NAMES}
    asked = set((await db.execute(_ASKED, here)).scalars())
    if not asked:
        await db.execute(_RECORD_SILENTLY, values)
        return {}
    kept = set((await db.execute(_RECORD_TELLING, values)).scalars())
    told: dict[UUID, list[Said]] = {}
    for each in arrivals:
        if each.id in kept and each.workspace_id in asked:
            said = of_reading(each.message_id, each.kind, each.at, each.url)
            told.setdefault(each.workspace_id, []).append(said)
    return told


class Sent(NamedTuple):
    """What a message's links are made of."""

    template_version_id: UUID
    holes: Sequence[str]  # Empty when they are no longer kept.


_SENT = text(
    """
    select m.workspace_id, m.id, m.template_version_id, m.holes
    from unnest(cast(:workspaces as uuid[]), cast(:messages as uuid[])) as asked(workspace_id, id)
    join messages m on m.workspace_id = asked.workspace_id and m.id = asked.id
    """
)


async def sent(db: AsyncSession, messages: Sequence[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], Sent]:
    """What these messages, each (workspace, message), were made of. Those that are gone are left out."""
    values = {"workspaces": [each[0] for each in messages], "messages": [each[1] for each in messages]}
    await db.execute(_BY_KEY)
    rows = await db.execute(_SENT, values)
    return {(row.workspace_id, row.id): Sent(row.template_version_id, tuple(row.holes or ())) for row in rows}


class Version(NamedTuple):
    """A template version, and what of its workspace it may print."""

    template: Template
    workspace_name: str
    postal_address: str


_VERSIONS = text(
    """
    select v.id, v.subject, v.html, v.text, v.preheader, w.name,
        coalesce(w.postal_address, '') as postal_address
    from template_versions v join workspaces w on w.id = v.workspace_id
    where (v.workspace_id, v.id) in (
        select * from unnest(cast(:workspaces as uuid[]), cast(:versions as uuid[])))
    """
)


async def versions(db: AsyncSession, wanted: Sequence[tuple[UUID, UUID]]) -> dict[UUID, Version]:
    """These template versions, each (workspace, version), by their ids."""
    values = {"workspaces": [each[0] for each in wanted], "versions": [each[1] for each in wanted]}
    rows = await db.execute(_VERSIONS, values)
    return {
        row.id: Version(
            Template(row.subject, row.html, row.text, row.preheader), row.name, row.postal_address
        )
        for row in rows
    }


_SENDER = text(
    """
    select coalesce(w.sender_name, w.name)
    from messages m join workspaces w on w.id = m.workspace_id
    where m.workspace_id = :workspace and m.id = :message
    """
)


async def sender(db: AsyncSession, workspace_id: UUID, message_id: UUID) -> str | None:
    """By which name the reader of this message knows who sent it; None when the message is gone."""
    name: str | None = await db.scalar(_SENDER, {"workspace": workspace_id, "message": message_id})
    return name

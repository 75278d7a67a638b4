"""What stays unknown: leave it, or send it again as a new line, as the workspace chose."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.messages import MessageState
from domain.outboxes import EXPRESS_OF
from models.base import entered
from models.queries import announced_messages, pokes
from models.queries.announced_messages import ENDS, Said

# A provider has spoken of it, though its sender died before it knew.
_PROVED = "m.state = 'unknown' and m.reported_at is not null"
_DECIDE = text(
    f"""
    with due as (
        select m.workspace_id, m.id, w.unknown_policy
        from messages m join workspaces w on w.id = m.workspace_id
        where m.reconcile_at <= :now
        order by m.reconcile_at limit 1000
        for update of m skip locked
    ),
    decided as (
        update messages m set reconcile_at = null,
            state = case when {_PROVED} then case when m.fate = 'failed' then 'failed' else 'accepted' end
                else m.state end,
            reason = case when {_PROVED} then null else m.reason end
        from due where m.workspace_id = due.workspace_id and m.id = due.id
        returning m.*, due.unknown_policy
    ),
    resent as (
        insert into messages (workspace_id, queue_id, source_id, source_kind, step, profile_id, occasion,
            visit, resend, channel, class, template_version_id, bare, holes, state, due_at, expires_at)
        select workspace_id,
            case when class = 'transactional' then {EXPRESS_OF.format("workspace_id")} else workspace_id end,
            source_id, source_kind, step, profile_id, occasion, visit, resend + 1, channel, class,
            template_version_id, bare,
            -- What was asked for with words of its own says the same again.
            case when profile_id is null or source_kind = 'outbox' then holes end, 'queued', :now, expires_at
        from decided where unknown_policy = 'resend' and state = 'unknown' and resend = 0
        on conflict do nothing
        returning workspace_id, queue_id, due_at, id, source_id, occasion, profile_id, bare
    ),
    files as (
        insert into attachments (workspace_id, message_id, name, content_type, content)
        select a.workspace_id, r.id, a.name, a.content_type, a.content
        from resent r
        join decided d on d.workspace_id = r.workspace_id and d.source_id = r.source_id
            and d.occasion = r.occasion and d.profile_id is not distinct from r.profile_id
            and d.bare is not distinct from r.bare
        join attachments a on a.workspace_id = d.workspace_id and a.message_id = d.id
        order by a.id
    ),
    queued as (
        insert into queue (workspace_id, queue_id, due_at, message_id)
        select workspace_id, queue_id, due_at, id from resent
    ),
    poked as (
        insert into pokes (queue_id, work, workspace_id)
        select distinct queue_id, 'send', workspace_id from resent
        on conflict (queue_id, work) do update set seq = nextval('poke_seq')
    )
    select (select count(*) from resent) as resent,
        (select count(*) from decided) - (select count(*) from resent) as left,
        (select jsonb_agg(jsonb_build_array(workspace_id, id, state)) from decided where state <> 'unknown')
            as known
    """
)


async def decide(db: AsyncSession, now: datetime) -> tuple[int, int]:
    """Decide about up to 1,000 unknown messages, as the engine. Returns how many are sent again, and left.

    A new line goes out through the workspace's outbox, with the same decision's key and `resend` + 1. If that
    becomes unknown, too, it stays so: a provider that keeps every mail and loses every answer must not get
    one a minute. What a provider has reported on was sent, and is not sent again.
    """
    row = (await db.execute(_DECIDE, {"now": now})).one()
    if row.resent:
        await pokes.wake_poker(db)
    if row.known:
        await _tell(db, row.known, now)
    return row.resent, row.left


async def _tell(db: AsyncSession, known: Iterable[tuple[str, str, str]], now: datetime) -> None:
    """Announce what became of messages of which it was not known."""
    here: dict[UUID, list[Said]] = defaultdict(list)
    for where, id_, state in known:
        here[UUID(where)].append(Said(UUID(id_), ENDS[MessageState(state)], {"corrected": True}))
    for workspace_id in sorted(here):
        async with entered(db, workspace_id):
            await announced_messages.tell_of(db, here[workspace_id], now)
    await pokes.wake_poker(db)

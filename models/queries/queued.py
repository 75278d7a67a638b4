"""The queue: messages that wait for their turn, and what a queue still holds."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import CTE, ColumnElement, Insert, literal, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain.announcements import AnnouncementType
from domain.campaigns import UNDER_WAY
from domain.messages import MessageState, Work
from models.base import Db, changed, one_of
from models.messages import Message, Queued
from models.queries import announced, announced_messages, pokes
from models.queries.ledger import BUT, Kind, Queue, spelled
from models.templates import Template, TemplateVersion


def queue_up(lines: Mapping[str, ColumnElement[Any]]) -> tuple[CTE, Insert]:
    """What writes a line of the ledger for each row of a query, and the statement that does so and gives each
    its turn in the queue.

    `lines` are the query's columns under the names of the ledger's. All have one template version, and go out
    on its template's channel, which is looked up once a statement.
    """
    channel = (
        select(Template.channel)
        .join(
            TemplateVersion,
            (TemplateVersion.workspace_id == Template.workspace_id)
            & (TemplateVersion.template_id == Template.id),
        )
        .where(
            Template.workspace_id == lines["workspace_id"],
            TemplateVersion.id == lines["template_version_id"],
        )
        .correlate(None)
        .scalar_subquery()
    )
    values = {**lines, "channel": channel, "state": literal(MessageState.QUEUED.value)}
    written = (
        insert(Message)
        .from_select([*values], select(*values.values()), include_defaults=False)
        .returning(Message.workspace_id, Message.queue_id, Message.due_at, Message.id, Message.profile_id)
        .cte("written")
    )
    turns = select(written.c.workspace_id, written.c.queue_id, written.c.due_at, written.c.id)
    return written, insert(Queued).from_select(_TURN, turns)


_TURN = ["workspace_id", "queue_id", "due_at", "message_id"]

_CANCEL = """
    with open as materialized (
        select q.ctid as turn, m.ctid as place
        from queue q
        join messages m on m.workspace_id = :workspace and m.id = q.message_id
            and m.state = 'queued' and m.due_at = q.due_at
        where q.workspace_id = :workspace and q.queue_id = :queue
        limit 20000 for update of m skip locked
    ),
    skipped as (
        update messages m set state = 'skipped', reason = 'cancelled', detail = null,
            closed_at = :now
        from open where m.workspace_id = :workspace and m.ctid = open.place
        returning open.turn{whom}
    )
    delete from queue q using skipped s where q.workspace_id = :workspace and q.ctid = s.turn
"""
_CANCEL_SILENTLY = text(_CANCEL.format(whom=""))
_CANCEL_TELLING = text(f"{_CANCEL} returning s.id".format(whom=", m.id"))


async def cancel(db: Db, queue: Queue, now: datetime) -> int:
    """Skip up to 20,000 messages that are still queued, and return how many. Call until it is 0."""
    values = {"workspace": queue.workspace_id, "queue": queue.id, "now": now}
    if not await announced.asked(db, AnnouncementType.MESSAGE_SKIPPED):
        return await changed(db, _CANCEL_SILENTLY, values)
    ids = [*(await db.execute(_CANCEL_TELLING, values)).scalars()]
    await announced_messages.skipped(db, ids, now)
    return len(ids)


_HASTEN = text(
    """
    with waiting as materialized (
        select q.ctid as turn, m.ctid as place
        from queue q
        join messages m on m.workspace_id = :workspace and m.id = q.message_id
            and m.state = 'queued' and m.due_at = q.due_at
        where q.workspace_id = :workspace and q.due_at > :now
            and q.due_at <= cast(:now as timestamptz) + interval '1 hour'
            and m.channel = :channel and m.attempts between 1 and 20 and m.reason is not null
        limit 20000 for update of m skip locked
    ),
    moved as (
        update messages m set due_at = :now
        from waiting w where m.workspace_id = :workspace and m.ctid = w.place
        returning w.turn, m.queue_id
    ),
    turns as (
        update queue q set due_at = :now from moved where q.workspace_id = :workspace and q.ctid = moved.turn
    )
    select distinct queue_id from moved
    """
)


async def hasten(db: AsyncSession, workspace_id: UUID, channel: str, now: datetime) -> None:
    """What was refused before acceptance and waits to be tried again within the hour is due now, up to 20,000
    messages: somebody has mended a provider of this channel, or lets it go.

    Those that were tried often keep the tries that they have left. A campaign, which nobody pokes, sees it
    when it looks next.
    """
    values = {"workspace": workspace_id, "channel": channel, "now": now}
    for queue_id in (await db.execute(_HASTEN, values)).scalars():
        pokes.poke(db, queue_id, Work.SEND)


# While a campaign's audience is still being frozen, somebody may have a turn at any moment.
_AHEAD = f"""
    select
        (select count(*) from queue q where q.workspace_id = :workspace and q.queue_id = :queue)
            + (select count(*) from leases l cross join lateral unnest(l.message_ids) u(id)
                cross join lateral (
                    select from messages m where m.workspace_id = :workspace and m.id = u.id
                        and m.attempt = l.id and m.closed_at is null
                    limit 1
                ) held
                where l.workspace_id = :workspace and l.queue_id = :queue)
            + (select count(*) from campaigns c where c.workspace_id = :workspace and c.id = :queue
                and c.frozen_at is null and {one_of("c.state", UNDER_WAY)}) as open,
        ({{next_due}}) as next_due,
        (select min(l.until) from leases l where l.workspace_id = :workspace and l.queue_id = :queue)
            - clock_timestamp() as lease_left
"""
_NEXT = "select min(q.due_at) from queue q where q.workspace_id = :workspace and q.queue_id = :queue"
_NEXT_BUT = f"""
    select q.due_at from queue q join messages m on m.workspace_id = :workspace and m.id = q.message_id
    where q.workspace_id = :workspace and q.queue_id = :queue{BUT} order by q.due_at limit 1
"""
_AHEAD_OF_ALL = text(_AHEAD.format(next_due=_NEXT))
_AHEAD_OF_OTHERS = text(_AHEAD.format(next_due=_NEXT_BUT))


class Ahead(NamedTuple):
    """What a queue still holds."""

    open: int  # One at least while a campaign's audience is being frozen.
    next_due_at: datetime | None  # The first queued message's; it may lie in the past.
    lease_left: float | None  # Seconds until the first lease ends, negative when it has; None without leases.


async def ahead(db: Db, queue: Queue, but: Collection[Kind] = ()) -> Ahead:
    """What it holds; messages of the kinds in `but` are not due, whenever they were."""
    values: dict[str, Any] = {"workspace": queue.workspace_id, "queue": queue.id}
    if but:
        row = (await db.execute(_AHEAD_OF_OTHERS, values | {"but": spelled(but)})).one()
    else:
        row = (await db.execute(_AHEAD_OF_ALL, values)).one()
    left = row.lease_left.total_seconds() if row.lease_left is not None else None
    return Ahead(row.open, row.next_due, left)

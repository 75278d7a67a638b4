"""Pokes: who has something due of which no workflow may know.

`poke` and `take` run behind the wall, in the transaction whose work they speak of; the rest as the engine.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.messages import SourceKind, Work
from domain.outboxes import ANNOUNCEMENTS_OF, EXPRESS_OF
from models import base
from models.base import Db, changed

Key = tuple[UUID, Work]


class Heard(NamedTuple):
    """A poke as it was told of: whose, for which work, and its number."""

    queue_id: UUID
    work: Work
    seq: int

    @property
    def key(self) -> Key:
        return self.queue_id, self.work

    @classmethod
    def of(cls, told: str) -> "Heard | None":
        """From what the bell rang; None when it is for nobody in particular. (Anyone may NOTIFY anything.)"""
        work, _, rest = told.partition(":")
        queue_id, _, seq = rest.partition(":")
        try:
            return cls(UUID(queue_id), Work(work), int(seq))
        except ValueError:
            return None


class Poked(NamedTuple):
    queue_id: UUID
    workspace_id: UUID
    work: Work
    seq: int
    kind: SourceKind
    name: str  # Empty for an outbox, which has none.
    slug: str
    state: str  # The flow's or campaign's; empty for an outbox.


def poke(db: Db, queue_id: UUID, work: Work) -> None:
    """Tell whoever works on the queue, once this transaction has committed, that there is something due.

    A slice under way hears it at once; otherwise the poker signals the workflow.
    """
    base.poke(db, queue_id, work)


_TAKE = text("select take_poke(:queue, :work)")


async def take(db: Db, queue_id: UUID, work: Work) -> None:
    """Whoever is about to look for work answers the poke by looking."""
    await db.execute(_TAKE, {"queue": queue_id, "work": work})


# Whoever holds a row is about to renew it, and will ring: nobody waits for it, however long it stays held.
_TAKE_HEARD = text(
    """
    delete from pokes p
    using (
        select p.queue_id, p.work from pokes p
        join unnest(cast(:queues as uuid[]), cast(:works as text[]), cast(:seqs as bigint[]))
            as h(queue_id, work, seq) on p.queue_id = h.queue_id and p.work = h.work and p.seq = h.seq
        for update of p skip locked
    ) heard
    where p.queue_id = heard.queue_id and p.work = heard.work
    """
)


async def take_heard(db: Db, pokes: Sequence[Heard]) -> None:
    """As the engine, for slices that are about to look. Only the number that was heard goes: one that was
    renewed stays."""
    queues, works, seqs = zip(*pokes, strict=True)
    await db.execute(_TAKE_HEARD, {"queues": [*queues], "works": [*works], "seqs": [*seqs]})


_WAITING = text(
    f"""
    select p.queue_id, p.workspace_id, p.work, p.seq,
        case when f.id is not null then 'flow' when c.id is not null then 'campaign' else 'outbox' end
            as kind,
        coalesce(f.name, c.name, '') as name, coalesce(f.slug, c.slug, '') as slug,
        coalesce(f.state, c.state, '') as state
    from pokes p
    left join flows f on f.workspace_id = p.workspace_id and f.id = p.queue_id
    left join campaigns c on c.workspace_id = p.workspace_id and c.id = p.queue_id
    where p.poked_at < clock_timestamp() - make_interval(secs => :grace)
    order by p.queue_id <> {EXPRESS_OF.format("p.workspace_id")}, p.poked_at limit :most
    """
)


async def waiting(db: AsyncSession, grace: float, most: int) -> list[Poked]:
    """Pokes that no slice under way has taken within `grace` seconds: of the express, then the oldest.

    Renewing one does not make it younger: whoever is poked every second would wait for ever behind others.
    """
    rows = await db.execute(_WAITING, {"grace": grace, "most": most})
    return [
        Poked(r.queue_id, r.workspace_id, Work(r.work), r.seq, SourceKind(r.kind), r.name, r.slug, r.state)
        for r in rows
    ]


_ANSWERED = text(
    """
    with told as materialized (
        select p.queue_id, p.work, p.seq = t.seq as same
        from pokes p
        join unnest(cast(:queues as uuid[]), cast(:works as text[]), cast(:seqs as bigint[]))
            as t(queue_id, work, seq) on p.queue_id = t.queue_id and p.work = t.work
        for update of p skip locked
    ),
    gone as (
        delete from pokes p using told t where p.queue_id = t.queue_id and p.work = t.work and t.same
    )
    update pokes p set poked_at = clock_timestamp() from told t
    where p.queue_id = t.queue_id and p.work = t.work and not t.same
    """
)


async def answered(db: Db, pokes: Sequence[Poked]) -> None:
    """Their workflows were signalled. A poke that was renewed meanwhile stays, as if it were new: only the
    number read goes."""
    queues, works, seqs = zip(*((poke.queue_id, poke.work, poke.seq) for poke in pokes), strict=True)
    await db.execute(_ANSWERED, {"queues": [*queues], "works": [*works], "seqs": [*seqs]})


# One probe of the agenda for each version and step, whoever waits there.
_OVERDUE = text(
    f"""
    insert into pokes (queue_id, workspace_id, work)
    select f.id, f.workspace_id, 'advance' from flows f
    where f.state = 'live' and exists (
        select from flow_versions v
        cross join lateral (
            select 'start' as step union all select jsonb_object_keys(v.definition -> 'steps')
        ) s
        join lateral (
            select from agenda a
            where a.workspace_id = v.workspace_id and a.version_id = v.id and a.step = s.step
                and a.due_at < :late
            limit 1
        ) a on true
        where v.workspace_id = f.workspace_id and v.flow_id = f.id
    )
    union all
    select q.id, q.workspace_id, 'send'
    from (
        select f.id, f.workspace_id from flows f where f.state = 'live'
        union all select w.id, w.id from workspaces w
        union all select {EXPRESS_OF.format("w.id")}, w.id from workspaces w
    ) q
    where exists (
        select from queue t where t.workspace_id = q.workspace_id and t.queue_id = q.id and t.due_at < :late
    ) or exists (
        select from leases l where l.workspace_id = q.workspace_id and l.queue_id = q.id
            and l.until < clock_timestamp()
    )
    union all
    -- A campaign under way has a workflow, unless somebody ended it by hand: then it is started again.
    select c.id, c.workspace_id, 'send' from campaigns c
    where c.started_at < :late and (
        c.state in ('running', 'paused')
        or c.state in ('cancelled', 'failed') and (
            exists (select from queue t where t.workspace_id = c.workspace_id and t.queue_id = c.id)
            or exists (select from leases l where l.workspace_id = c.workspace_id and l.queue_id = c.id)
        )
    )
    union all
    select {ANNOUNCEMENTS_OF.format("w.workspace_id")}, w.workspace_id, 'deliver'
    from (
        select distinct w.workspace_id from webhooks w
        where w.state = 'enabled' and (w.rests_until is null or w.rests_until < :late) and exists (
            select from webhook_deliveries d
            where d.workspace_id = w.workspace_id and d.webhook_id = w.id and d.state = 'pending'
                and d.due_at < :late and (d.leased_until is null or d.leased_until < clock_timestamp())
            limit 1
        )
    ) w
    on conflict (queue_id, work) do nothing
    """
)


async def sweep(db: Db, late: datetime) -> int:
    """Poke every flow, outbox and queue of announcements that has held something due since before `late`, and
    every campaign under way: so a lost poke or workflow costs a minute and not for ever. Returns how many."""
    found = await changed(db, _OVERDUE, {"late": late})
    if found:
        await wake_poker(db)
    return found


_WAKE = text("select pg_notify('campanile', '')")


async def wake_poker(db: Db) -> None:
    """Have the poker look at once, for pokes that were written without `poke`. No slice hears this."""
    await db.execute(_WAKE)

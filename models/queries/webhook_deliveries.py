"""Deliveries on their way: which webhooks have some that are due, the claim, and what became of a try.

Behind the wall, except for what is said to be the engine's. Business times are handed in; a lease is the
database's own time.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.deliveries import KEPT_TRIES, OVER_AFTER, Try
from models.base import Db, changed

Cursor = tuple[str, UUID]  # A due_at, as PostgreSQL writes it, and an id.
BEGINNING: Cursor = ("-infinity", UUID(int=0))
PAGE = 5_000  # Deliveries that are closed or removed at a time.
LOOKED_AT = 300  # Of those that come first, to say when a webhook is next due.


class Ready(NamedTuple):
    """A webhook for which something is due, in the order of the statement's columns."""

    id: UUID
    url: str
    secret: str  # Sealed, as is the next.
    old_secret: str | None  # None where it signs no more.
    failures: int
    resting: bool  # Its rest is over, and it was not tried since.


# What somebody claims now is not due.
FREE = "d.state = 'pending' and (d.leased_until is null or d.leased_until < clock_timestamp())"
_READY = text(
    f"""
    select w.id, w.url, w.secret, case when w.old_secret_until > :now then w.old_secret end, w.failures,
        w.rests_until is not null
    from webhooks w
    where w.workspace_id = :workspace and w.state = 'enabled'
        and (w.rests_until is null or w.rests_until <= :now)
        and exists (
            select from webhook_deliveries d
            where d.workspace_id = :workspace and d.webhook_id = w.id and d.due_at <= :now and {FREE}
            limit 1
        )
    order by w.id
    """
)


async def ready(db: Db, workspace_id: UUID, now: datetime) -> list[Ready]:
    """The webhooks of the workspace that may be told something now."""
    return [Ready(*row) for row in await db.execute(_READY, {"workspace": workspace_id, "now": now})]


class Claimed(NamedTuple):
    """A delivery under our lease, in the order of the claim's columns."""

    id: UUID
    event_type: str
    body: str
    attempts: int  # Before this one.
    began: datetime  # When its days of tries began.


# Bodies differ in size by a factor of a thousand: a claim holds so many bytes of them, and one at least.
_CLAIM = text(
    f"""
    with due as materialized (
        select d.id, d.due_at, octet_length(d.body) as size
        from webhook_deliveries d
        where d.workspace_id = :workspace and d.webhook_id = :webhook and d.due_at <= :now
            and (d.due_at, d.id) > (cast(:after_due as timestamptz), :after_id) and {FREE}
            and exists (
                select from webhooks w
                where w.workspace_id = :workspace and w.id = :webhook and w.state = 'enabled'
                    and (w.rests_until is null or w.rests_until <= :now)
            )
        order by d.due_at, d.id
        limit :most
        for update of d skip locked
    ),
    sized as materialized (
        select id, due_at, sum(size) over (order by due_at, id) - size as before from due
    ),
    taken as (
        update webhook_deliveries d
        set attempt = :attempt, leased_until = clock_timestamp() + make_interval(secs => :lease)
        from sized s
        where d.workspace_id = :workspace and d.id = s.id and s.before < :most_bytes
        returning d.id, d.event_type, d.body, d.attempts, coalesce(d.replayed_at, d.created_at), d.due_at
    )
    select t.*, cast(t.due_at as text) as due from taken t order by t.due_at, t.id
    """
)


async def claim(
    db: Db,
    workspace_id: UUID,
    webhook_id: UUID,
    attempt: UUID,
    now: datetime,
    *,
    lease: float,
    most: int,
    most_bytes: int,
    after: Cursor = BEGINNING,
) -> tuple[list[Claimed], Cursor]:
    """Take up to `most` that are due, those that have waited longest first, for `lease` seconds.

    Also where the next claim may go on: what lies before was closed or is somebody's, and need not be walked.
    None of a webhook that is disabled or rests.
    """
    values = {
        "workspace": workspace_id,
        "webhook": webhook_id,
        "attempt": attempt,
        "now": now,
        "lease": lease,
        "most": most,
        "most_bytes": most_bytes,
        "after_due": after[0],
        "after_id": after[1],
    }
    rows = list(await db.execute(_CLAIM, values))
    return [Claimed(*row[:5]) for row in rows], (rows[-1][6], rows[-1][0]) if rows else BEGINNING


_LET_GO = text(
    """
    update webhook_deliveries d set attempt = null, leased_until = null
    from unnest(cast(:ids as uuid[]), cast(:attempts as uuid[])) mine(id, attempt)
    where d.workspace_id = :workspace and d.id = mine.id and d.attempt = mine.attempt
    """
)


async def let_go(db: Db, workspace_id: UUID, claimed: Sequence[tuple[UUID, UUID]]) -> None:
    """These, by id and attempt, were not tried after all: that counts for nothing."""
    ids, attempts = zip(*claimed, strict=True)
    await db.execute(_LET_GO, {"workspace": workspace_id, "ids": [*ids], "attempts": [*attempts]})


class Settled(NamedTuple):
    """What one try made of a delivery."""

    id: UUID
    attempt: UUID
    tried: Try
    due_at: datetime | None  # When it is tried again, unless that was the last time.


_SETTLE = text(
    f"""
    update webhook_deliveries d set state = s.state, attempts = d.attempts + 1, attempt = null,
        leased_until = null, due_at = coalesce(s.due_at, d.due_at),
        closed_at = case when s.state <> 'pending' then cast(:now as timestamptz) end,
        status = s.status, reason = s.reason,
        tries = case when jsonb_array_length(d.tries) < {KEPT_TRIES} then d.tries else d.tries - 0 end
            || s.try
    from jsonb_to_recordset(cast(:settled as jsonb)) as s(id uuid, attempt uuid, state text,
        due_at timestamptz, status int, reason text, try jsonb)
    where d.workspace_id = :workspace and d.id = s.id and d.attempt = s.attempt
    returning d.id
    """
)


async def settle(db: Db, workspace_id: UUID, settled: Sequence[Settled], now: datetime) -> set[UUID]:
    """Write down what became of these. Returns those that were still ours."""
    values = {"workspace": workspace_id, "settled": _as_json(settled), "now": now}
    return set((await db.execute(_SETTLE, values)).scalars())


def _as_json(settled: Sequence[Settled]) -> str:
    rows = [
        {
            "id": each.id,
            "attempt": each.attempt,
            "state": "delivered" if each.tried.delivered else "pending" if each.due_at else "failed",
            "due_at": each.due_at,
            "status": each.tried.status,
            "reason": each.tried.reason,
            "try": {
                "at": each.tried.at,
                "seconds": round(each.tried.seconds, 3),
                "status": each.tried.status,
                "reason": each.tried.reason,
                "answer": each.tried.answer,
            },
        }
        for each in settled
    ]
    return orjson.dumps(rows).decode()


class Ahead(NamedTuple):
    """What is left, in the order of the statement's columns."""

    pending: bool
    next_due_at: datetime | None  # When the first may be tried; in the past: now.
    lease_left: float | None  # Seconds until the first of somebody's leases ends.


_AHEAD = text(
    f"""
    select coalesce(bool_or(p.first is not null or p.until is not null), false),
        min(greatest(p.first, w.rests_until)),
        cast(extract(epoch from min(p.until) - clock_timestamp()) as double precision)
    from webhooks w
    cross join lateral (
        select min(due_at) filter (where leased_until is null or leased_until < clock_timestamp()) as first,
            min(leased_until) filter (where leased_until >= clock_timestamp()) as until
        from (
            select d.due_at, d.leased_until from webhook_deliveries d
            where d.workspace_id = :workspace and d.webhook_id = w.id and d.state = 'pending'
            order by d.due_at, d.id limit {LOOKED_AT}
        ) d
    ) p
    where w.workspace_id = :workspace and w.state = 'enabled'
    """
)


async def ahead(db: Db, workspace_id: UUID) -> Ahead:
    """What the workspace's enabled webhooks still wait for."""
    [row] = await db.execute(_AHEAD, {"workspace": workspace_id})
    return Ahead(*row)


_DROP_OLD = text(
    f"""
    delete from webhook_deliveries where ctid = any(array(
        select d.ctid from webhook_deliveries d
        where d.created_at < :before and (d.closed_at < :before
            or d.closed_at is null and greatest(d.created_at, d.replayed_at) < :forgotten)
        limit {2 * PAGE}
    ))
    """
)


async def drop_old(db: AsyncSession, before: datetime, now: datetime) -> int:
    """Remove some of what was closed before then, and what nobody would ever try: not what still has its days
    of tries. As the engine. Returns how many."""
    forgotten = min(before, now - OVER_AFTER)
    return await changed(db, _DROP_OLD, {"before": before, "forgotten": forgotten})

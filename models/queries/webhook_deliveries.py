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

from domain.deliveries import (
    FAILED_FOR_DAYS,
    FIRST_REST,
    GONE,
    HELD_TOO_LONG,
    IN_A_ROW,
    KEPT_TRIES,
    LONGEST_REST,
    WAS_DISABLED,
    Health,
    Try,
)
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
_FREE = "d.state = 'pending' and (d.leased_until is null or d.leased_until < clock_timestamp())"
_READY = text(
    f"""
    select w.id, w.url, w.secret, case when w.old_secret_until > :now then w.old_secret end, w.failures,
        w.rests_until is not null
    from webhooks w
    where w.workspace_id = :workspace and w.state = 'enabled'
        and (w.rests_until is null or w.rests_until <= :now)
        and exists (
            select from webhook_deliveries d
            where d.workspace_id = :workspace and d.webhook_id = w.id and d.due_at <= :now and {_FREE}
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
            and (d.due_at, d.id) > (cast(:after_due as timestamptz), :after_id) and {_FREE}
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


# A rest is twice as long as the one before, after which the webhook was tried again. Whoever rests already is
# not made to rest longer by those that were on their way.
_FARED = text(
    f"""
    with fared as (
        select w.id, h.failures, h.rest,
            case when h.good then h.failures else w.failures + h.failures end as in_a_row,
            case when h.failures = 0 then null when h.good then cast(:now as timestamptz)
                else coalesce(w.failing_since, :now) end as since,
            case when h.good or w.rests_until is null then 1 else w.rests + 1 end as nth,
            case when not h.good and w.rests_until > :now then w.rests_until end as resting
        from jsonb_to_recordset(cast(:healths as jsonb))
            as h(webhook_id uuid, good boolean, failures int, rest double precision)
        join webhooks w on w.workspace_id = :workspace and w.id = h.webhook_id
        where h.failures > 0 or w.failures > 0 or w.failing_since is not null or w.rests_until is not null
        order by w.id
        for no key update of w
    ),
    rested as (
        select f.*, greatest(
            f.resting,
            case when f.resting is null and f.in_a_row >= {IN_A_ROW} then cast(:now as timestamptz)
                + make_interval(
                    secs => least({LONGEST_REST}, {FIRST_REST} * power(2, least(f.nth, 12) - 1))
                ) end,
            cast(:now as timestamptz) + make_interval(secs => f.rest)
        ) as rests_until
        from fared f
    )
    update webhooks w set failures = r.in_a_row, failing_since = r.since,
        rests_until = case when r.failures > 0 then r.rests_until end,
        rests = case when r.failures > 0 and r.rests_until is not null
            then case when r.resting is null then r.nth else w.rests end else 0 end
    from rested r
    where w.workspace_id = :workspace and w.id = r.id
    returning w.id, w.failures, w.failing_since, w.rests_until
    """
)


class Fared(NamedTuple):
    """How a webhook is doing now that some tries were counted, in the order of the statement's columns."""

    id: UUID
    failures: int
    failing_since: datetime | None
    rests_until: datetime | None


async def fared(db: Db, workspace_id: UUID, healths: Sequence[Health], now: datetime) -> dict[UUID, Fared]:
    """Count these, and let those that fail again and again rest. Returns those that fail or did so before."""
    rows = [
        {"webhook_id": each.webhook_id, "good": each.good, "failures": each.failures, "rest": each.rest}
        for each in healths
    ]
    values = {"workspace": workspace_id, "healths": orjson.dumps(rows).decode(), "now": now}
    return {row[0]: Fared(*row) for row in await db.execute(_FARED, values)}


class Disabled(NamedTuple):
    """A webhook that was disabled just now, in the order of the statement's columns."""

    id: UUID
    name: str
    url: str
    reason: str
    failing_since: datetime | None


_DISABLE = text(
    """
    update webhooks w set state = 'disabled', disabled_reason = d.reason, disabled_at = :now,
        alerted_at = null, rests_until = null, updated_at = clock_timestamp()
    from unnest(cast(:ids as uuid[]), cast(:reasons as text[])) d(id, reason)
    where w.workspace_id = :workspace and w.id = d.id and w.state = 'enabled'
    returning w.id, w.name, w.url, w.disabled_reason, w.failing_since
    """
)


async def disable(db: Db, workspace_id: UUID, reasons: dict[UUID, str], now: datetime) -> list[Disabled]:
    """Disable these, which `fared` has locked. What is on its way there is for `close_stranded`."""
    values = {"workspace": workspace_id, "ids": [*reasons], "reasons": [*reasons.values()], "now": now}
    return [Disabled(*row) for row in await db.execute(_DISABLE, values)]


_CLOSE = """
    with done as (
        select d.id from webhooks w
        cross join lateral (
            select d.id from webhook_deliveries d
            where d.workspace_id = :workspace and d.webhook_id = w.id and d.state = 'pending'{those}
            order by d.due_at, d.id limit {page} for update skip locked
        ) d
        where w.workspace_id = :workspace and {whose}
    )
    update webhook_deliveries d set state = 'failed', closed_at = :now, reason = :reason, attempt = null,
        leased_until = null
    from done where d.workspace_id = :workspace and d.id = done.id
    returning d.id, d.webhook_id, d.event_type
"""
_STRANDED = text(_CLOSE.format(whose="w.state = 'disabled'", those="", page=PAGE))
# Those that were tried at last are closed by that. These had no turn for days, since their webhook rests.
_EXPIRED = text(
    _CLOSE.format(
        whose=f"w.state = 'enabled' and w.failures >= {IN_A_ROW}",
        those=f" and d.due_at <= :now and coalesce(d.replayed_at, d.created_at) < :before and {_FREE}",
        page=PAGE,
    )
)


class GivenUp(NamedTuple):
    """A delivery that was closed without another try."""

    id: UUID
    webhook_id: UUID
    event_type: str


async def close_stranded(db: Db, workspace_id: UUID, now: datetime) -> list[GivenUp]:
    """Close some of what is on its way to disabled webhooks. It can be replayed once they are enabled."""
    values = {"workspace": workspace_id, "now": now, "reason": WAS_DISABLED}
    return [GivenUp(*row) for row in await db.execute(_STRANDED, values)]


async def close_expired(db: Db, workspace_id: UUID, now: datetime, before: datetime) -> list[GivenUp]:
    """Close some of what failing webhooks have held up since before then."""
    values = {"workspace": workspace_id, "now": now, "before": before, "reason": HELD_TOO_LONG}
    return [GivenUp(*row) for row in await db.execute(_EXPIRED, values)]


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


class Alarm(NamedTuple):
    """A webhook that we disabled, of which nobody was told, and who is to be."""

    workspace_id: UUID
    id: UUID
    workspace: str
    name: str
    reason: str
    addresses: list[str]  # Of owners and admins.


_SILENT = text(
    """
    select h.workspace_id, h.id, w.name, h.name, h.disabled_reason, array(
        select u.email from memberships m join users u on u.id = m.user_id
        where m.workspace_id = h.workspace_id and m.role in ('owner', 'admin') order by u.email
    )
    from (
        select * from webhooks
        where state = 'disabled' and alerted_at is null
            and disabled_reason = any(cast(:reasons as text[]))
        order by disabled_at limit 20 for no key update skip locked
    ) h
    join workspaces w on w.id = h.workspace_id
    """
)
_TOLD = text(
    """
    update webhooks w set alerted_at = :now
    from unnest(cast(:workspaces as uuid[]), cast(:ids as uuid[])) told(workspace_id, id)
    where w.workspace_id = told.workspace_id and w.id = told.id
    """
)


async def silent(db: Db) -> list[Alarm]:
    """Webhooks that failed for days or are gone, of which nobody was told, held for this transaction. As the
    engine."""
    return [Alarm(*row) for row in await db.execute(_SILENT, {"reasons": [GONE, FAILED_FOR_DAYS]})]


async def told(db: Db, alarms: Sequence[Alarm], now: datetime) -> None:
    """They were told. As the engine."""
    values = {"workspaces": [each.workspace_id for each in alarms], "ids": [each.id for each in alarms]}
    await db.execute(_TOLD, {**values, "now": now})


_DROP_OLD = text(
    f"""
    delete from webhook_deliveries where ctid = any(array(
        select d.ctid from webhook_deliveries d
        where d.created_at < :before and (d.closed_at is null or d.closed_at < :before)
        limit {2 * PAGE}
    ))
    """
)


async def drop_old(db: AsyncSession, before: datetime) -> int:
    """Remove some of what was closed before then, and what nobody would ever try. As the engine. Returns how
    many."""
    return await changed(db, _DROP_OLD, {"before": before})

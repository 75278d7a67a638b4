"""How a workspace's webhooks fare: those that fail rest, and in the end are disabled.

Behind the wall, except for what is said to be the engine's.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import text

from domain.deliveries import (
    FAILED_FOR_DAYS,
    FIRST_REST,
    GONE,
    HELD_TOO_LONG,
    IN_A_ROW,
    LONGEST_REST,
    WAS_DISABLED,
    Health,
)
from models.base import Db
from models.queries.webhook_deliveries import FREE, PAGE

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


_OFF = text(
    """
    select w.id from webhooks w
    where w.workspace_id = :workspace and w.id = :webhook and w.state = 'disabled'
    """
)


async def off(db: Db, workspace_id: UUID, webhook_id: UUID) -> bool:
    """Whether this webhook is disabled."""
    return bool([*await db.execute(_OFF, {"workspace": workspace_id, "webhook": webhook_id})])


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
        those=f" and d.due_at <= :now and coalesce(d.replayed_at, d.created_at) < :before and {FREE}",
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

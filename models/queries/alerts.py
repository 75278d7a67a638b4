"""Alerts: failures that nobody was told of are counted by their kind, and told of as digests.

`due` spans workspaces, as the engine; the rest runs behind the wall, one workspace in a transaction.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import text

from domain.alerts import MOST_KINDS, PAUSES, QUIET, SAMPLES
from domain.failures import kind_of
from models.base import Db, changed

MOST = 20_000  # Failures that are counted in one transaction.

_DUE = text(
    """
    select workspace_id, min(at) from (
        select f.workspace_id, to_timestamp(0) as at from failure_logs f
        where f.alert_id is null and not f.quiet
        union
        select a.workspace_id, a.next_at from alerts a where a.closed_at is null and a.untold > 0
        union
        select a.workspace_id, a.last_at + cast(:quiet as interval) from alerts a where a.closed_at is null
    ) soon
    group by workspace_id
    """
)


async def due(db: Db) -> list[tuple[UUID, datetime]]:
    """Workspaces that have something to be told of or closed, and when. As the engine."""
    return [(row[0], row[1]) for row in await db.execute(_DUE, {"quiet": QUIET})]


_LOCK = text("select pg_try_advisory_xact_lock(hashtextextended('alerts of ' || :workspace, 0))")


async def lock(db: Db, workspace_id: UUID) -> bool:
    """Whether nobody else tells of this workspace's failures, until the end of the transaction."""
    return bool(next(iter((await db.execute(_LOCK, {"workspace": str(workspace_id)})).scalars())))


# The oldest first, which is what their ids count by.
_GROUPS = text(
    f"""
    with untold as (
        select * from failure_logs f
        where f.workspace_id = :workspace and f.alert_id is null and not f.quiet
        order by f.id limit {MOST}
    )
    select u.kind, u.subject, u.category, min(u.source_kind), u.source_id, u.provider_id, min(u.at),
        max(u.at), max(u.id::text)
    from untold u group by u.kind, u.subject, u.category, u.source_id, u.provider_id
    """
)
_OPEN = text("select a.kind, a.id from alerts a where a.workspace_id = :workspace and a.closed_at is null")
_BEGIN = text(
    """
    insert into alerts (workspace_id, kind, subject, category, source_kind, source_id, provider_id, first_at,
        last_at, next_at)
    select :workspace, b.kind, b.subject, b.category, b.source_kind, b.source_id, b.provider_id, b.first_at,
        b.last_at, :now
    from jsonb_to_recordset(cast(:alerts as jsonb)) as b(kind text, subject text, category text,
        source_kind text, source_id uuid, provider_id uuid, first_at timestamptz, last_at timestamptz)
    on conflict (workspace_id, kind) where closed_at is null do nothing
    """
)
_COUNT = text(
    """
    with counted as (
        update failure_logs f set alert_id = k.alert_id
        from unnest(cast(:kinds as text[]), cast(:alerts as uuid[])) k(kind, alert_id)
        where f.workspace_id = :workspace and f.alert_id is null and not f.quiet
            and f.id <= cast(:last as uuid) and f.kind = k.kind
        returning f.alert_id, f.at
    ),
    summed as (
        select c.alert_id, count(*) as n, min(c.at) as first_at, max(c.at) as last_at
        from counted c group by c.alert_id
    )
    update alerts a set failures = a.failures + s.n, untold = a.untold + s.n,
        first_at = least(a.first_at, s.first_at), last_at = greatest(a.last_at, s.last_at)
    from summed s
    where a.workspace_id = :workspace and a.id = s.alert_id
    """
)


async def count(db: Db, workspace_id: UUID, now: datetime) -> bool:
    """Have failures of which nobody was told counted by an alert each. Whether there may be more of them.

    Kinds are as many as there are campaigns, and as providers have words: where too many are open, those of
    one subject and category are counted together.
    """
    here = {"workspace": workspace_id}
    groups = (await db.execute(_GROUPS, here)).all()
    if not groups:
        return False
    alerts: dict[str, UUID] = {row[0]: row[1] for row in await db.execute(_OPEN, here)}
    room = MOST_KINDS - len(alerts)
    begun: dict[str, dict[str, Any]] = {}
    counted_by: dict[str, str] = {}
    for kind, subject, category, source_kind, source_id, provider_id, first_at, last_at, _ in groups:
        into = kind
        if kind not in alerts:
            together = len(begun) >= room
            if together:
                into = kind_of(subject, category)
            if into not in alerts and into not in begun:
                begun[into] = {
                    "kind": into,
                    "subject": subject,
                    "category": category,
                    "source_kind": None if together else source_kind,
                    "source_id": None if together else source_id,
                    "provider_id": None if together else provider_id,
                    "first_at": first_at,
                    "last_at": last_at,
                }
        counted_by[kind] = into
    if begun:
        await db.execute(_BEGIN, {**here, "now": now, "alerts": orjson.dumps([*begun.values()]).decode()})
        alerts = {row[0]: row[1] for row in await db.execute(_OPEN, here)}
    values = {
        "kinds": [*counted_by],
        "alerts": [alerts[into] for into in counted_by.values()],
        "last": max(row[-1] for row in groups),
    }
    await db.execute(_COUNT, here | values)
    return True


class Digest(NamedTuple):
    """What there is to tell of one kind."""

    id: UUID
    subject: str
    category: str
    source_kind: str | None
    source_id: UUID | None
    source_name: str | None
    provider_id: UUID | None
    provider_name: str | None
    failures: int
    untold: int
    digests: int  # Before this one.
    first_at: datetime
    last_at: datetime
    reason: str  # Of the last one, as is what follows.
    remedy: str
    retryable: bool
    samples: list[Any]  # Up to five of the newest, as JSON: failure_id, at, subject_id, reason.


_DIGESTS = text(
    f"""
    select a.id, a.subject, a.category, a.source_kind, a.source_id,
        coalesce(c.name, fl.name, w.name), a.provider_id, p.name, a.failures, a.untold, a.digests,
        a.first_at, a.last_at, s.reason, s.remedy, s.retryable, s.samples
    from alerts a
    left join campaigns c on c.workspace_id = :workspace and c.id = a.source_id
    left join flows fl on fl.workspace_id = :workspace and fl.id = a.source_id
    left join webhooks w on w.workspace_id = :workspace and w.id = a.source_id
    left join providers p on p.workspace_id = :workspace and p.id = a.provider_id
    cross join lateral (
        select (array_agg(f.reason order by f.id desc))[1] as reason,
            (array_agg(f.remedy order by f.id desc))[1] as remedy,
            bool_or(f.retryable) as retryable,
            jsonb_agg(jsonb_build_object('failure_id', f.id, 'at', f.at, 'subject_id', f.subject_id,
                'reason', f.reason) order by f.id desc) as samples
        from (
            select * from failure_logs f
            where f.workspace_id = :workspace and f.alert_id = a.id order by f.id desc limit {SAMPLES}
        ) f
    ) s
    where a.workspace_id = :workspace and a.closed_at is null and a.untold > 0 and a.next_at <= :now
        and s.reason is not null
    order by a.id
    """
)


async def digests(db: Db, workspace_id: UUID, now: datetime) -> list[Digest]:
    """What is to be told of now."""
    rows = await db.execute(_DIGESTS, {"workspace": workspace_id, "now": now})
    return [Digest(*row) for row in rows]


_TOLD = text(
    """
    update alerts a set untold = 0, digests = a.digests + 1, told_at = :now,
        next_at = cast(:now as timestamptz)
            + (cast(:pauses as interval[]))[least(a.digests + 1, cardinality(cast(:pauses as interval[])))]
    where a.workspace_id = :workspace and a.id = any(cast(:ids as uuid[]))
    """
)
_CLOSE = text(
    """
    update alerts a set closed_at = :now
    where a.workspace_id = :workspace and a.closed_at is null and a.untold = 0
        and a.last_at <= cast(:now as timestamptz) - cast(:quiet as interval)
    """
)


async def told(db: Db, workspace_id: UUID, ids: Sequence[UUID], now: datetime) -> None:
    """These digests go out with this transaction. What has been quiet for an hour is over."""
    here = {"workspace": workspace_id, "now": now}
    if ids:
        await db.execute(_TOLD, here | {"ids": [*ids], "pauses": [*PAUSES]})
    await db.execute(_CLOSE, here | {"quiet": QUIET})


_DROP_OLD = text(
    """
    delete from failure_logs where ctid = any(array(
        select f.ctid from failure_logs f where f.at < :before order by f.at limit 5000
    ))
    """
)
_DROP_OLD_ALERTS = text("delete from alerts a where a.last_at < :before and a.closed_at is not null")


async def drop_old(db: Db, before: datetime) -> int:
    """Forget up to 5,000 failures from before, and then what told of them. As the engine.

    Returns how many failures.
    """
    dropped = await changed(db, _DROP_OLD, {"before": before})
    if not dropped:
        await db.execute(_DROP_OLD_ALERTS, {"before": before})
    return dropped

"""Events as they are kept: written from the pump's `taken`, catalogued, and dropped month by month."""

import random
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from domain.events import ORDER_PLACED, EventKind
from models.base import Db, changed
from models.queries.attributes import type_of

MOST_NAMES = 5_000  # In a workspace's catalogue. Events of other names are kept all the same.
# Of one batch in ten, and of each with an event never seen before, so many of each name are looked at for
# their properties: to look at all costs as much as to look up their people.
SAMPLED = 10
SAMPLES = 0.1
MONTHS_AHEAD = 3

# An event is what somebody did; identifies and orders show on the profile by what they led to.
EVENTS = (EventKind.TRACK, EventKind.PAGE, EventKind.SCREEN, EventKind.GROUP)
IS_EVENT = f"t.kind in ({', '.join(repr(str(kind)) for kind in EVENTS)})"

_KEEP = text(
    f"""
    insert into events (workspace_id, id, received_at, profile_id, kind, name, occurred_at, historical,
        message_id, properties, context)
    select :workspace, t.id, t.received_at, t.profile_id, t.kind, t.name, t.occurred_at, t.historical,
        t.message_id, coalesce(t.properties, '{{}}'), t.context
    from taken t where {IS_EVENT}
    """
)
_HAPPEN = text(
    f"""
    insert into happened (n, event_id, profile_id, name, properties, occurred_at, hops)
    select t.n, t.id, t.profile_id, t.name, coalesce(t.properties, '{{}}'), t.occurred_at, 0
    from taken t where {IS_EVENT} and not t.historical
    """
)
_HAPPEN_ORDERS = text(
    f"""
    insert into happened (n, event_id, profile_id, name, properties, occurred_at, hops)
    select t.n, t.id, t.profile_id, '{ORDER_PLACED}',
        jsonb_build_object('order', t.properties ->> 'key', 'total', t.properties ->> 'total',
            'currency', t.properties ->> 'currency', 'quantity', t.properties -> 'quantity'),
        t.occurred_at, 0
    from taken t where t.id = any(cast(:orders as uuid[]))
    """
)
_COUNT = text(
    f"""
    insert into event_names as e (workspace_id, name, kind, volume, first_seen_at, last_seen_at)
    select :workspace, c.name, c.kind, c.volume, c.first_at, c.last_at
    from (
        select c.*, k.known, count(*) filter (where k.known is null) over (order by c.name) as nth_new
        from (
            select t.name, min(t.kind) as kind, count(*) as volume, min(t.received_at) as first_at,
                max(t.received_at) as last_at
            from taken t where {IS_EVENT}
            group by t.name
        ) c
        left join lateral (
            select true as known from event_names k
            where k.workspace_id = :workspace and k.name = c.name limit 1
        ) k on true
    ) c
    where c.known or c.nth_new
        + (select count(*) from event_names k where k.workspace_id = :workspace) <= {MOST_NAMES}
    order by c.name
    on conflict (workspace_id, name) do update
        set volume = e.volume + excluded.volume,
            last_seen_at = greatest(e.last_seen_at, excluded.last_seen_at)
    returning old.name is null
    """
)


_DESCRIBE = text(
    f"""
    with sample as materialized (
        select t.name, p.key, {type_of("p.value")} as type, count(*) as times
        from (select t.*, row_number() over (partition by t.name) as nth from taken t where {IS_EVENT}) t
        cross join lateral jsonb_each(t.properties) p
        where t.nth <= {SAMPLED} and p.value <> 'null'
        group by 1, 2, 3
    )
    update event_names e set properties = (
        select jsonb_object_agg(key, types) from (
            select key, jsonb_object_agg(type, times) as types from (
                select key, type, sum(times)::bigint as times from (
                    select p.key, k.key as type, k.value::bigint as times
                    from jsonb_each(e.properties) p cross join lateral jsonb_each_text(p.value) k
                    union all
                    select s.key, s.type, s.times from sample s where s.name = e.name
                ) both_of group by key, type
            ) summed group by key order by key limit 200
        ) described
    )
    from (select distinct name from sample) seen
    where e.workspace_id = :workspace and e.name = seen.name
    """
)


async def keep(db: Db, workspace_id: UUID) -> int:
    """Write the batch's events, hand the live ones on as `happened`, and count them in the catalogue.

    Returns how many were written.
    """
    here = {"workspace": workspace_id}
    kept = await changed(db, _KEEP, here)
    if kept:
        await db.execute(_HAPPEN)
        any_new = any([*(await db.execute(_COUNT, here)).scalars()])
        if any_new or random.random() < SAMPLES:
            await db.execute(_DESCRIBE, here)
    return kept


async def happen(db: Db, orders: Sequence[UUID]) -> None:
    """Flows hear of these new orders, each named by the arrival that it came with."""
    await db.execute(_HAPPEN_ORDERS, {"orders": [*orders]})


_MAKE_MONTHS = text(f"select make_event_months(:now, {MONTHS_AHEAD})")
_DROP_MONTHS = text("select drop_event_months(:before)")
_FORGET_SEEN = text("delete from seen where at < :before")
_FORGET_REFUSALS = text("delete from refusals where at < :before")
_FORGET_REPLAYED = text("delete from quarantine where at < :before")


async def look_ahead(db: Db, now: datetime) -> None:
    """Make the partitions of this month and the next ones. As the engine; safe to call at any time."""
    await db.execute(_MAKE_MONTHS, {"now": now})


_WAS_LONG_AGO = text(
    "select last_analyze is null or last_analyze < :before from pg_stat_user_tables"
    " where relid = 'events'::regclass"
)
_LOOK_AT = text("analyze events")


async def describe(db: Db, before: datetime) -> None:
    """Let the planner know what is in the events, unless it was told since. As the engine.

    The server does so by itself for each month, and never for all of them together.
    """
    if next((await db.execute(_WAS_LONG_AGO, {"before": before})).scalars()):
        await db.execute(_LOOK_AT)


_HOLD = text("lock table only events in row exclusive mode")


async def hold(db: Db) -> None:
    """Keep the months from being dropped until we commit.

    Who drops them then wants segments: so whoever holds a segment and wants events takes this before.
    """
    await db.execute(_HOLD)


_ASK_READERS_AGAIN = text(
    """
    with readers as (
        select s.workspace_id, s.id from segments s
        where s.materialized_at is not null
            and exists (select from unnest(s.reads) word where starts_with(word, 'event:'))
        order by s.id for no key update
    )
    update segments s set due_at = least(s.due_at, :now), announce = false
    from readers r where s.workspace_id = r.workspace_id and s.id = r.id
    """
)


async def forget(db: Db, now: datetime, *, events: datetime, seen: datetime, refusals: datetime) -> None:
    """Drop the months of events that ended before `events`, and what else is older than it need be.

    Everybody is looked at again for the segments that ask about events. Silently: who "never bought" by what
    is still known did nothing. As the engine: of every workspace.
    """
    [dropped] = (await db.execute(_DROP_MONTHS, {"before": events})).scalars()
    if dropped:
        await db.execute(_ASK_READERS_AGAIN, {"now": now})
    await db.execute(_FORGET_SEEN, {"before": seen})
    await db.execute(_FORGET_REFUSALS, {"before": refusals})
    await db.execute(_FORGET_REPLAYED, {"before": events})

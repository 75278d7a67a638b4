"""Token buckets: how many messages may go now, handed out in bulk to whichever worker asks."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text

from models.base import Db


class Ask(NamedTuple):
    """So many tokens of a bucket that fills at a rate (a second) and holds `burst`.

    With `overdraft`, what is missing is lent, up to another `burst`: somebody waits for these messages.
    """

    wanted: int
    rate: float
    burst: float
    overdraft: bool = False


# A worker's clock that runs a little behind refills nothing, and takes nothing away; one that ran far ahead
# before is forgotten. In the order of names, so that two who take from the same buckets never wait for each
# other; and by one upsert, since whoever makes a bucket a moment before us is in no snapshot of ours.
_HAS = """least(a.burst, {bucket}.tokens
    + a.rate * greatest(extract(epoch from cast(:now as timestamptz) - {bucket}.refilled_at), 0))"""
_LEASE = text(
    f"""
    with asked as materialized (
        select * from unnest(
            cast(:names as text[]), cast(:wanted as float8[]), cast(:rates as float8[]),
            cast(:bursts as float8[]), cast(:floors as float8[])
        ) a(name, wanted, rate, burst, floor)
    )
    insert into buckets as b (workspace_id, name, tokens, refilled_at)
    select :workspace, name, burst - least(wanted, floor(burst)), :now from asked order by name
    on conflict (workspace_id, name) do update set
        refilled_at = case
            when b.refilled_at > cast(:now as timestamptz) + interval '1 minute' then :now
            else greatest(b.refilled_at, :now) end,
        tokens = (
            select h.has - greatest(least(a.wanted, floor(h.has - a.floor)), 0)
            from asked a, lateral (select {_HAS.format(bucket="b")} as has) h where a.name = b.name)
    returning b.name, (
        select case when old.name is null then least(a.wanted, floor(a.burst))
            else greatest(least(a.wanted, floor(h.has - a.floor)), 0) end
        from asked a, lateral (select {_HAS.format(bucket="old")} as has) h where a.name = b.name)
    """
)


async def lease(db: Db, workspace_id: UUID, asked: Mapping[str, Ask], now: datetime) -> dict[str, int]:
    """Take tokens from these buckets, by name: as many as there are, up to what is wanted of each."""
    rows = await db.execute(
        _LEASE,
        {
            "workspace": workspace_id,
            "names": [*asked],
            "wanted": [float(each.wanted) for each in asked.values()],
            "rates": [each.rate for each in asked.values()],
            "bursts": [each.burst for each in asked.values()],
            "floors": [-each.burst if each.overdraft else 0.0 for each in asked.values()],
            "now": now,
        },
    )
    return {name: int(n) for name, n in rows}


_LEASE_DAY = text(
    """
    with day as (
        insert into provider_days as d (workspace_id, provider_id, day, leased)
        values (:workspace, :provider, :day, least(:wanted, :allowed))
        on conflict (workspace_id, provider_id, day) do update
            set leased = d.leased + greatest(least(:wanted, :allowed - d.leased), 0)
        returning old.leased as was, new.leased as becomes
    )
    select becomes - coalesce(was, 0) from day
    """
)


async def lease_day(
    db: Db, workspace_id: UUID, provider_id: UUID, day: date, wanted: int, allowed: int
) -> int:
    """Take from what a warm-up allows on a day."""
    values = {"workspace": workspace_id, "provider": provider_id, "day": day}
    rows = await db.execute(_LEASE_DAY, values | {"wanted": wanted, "allowed": allowed})
    return int(next(iter(rows.scalars())))


_COUNT = text(
    """
    insert into provider_days as d
        (workspace_id, provider_id, day, accepted, rejected, retried, unknown)
    values (:workspace, :provider, :day, :accepted, :rejected, :retried, :unknown)
    on conflict (workspace_id, provider_id, day) do update set
        accepted = d.accepted + excluded.accepted, rejected = d.rejected + excluded.rejected,
        retried = d.retried + excluded.retried, unknown = d.unknown + excluded.unknown
    """
)


class Counts(NamedTuple):
    """Outcomes of messages that a provider was offered."""

    accepted: int = 0
    rejected: int = 0
    retried: int = 0
    unknown: int = 0


async def count(db: Db, workspace_id: UUID, provider_id: UUID, day: date, counts: Counts) -> None:
    """Add to what went by a provider on a day of the workspace's calendar."""
    values = {"workspace": workspace_id, "provider": provider_id, "day": day}
    await db.execute(_COUNT, values | counts._asdict())

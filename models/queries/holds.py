"""Holds: marketing that was stopped because it did harm, how it fared, and who let it go on.

Behind the wall, except for what is said to be the engine's.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.channels import Channel
from domain.errors import NotFound
from domain.holds import OVER
from domain.reports import Counts
from domain.routing import BUILT_IN
from models.base import Db
from models.reports import Delivery, Hold, HookDay

_OPEN = text("select channel from holds where workspace_id = :workspace and released_at is null")


async def open_for(db: Db, workspace_id: UUID) -> set[str]:
    """The channels on which this workspace's marketing is held."""
    return set((await db.execute(_OPEN, {"workspace": workspace_id})).scalars())


_WHY = text("select channel, reason from holds where workspace_id = :workspace and released_at is null")


async def why(db: Db, workspace_id: UUID) -> dict[str, str]:
    """The channels on which this workspace's marketing is held, and why, in a sentence."""
    rows = await db.execute(_WHY, {"workspace": workspace_id})
    return {row[0]: row[1] for row in rows}


async def page(db: AsyncSession, workspace_id: UUID, limit: int) -> Sequence[Hold]:
    """The newest first, also those that were released."""
    asked = select(Hold).where(Hold.workspace_id == workspace_id).order_by(Hold.id.desc()).limit(limit)
    return list(await db.scalars(asked))


async def days(db: AsyncSession, workspace_id: UUID, since: date) -> Sequence[Delivery]:
    """How each day's messages fared from `since` on, the newest first."""
    here = (Delivery.workspace_id == workspace_id, Delivery.day >= since)
    return list(
        await db.scalars(select(Delivery).where(*here).order_by(Delivery.day.desc(), Delivery.channel))
    )


async def hook_days(db: AsyncSession, workspace_id: UUID, since: date) -> Sequence[HookDay]:
    """What came in from each provider, by day, the newest first."""
    here = (HookDay.workspace_id == workspace_id, HookDay.day >= since)
    return list(
        await db.scalars(select(HookDay).where(*here).order_by(HookDay.day.desc(), HookDay.provider_id))
    )


_COUNT = text(
    """
    insert into deliveries as d (workspace_id, channel, day, delivered, hard, soft, complained, failed)
    select :workspace, c.channel, :day, c.delivered, c.hard, c.soft, c.complained, c.failed
    from jsonb_to_recordset(cast(:counts as jsonb))
        as c(channel text, delivered int, hard int, soft int, complained int, failed int)
    order by c.channel
    on conflict (workspace_id, channel, day) do update set
        delivered = d.delivered + excluded.delivered, hard = d.hard + excluded.hard,
        soft = d.soft + excluded.soft, complained = d.complained + excluded.complained,
        failed = d.failed + excluded.failed
    """
)
# What went by providers that never say what was delivered, such as mail servers: they say only what was not.
_SILENTLY = f"""
    select coalesce(sum(a.accepted), 0)
    from provider_days a
    left join providers p on p.workspace_id = :workspace and p.id = a.provider_id
    where a.workspace_id = :workspace and {{days}}
        and case when a.provider_id = '{BUILT_IN}' then {{channel}} = '{Channel.EMAIL}'
            else p.channel = {{channel}} and p.kind <> all(cast(:reporting as text[])) end
"""
_JUDGED = "a.day > :since and (l.judged_from is null or a.day >= l.judged_from)"
_SILENTLY_LATELY = _SILENTLY.format(channel="l.channel", days=_JUDGED)
_SILENTLY_TODAY = _SILENTLY.format(channel="h.channel", days="a.day = cast(:today as date)")
# Of a channel whose hold was released, only what came afterwards.
_LATELY = text(
    f"""
    with lately as (
        select d.channel, max(r.judged_from) as judged_from,
            sum(d.delivered) - coalesce(max((r.judged ->> 'delivered')::int), 0) as delivered,
            sum(d.hard) - coalesce(max((r.judged ->> 'hard')::int), 0) as hard,
            sum(d.soft) - coalesce(max((r.judged ->> 'soft')::int), 0) as soft,
            sum(d.complained) - coalesce(max((r.judged ->> 'complained')::int), 0) as complained,
            sum(d.failed) - coalesce(max((r.judged ->> 'failed')::int), 0) as failed
        from deliveries d
        left join lateral (
            select h.judged_from, case when h.judged_from > :since then h.judged end as judged from holds h
            where h.workspace_id = :workspace and h.channel = d.channel and h.judged_from is not null
            order by h.id desc limit 1
        ) r on true
        where d.workspace_id = :workspace and d.channel = any(cast(:channels as text[])) and d.day > :since
            and (r.judged_from is null or d.day >= r.judged_from)
        group by d.channel
    )
    select l.channel, l.delivered + ({_SILENTLY_LATELY}), l.hard, l.soft, l.complained, l.failed
    from lately l
    """
)


async def count(
    db: Db, workspace_id: UUID, counts: Mapping[str, Counts], today: date, reporting: Collection[str]
) -> dict[str, Counts]:
    """Add to today's counts by channel. Returns what lies within the time that is judged, all in all.

    What other kinds of providers than the `reporting` ones accepted is taken for delivered in there.
    """
    rows = [{"channel": channel, **_as_json(each)} for channel, each in counts.items()]
    values = {"workspace": workspace_id, "day": today, "counts": orjson.dumps(rows).decode()}
    await db.execute(_COUNT, values)
    lately = {
        "workspace": workspace_id,
        "channels": [*counts],
        "since": today - OVER,
        "reporting": [*reporting],
    }
    return {row[0]: Counts(*map(int, row[1:])) for row in await db.execute(_LATELY, lately)}


def _as_json(counts: Counts) -> dict[str, int]:
    return {
        "delivered": counts.delivered,
        "hard": counts.hard,
        "soft": counts.soft,
        "complained": counts.complained,
        "failed": counts.failed,
    }


_HOLD = text(
    """
    insert into holds (workspace_id, channel, at, reason) values (:workspace, :channel, :now, :reason)
    on conflict (workspace_id, channel) where released_at is null do nothing
    returning id
    """
)


async def hold(db: Db, workspace_id: UUID, channel: str, reason: str, now: datetime) -> bool:
    """Hold the marketing on a channel, unless it is held. Whether it is from now on."""
    values = {"workspace": workspace_id, "channel": channel, "reason": reason, "now": now}
    return next((await db.execute(_HOLD, values)).scalars(), None) is not None


_RELEASE = text(
    f"""
    update holds h set released_at = :now, released_by = :by, judged_from = cast(:today as date),
        judged = coalesce((
            select jsonb_build_object(
                'delivered', d.delivered + ({_SILENTLY_TODAY}), 'hard', d.hard, 'soft', d.soft,
                'complained', d.complained, 'failed', d.failed)
            from deliveries d
            where d.workspace_id = :workspace and d.channel = h.channel and d.day = cast(:today as date)
        ), '{{}}')
    where h.workspace_id = :workspace and h.channel = :channel and h.released_at is null
    returning h.id
    """
)


async def release(
    db: AsyncSession,
    workspace_id: UUID,
    channel: str,
    by: str,
    now: datetime,
    today: date,
    reporting: Collection[str],
) -> Hold:
    """Let marketing on a channel go on. What was counted so far, as `count` counts, is not held against it
    again.

    Raises `NotFound` when it is not held.
    """
    values = {
        "workspace": workspace_id,
        "channel": channel,
        "by": by,
        "now": now,
        "today": today,
        "reporting": [*reporting],
    }
    released = await db.scalar(_RELEASE, values)
    if released is None:
        raise NotFound(f"Marketing by {channel} is not held.")
    return (
        await db.scalars(select(Hold).where(Hold.workspace_id == workspace_id, Hold.id == released))
    ).one()


class Alarm(NamedTuple):
    """A hold of which nobody was told, and who is to be."""

    workspace_id: UUID
    id: UUID
    workspace: str
    channel: str
    reason: str
    addresses: list[str]  # Of owners and admins.


_SILENT = text(
    """
    select h.workspace_id, h.id, w.name, h.channel, h.reason, array(
        select u.email from memberships m join users u on u.id = m.user_id
        where m.workspace_id = h.workspace_id and m.role in ('owner', 'admin') order by u.email
    )
    from (
        select * from holds where alerted_at is null order by at limit 20 for update skip locked
    ) h
    join workspaces w on w.id = h.workspace_id
    """
)
_TOLD = text(
    """
    update holds h set alerted_at = :now
    from unnest(cast(:workspaces as uuid[]), cast(:ids as uuid[])) told(workspace_id, id)
    where h.workspace_id = told.workspace_id and h.id = told.id
    """
)


async def silent(db: Db) -> list[Alarm]:
    """Holds of which nobody was told, held for this transaction. As the engine."""
    return [Alarm(*row) for row in await db.execute(_SILENT)]


async def told(db: Db, alarms: Sequence[Alarm], now: datetime) -> None:
    """They were told. As the engine."""
    values = {"workspaces": [each.workspace_id for each in alarms], "ids": [each.id for each in alarms]}
    await db.execute(_TOLD, {**values, "now": now})

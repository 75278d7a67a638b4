"""Allowances in fixed windows: a window begins with the first who takes from it, and ends a period later."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import text

from models.base import Db, changed


class Taken(NamedTuple):
    granted: int  # Of those that were wanted.
    left: int  # To everybody, in this window.
    ends_at: datetime  # When the window ends, and all of the allowance is there again.


# `old` is nothing when the row is new.
_TAKE = text(
    """
    insert into rate_limits as r (name, ends_at, n)
    values (:name, :ends_at, least(cast(:wanted as int), cast(:limit as int)))
    on conflict (name) do update set
        n = case when r.ends_at > :now
            then greatest(r.n, least(r.n + cast(:wanted as int), cast(:limit as int)))
            else excluded.n end,
        ends_at = case when r.ends_at > :now then r.ends_at else excluded.ends_at end
    returning new.n - case when old.ends_at > :now then old.n else 0 end,
        greatest(cast(:limit as int) - new.n, 0), new.ends_at
    """
)


async def take(db: Db, name: str, wanted: int, limit: int, period: timedelta, now: datetime) -> Taken:
    """Take up to `wanted` of what is left of `limit` a `period`. All takers together never get more.

    They wait for each other's commits, so nothing else belongs into this transaction. As the engine's role.
    """
    values = {"name": name, "wanted": wanted, "limit": limit, "ends_at": now + period, "now": now}
    (row,) = await db.execute(_TAKE, values)
    return Taken(*row)


_GIVE_BACK = text("update rate_limits set n = greatest(n - 1, 0) where name = any(cast(:names as text[]))")


async def give_back(db: Db, names: Sequence[str]) -> None:
    """One of each of these allowances was taken for nothing."""
    await changed(db, _GIVE_BACK, {"names": [*names]})


_DROP = text("delete from rate_limits where ends_at <= :now")


async def drop_ended(db: Db, now: datetime) -> int:
    """Forget the windows that are over, across workspaces. Returns how many they were."""
    return await changed(db, _DROP, {"now": now})

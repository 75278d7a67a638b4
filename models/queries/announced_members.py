"""How people go through flows is announced: who enters, who goes on to another step, who is through."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from domain.announcements import AnnouncementType
from domain.flows import START
from models.base import HERE, Db
from models.queries.announced import asked, instant, tell, telling, who

_T = AnnouncementType
ENTERED, MOVED, FINISHED = _T.FLOW_ENTERED, _T.FLOW_MOVED, _T.FLOW_FINISHED


def _data(step: str, come_from: str, why: str, outcome: str) -> str:
    return f"""
        jsonb_build_object(
            'flow_id', e.flow_id, 'flow', left(f.name, 1000), 'version_id', e.version_id,
            'enrollment_id', e.id, 'profile_id', who.id, 'user_id', yours.value,
            'step', left({step}, 200), 'from_step', left({come_from}, 200), 'why', left({why}, 1000),
            'outcome', left({outcome}, 200), 'entry', left(e.entry, 1000),
            'entered_at', {instant("e.entered_at")}, 'at', cast(:at as text)
        ) as data
    """


_THEM = f"""
    from unnest(cast(:ids as uuid[])) with ordinality m(id, nth)
    join enrollments e on e.workspace_id = {HERE} and e.id = m.id
    join flows f on f.workspace_id = {HERE} and f.id = e.flow_id
    {who("e.profile_id")}
"""
_FROM, _WHY = "e.history -> -1 ->> 1", "e.history -> -1 ->> 3"  # Of the last move.
_AT_START = f"'{START}'"
_ENTERED = telling(f"select m.nth, '{ENTERED}' as type, {_data(_AT_START, 'null', 'null', 'null')} {_THEM}")
_MOVED = telling(
    f"""
    select m.nth, case when e.ended_at is null then '{MOVED}' else '{FINISHED}' end as type,
        {_data("e.step", _FROM, _WHY, "e.outcome")}
    {_THEM}
    """
)
_ENDED = telling(
    f"select m.nth, '{FINISHED}' as type, {_data('e.step', 'e.step', 'null', 'e.outcome')} {_THEM}"
)
_NEWCOMERS = text(
    f"""
    select n.enrollment_id, e.step <> '{START}' from newcomers n
    join enrollments e on e.workspace_id = {HERE} and e.id = n.enrollment_id
    order by n.n
    """
)


async def entered(db: Db, ids: Sequence[UUID], now: datetime) -> int:
    """Announce that these journeys have begun."""
    return await tell(db, _ENTERED, now, {"ids": [*ids]}) if ids else 0


async def moved(db: Db, ids: Sequence[UUID], now: datetime) -> int:
    """Announce the last move of these journeys, which may have been the one to the end."""
    return await tell(db, _MOVED, now, {"ids": [*ids]}) if ids else 0


async def ended(db: Db, ids: Sequence[UUID], now: datetime) -> int:
    """Announce that these journeys were ended where they were."""
    return await tell(db, _ENDED, now, {"ids": [*ids]}) if ids else 0


async def newcomers(db: Db, now: datetime) -> None:
    """Announce who entered by what happened in this transaction, and who is at a first step by that."""
    wanted = await asked(db, ENTERED, MOVED)
    if not wanted:
        return
    came = [*await db.execute(_NEWCOMERS)]
    if ENTERED in wanted:
        await entered(db, [id_ for id_, _ in came], now)
    if MOVED in wanted:
        await moved(db, [id_ for id_, begun in came if begun], now)

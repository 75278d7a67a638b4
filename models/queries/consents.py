"""What somebody allowed and denied over time: for a channel, and for a topic that people choose among.

What holds now for a channel is written by `models.queries.profiles`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import NotFound
from domain.profiles import ConsentState, is_news
from models.queries import follow_ups
from models.queries.profiles import HERE
from models.queries.profiles_found import BEYOND_ALL


class Said(NamedTuple):
    """A consent, of now or of before."""

    id: UUID
    purpose: str
    topic_id: UUID | None
    state: str
    source: str
    at: datetime
    ended_at: datetime | None


def _each(columns: str, tables: str) -> list[str]:
    """What holds and what held each have an index of their own."""
    return [
        f"""
        (select c.id, {columns}, c.state, c.source, c.at, c.ended_at from {tables}
        where c.workspace_id = {HERE} and c.profile_id = :profile and c.ended_at is {ended} and c.id < :after
        order by c.id desc limit :limit)
        """
        for ended in ("null", "not null")
    ]


_HISTORY = text(
    " union all ".join(
        [
            *_each("c.purpose, null::uuid as topic_id", "consents c"),
            *_each(
                "t.purpose, t.id",
                "topic_consents c join topics t on t.workspace_id = c.workspace_id and t.id = c.topic_id",
            ),
        ]
    )
    + " order by id desc limit :limit"
)


async def history(db: AsyncSession, profile_id: UUID, after: UUID | None, limit: int) -> Sequence[Said]:
    """Up to `limit` consents of a profile that is not merged, the newest first, beyond the one `after`."""
    values = {"profile": profile_id, "after": after or BEYOND_ALL, "limit": limit}
    return [Said(*row) for row in await db.execute(_HISTORY, values)]


async def holding(db: AsyncSession, profile_id: UUID, purpose: str | None, topic_id: UUID | None) -> Said:
    """What holds for a purpose or a topic, of which something was said. Raises `NotFound`."""
    found = await db.execute(_HOLDING, {"profile": profile_id, "purpose": purpose, "topic": topic_id})
    row = found.one_or_none()
    if row is None:
        raise NotFound("Nothing was said about that yet.")
    return Said(*row)


_HOLDING = text(
    f"""
    select c.id, c.purpose, null::uuid as topic_id, c.state, c.source, c.at, c.ended_at from consents c
    where c.workspace_id = {HERE} and c.profile_id = :profile and c.purpose = cast(:purpose as text)
        and c.ended_at is null
    union all
    select c.id, t.purpose, t.id, c.state, c.source, c.at, c.ended_at
    from topic_consents c join topics t on t.workspace_id = c.workspace_id and t.id = c.topic_id
    where c.workspace_id = {HERE} and c.profile_id = :profile and c.topic_id = cast(:topic as uuid)
        and c.ended_at is null
    """
)
_CURRENT = text(
    f"""
    select topic_id, state, source from topic_consents
    where workspace_id = {HERE} and profile_id = :profile and ended_at is null
    """
)


async def topics_of(db: AsyncSession, profile_id: UUID) -> dict[UUID, tuple[str, str]]:
    """What a profile that is not merged has chosen: state and source by topic."""
    rows = await db.execute(_CURRENT, {"profile": profile_id})
    return {row.topic_id: (row.state, row.source) for row in rows}


_END = text(
    f"""
    update topic_consents set ended_at = :now
    where workspace_id = {HERE} and profile_id = :profile and topic_id = :topic and ended_at is null
    """
)
_ADD = text(
    f"""
    insert into topic_consents (workspace_id, profile_id, topic_id, state, source, at)
    values ({HERE}, :profile, :topic, :state, :source, :now)
    """
)


async def choose(
    db: AsyncSession, profile_id: UUID, topic_id: UUID, state: ConsentState, source: str, now: datetime
) -> bool:
    """Write down what a person, whose row is locked, wants to hear of. Returns whether that is news."""
    current = (await topics_of(db, profile_id)).get(topic_id)
    if not is_news(state, source, current):
        return False
    values = {"profile": profile_id, "topic": topic_id, "source": source, "now": now}
    await db.execute(_END, values)
    await db.execute(_ADD, {**values, "state": state.value})
    await follow_ups.note(db, [profile_id], now, reads=["topics"])
    return True

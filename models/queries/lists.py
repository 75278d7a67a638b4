"""Static lists, and who is on them.

Whoever writes members waits first for those who decide who is who (`people_lock`): a merge moves members, and
an erasure deletes them, in an order of their own.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import delete, insert, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Conflict
from domain.lists import MemberState
from models.lists import List
from models.queries import follow_ups, people_lock, rows, segment_names, segments_written
from models.queries.profiles import HERE
from models.queries.profiles_found import BEYOND_ALL


class Member(NamedTuple):
    profile_id: UUID
    email: str | None
    state: str
    source: str
    at: datetime


async def create(db: AsyncSession, workspace_id: UUID, values: dict[str, Any]) -> List:
    """Raises `Conflict` when the name is taken."""
    made = insert(List).values(workspace_id=workspace_id, **values).returning(List)
    try:
        async with db.begin_nested():
            return (await db.scalars(made)).one()
    except IntegrityError as error:
        raise _taken(values["name"]) from error


async def change(db: AsyncSession, list_id: UUID, values: dict[str, Any]) -> List:
    """Raises `NotFound`, and `Conflict` when the name is taken."""
    await rows.get(db, List, list_id, lock=True)
    written = update(List).where(List.id == list_id).values(**values).returning(List)
    try:
        async with db.begin_nested():
            return (await db.scalars(written.execution_options(populate_existing=True))).one()
    except IntegrityError as error:
        raise _taken(values.get("name", "")) from error


async def remove(db: AsyncSession, list_id: UUID, now: datetime) -> None:
    """And who is on it. The people stay. Raises `NotFound`, and `Conflict` where a segment asks about it."""
    await people_lock.take_here(db)
    await rows.get(db, List, list_id, lock=True)
    await segment_names.check_unused(db, "list", list_id)
    await db.execute(delete(List).where(List.id == list_id))
    await segments_written.ask_readers_again(db, f"list:{list_id}", now)


def _taken(name: str) -> Conflict:
    return Conflict(f'There is a list "{name}" already: take another name.', "/name")


_MEMBERS = text(
    f"""
    select l.profile_id, i.value as email, l.state, l.source, l.at
    from list_members l
    left join identities i on i.workspace_id = {HERE} and i.profile_id = l.profile_id and i.kind = 'email'
        and i.is_primary
    where l.workspace_id = {HERE} and l.list_id = :list and l.state = :state and l.profile_id < :after
    order by l.profile_id desc limit :limit
    """
)


async def members(
    db: AsyncSession, list_id: UUID, state: MemberState, after: UUID | None, limit: int
) -> Sequence[Member]:
    """Up to `limit` people who stand so on the list, the newest profiles first, beyond `after`."""
    values = {"list": list_id, "state": state.value, "after": after or BEYOND_ALL, "limit": limit}
    return [Member(*row) for row in await db.execute(_MEMBERS, values)]


_ADD = text(
    f"""
    insert into list_members as l (workspace_id, list_id, profile_id, state, source, at)
    select {HERE}, cast(:list as uuid), who.id, '{MemberState.MEMBER}', :source, cast(:now as timestamptz)
    from (
        select case when p.merged_into is null then p.id else p.merged_into end as id
        from unnest(cast(:profiles as uuid[])) given (id)
        join profiles p on p.workspace_id = {HERE} and p.id = given.id and p.erased_at is null
        group by 1
    ) who
    order by who.id
    on conflict (workspace_id, list_id, profile_id) do update
        set state = excluded.state, source = excluded.source, at = excluded.at
        where l.state <> excluded.state
    returning l.profile_id
    """
)


async def add(
    db: AsyncSession, list_id: UUID, profile_ids: Collection[UUID], source: str, now: datetime
) -> int:
    """Put people on a list. Returns how many were not on it. Who was merged is put there as the survivor."""
    await people_lock.take_here(db)
    values = {"list": list_id, "profiles": [*profile_ids], "source": source, "now": now}
    return await _moved(db, list_id, [*(await db.execute(_ADD, values)).scalars()], now)


async def _moved(db: AsyncSession, list_id: UUID, people: Sequence[UUID], now: datetime) -> int:
    """Segments may ask who is on the list."""
    await follow_ups.note(db, people, now, reads=[f"list:{list_id}"])
    return len(people)


_TAKE_OFF = text(
    f"""
    update list_members l set state = '{MemberState.LEFT}', source = :source, at = :now
    where l.workspace_id = {HERE} and l.list_id = :list and l.state <> '{MemberState.LEFT}'
        and l.profile_id in (
            select case when p.merged_into is null then p.id else p.merged_into end
            from unnest(cast(:profiles as uuid[])) given (id)
            join profiles p on p.workspace_id = {HERE} and p.id = given.id
        )
    returning l.profile_id
    """
)


async def take_off(
    db: AsyncSession, list_id: UUID, profile_ids: Collection[UUID], source: str, now: datetime
) -> int:
    """Take people off a list, which remembers that they were on it. Returns how many were."""
    await people_lock.take_here(db)
    values = {"list": list_id, "profiles": [*profile_ids], "source": source, "now": now}
    return await _moved(db, list_id, [*(await db.execute(_TAKE_OFF, values)).scalars()], now)

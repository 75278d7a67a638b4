"""Topics: what people can want to hear of, or not."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Conflict
from models.lists import Topic
from models.queries import people_lock, rows, segment_names, segments_written

MOST = 100  # In one workspace.


async def get(db: AsyncSession, topic_id: UUID) -> Topic:
    """Raises `NotFound`."""
    return await rows.get(db, Topic, topic_id)


async def all_of_them(db: AsyncSession, purpose: str | None = None) -> Sequence[Topic]:
    """In the order of the preference page; of one channel, or all."""
    asked = select(Topic).order_by(Topic.position, Topic.name)
    return list(await db.scalars(asked.where(Topic.purpose == purpose) if purpose else asked))


async def create(db: AsyncSession, workspace_id: UUID, values: dict[str, Any]) -> Topic:
    """Raises `Conflict` when the name is taken, or there are enough."""
    if len(await all_of_them(db)) >= MOST:
        raise Conflict(f"A workspace has at most {MOST} topics: delete one first.")
    made = insert(Topic).values(workspace_id=workspace_id, **values).returning(Topic)
    try:
        async with db.begin_nested():
            return (await db.scalars(made)).one()
    except IntegrityError as error:
        raise _taken(values["name"]) from error


async def change(db: AsyncSession, topic_id: UUID, values: dict[str, Any]) -> Topic:
    """Raises `NotFound`, and `Conflict` when the name is taken."""
    await rows.get(db, Topic, topic_id, lock=True)
    changed = update(Topic).where(Topic.id == topic_id).values(**values).returning(Topic)
    try:
        async with db.begin_nested():
            return (await db.scalars(changed.execution_options(populate_existing=True))).one()
    except IntegrityError as error:
        raise _taken(values.get("name", "")) from error


async def remove(db: AsyncSession, topic_id: UUID, now: datetime) -> None:
    """And what people chose for it. Raises `NotFound`, and `Conflict` where a segment asks about it."""
    await people_lock.take_here(db)
    await rows.get(db, Topic, topic_id, lock=True)
    await segment_names.check_unused(db, "topic", topic_id)
    await db.execute(delete(Topic).where(Topic.id == topic_id))
    await segments_written.ask_readers_again(db, "topics", now)


def _taken(name: str) -> Conflict:
    return Conflict(f'There is a topic "{name}" already: take another name.', "/name")

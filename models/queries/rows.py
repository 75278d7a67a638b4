"""What every kind of row is asked for: one by its id, or a page of them. The wall picks the workspace."""

from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from domain.errors import NotFound
from models.base import Base
from models.campaigns import Campaign
from models.flows import Flow
from models.lists import List, Topic
from models.profiles import Profile
from models.segments import Segment
from models.templates import Template

Row = TypeVar("Row", Campaign, Flow, List, Profile, Segment, Template, Topic)


async def get(db: AsyncSession, kind: type[Row], row_id: UUID, *, lock: bool = False) -> Row:
    """The row with this id, locked against other writers when it is about to change.

    Raises `NotFound`.
    """
    asked = select(kind).where(kind.id == row_id)
    row = await db.scalar(asked.with_for_update() if lock else asked)
    if row is None:
        raise NotFound(f"There is no {kind.__name__.lower()} {row_id}.")
    return row


async def page(db: AsyncSession, kind: type[Row], after: UUID | None, limit: int, *which: Any) -> list[Row]:
    """Up to `limit` rows, the newest first, beyond the one with the id `after`; ids carry their time."""
    asked = select(kind).where(*which).order_by(kind.id.desc()).limit(limit)
    if after is not None:
        asked = asked.where(kind.id < after)
    return list(await db.scalars(asked))


async def exists(db: AsyncSession, kind: type[Base], row_id: UUID, *which: ColumnElement[bool]) -> bool:
    """Whether there is a row of this kind with this id. It is not deleted before the transaction ends."""
    column = kind.__table__.c.id
    found = select(column).where(column == row_id, *which).with_for_update(read=True, key_share=True)
    return await db.scalar(found) is not None


async def use(
    db: AsyncSession,
    what: str,
    by: str,
    name: InstrumentedAttribute[str],
    state: InstrumentedAttribute[str],
    where: ColumnElement[bool],
) -> str | None:
    """Which campaign or flow (`by`) uses a template or segment (`what`), and what can be done about it.

    In a sentence, or None when none does. Who can't let go of it any more is named first.
    """
    free, goes_on = state.in_(("draft", "scheduled")), state.in_(("live", "paused"))
    asked = select(name, state).where(where).order_by(free, goes_on)
    user = (await db.execute(asked.limit(1))).first()
    if user is None:
        return None
    match user[1]:
        case "draft" | "scheduled":
            way_out = f"; change or delete the {by} first"
        case "live" | "paused":
            way_out = f"; change the {by} first"
        case ended:
            way_out = f" and is {ended}: it keeps what it was made of, so the {what} can't be deleted"
    return f'The {by} "{user[0]}" uses this {what}{way_out}.'

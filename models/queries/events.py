"""Events to read: what came in, the newest first, the catalogue of their names, and what was refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import ColumnElement, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import NotFound
from models.events import Event, EventName, Refusal
from models.profiles import Profile


@dataclass(frozen=True)
class Asked:
    """Which events; None asks for all."""

    name: str | None = None
    since: datetime | None = None  # Received then or later.
    profile_id: UUID | None = None  # And whoever was merged into it.


async def page(db: AsyncSession, asked: Asked, after: UUID | None, limit: int) -> list[Event]:
    """Up to `limit` events, the newest first, beyond the event `after`.

    All of them in the order in which they were received, as their ids are. Those of one name, or of one
    profile, in the order in which they happened: so they are indexed.
    """
    which: list[ColumnElement[bool]] = []
    if asked.since is not None:
        which.append(Event.received_at >= asked.since)
    if asked.name is not None:
        which.append(Event.name == asked.name)
    if asked.profile_id is not None:
        aliases = select(Profile.id).where(Profile.merged_into == asked.profile_id)
        which.append(Event.profile_id.in_([asked.profile_id, *await db.scalars(aliases)]))
    found = select(Event)
    if asked.name is None and asked.profile_id is None:
        if after is not None:
            which.append(Event.id < after)
        return list(await db.scalars(found.where(*which).order_by(Event.id.desc()).limit(limit)))
    if after is not None:
        place = select(Event.occurred_at).where(Event.id == after)
        at = await db.scalar(place) or time_of(after)
        which.append(tuple_(Event.occurred_at, Event.id) < tuple_(at, after))
    newest_first = Event.occurred_at.desc(), Event.id.desc()
    return list(await db.scalars(found.where(*which).order_by(*newest_first).limit(limit)))


def time_of(id_: UUID) -> datetime:
    """The millisecond in which a UUIDv7 was made."""
    return datetime.fromtimestamp(min(id_.int >> 80, 2**47) / 1000, UTC)


async def catalogue(db: AsyncSession, after: str | None, limit: int) -> list[EventName]:
    """Up to `limit` names that were seen, in their order, beyond the name `after`."""
    asked = select(EventName).order_by(EventName.name).limit(limit)
    return list(await db.scalars(asked if after is None else asked.where(EventName.name > after)))


async def named(db: AsyncSession, name: str, *, lock: bool = False) -> EventName:
    """What the catalogue has of this name. Raises `NotFound`."""
    asked = select(EventName).where(EventName.name == name)
    row = await db.scalar(asked.with_for_update() if lock else asked)
    if row is None:
        raise NotFound(f'No event named "{name}" came in so far.')
    return row


async def mark(db: AsyncSession, name: str, *, server_only: bool) -> EventName:
    """Say whether public keys may send it. Raises `NotFound`."""
    await db.execute(update(EventName).where(EventName.name == name).values(server_only=server_only))
    row = await named(db, name)
    await db.refresh(row)
    return row


async def refused(
    db: AsyncSession, name: str | None, since: datetime | None, after: UUID | None, limit: int
) -> Sequence[Refusal]:
    """Up to `limit` refusals, the newest first, beyond the one with the id `after`."""
    asked = select(Refusal).order_by(Refusal.id.desc()).limit(limit)
    if name is not None:
        asked = asked.where(Refusal.name == name)
    if since is not None:
        asked = asked.where(Refusal.at >= since)
    return list(await db.scalars(asked if after is None else asked.where(Refusal.id < after)))

"""What members put on a profile: notes and tags."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, insert, select
from sqlalchemy.dialects.postgresql import insert as insert_or
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Conflict, NotFound
from models.base import changed
from models.profiles import ProfileNote, ProfileTag
from models.queries import follow_ups

MOST_TAGS = 100  # On one profile.


async def page(db: AsyncSession, profile_id: UUID, after: UUID | None, limit: int) -> Sequence[ProfileNote]:
    """Up to `limit` notes about this person, the newest first, beyond the one with the id `after`."""
    asked = select(ProfileNote).where(ProfileNote.profile_id == profile_id)
    if after is not None:
        asked = asked.where(ProfileNote.id < after)
    return list(await db.scalars(asked.order_by(ProfileNote.id.desc()).limit(limit)))


async def write(
    db: AsyncSession, workspace_id: UUID, profile_id: UUID, said: str, author: str, now: datetime
) -> ProfileNote:
    values = {"workspace_id": workspace_id, "profile_id": profile_id, "text": said}
    made = insert(ProfileNote).values(**values, author=author, at=now).returning(ProfileNote)
    return (await db.scalars(made)).one()


async def remove(db: AsyncSession, profile_id: UUID, note_id: UUID) -> None:
    """Raises `NotFound`."""
    gone = delete(ProfileNote).where(ProfileNote.profile_id == profile_id, ProfileNote.id == note_id)
    if not await changed(db, gone):
        raise NotFound(f"There is no note {note_id} about this profile.")


async def tag(db: AsyncSession, workspace_id: UUID, profile_id: UUID, word: str, now: datetime) -> None:
    """Put a tag on a person, whose row is locked. Having it already changes nothing. Raises `Conflict`."""
    values = {"workspace_id": workspace_id, "profile_id": profile_id, "tag": word, "at": now}
    if await changed(db, insert_or(ProfileTag).values(**values).on_conflict_do_nothing()):
        await follow_ups.note(db, [profile_id], now, reads=["tags"])
    count = select(func.count()).select_from(ProfileTag).where(ProfileTag.profile_id == profile_id)
    if (await db.scalar(count) or 0) > MOST_TAGS:
        raise Conflict(f"A profile has at most {MOST_TAGS} tags: take one off first.")


async def untag(db: AsyncSession, profile_id: UUID, word: str, now: datetime) -> None:
    """Take a tag off a person. Raises `NotFound`."""
    gone = delete(ProfileTag).where(ProfileTag.profile_id == profile_id, ProfileTag.tag == word)
    if not await changed(db, gone):
        raise NotFound(f'This profile has no tag "{word}".')
    await follow_ups.note(db, [profile_id], now, reads=["tags"])

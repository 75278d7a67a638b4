"""A workspace's keys: made, listed, rotated, revoked. The wall picks the workspace."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain import keys
from domain.errors import Conflict, NotFound
from domain.roles import KeyKind
from models.members import Key


async def create(
    db: AsyncSession,
    workspace_id: UUID,
    secret: str,
    name: str,
    permissions: Collection[str],
    expires_at: datetime | None = None,
) -> Key:
    """Keep a new key, `secret` as `domain.keys.new_key` made it: of that, only the hash."""
    key = Key(
        workspace_id=workspace_id,
        kind=KeyKind(secret[:2]),
        name=name,
        prefix=secret[: keys.SHOWN],
        hash=keys.hash_of(secret),
        permissions=sorted(permissions),
        expires_at=expires_at,
    )
    db.add(key)
    await db.flush()
    await db.refresh(key)
    return key


async def page(db: AsyncSession, after: UUID | None, limit: int) -> Sequence[Key]:
    """The newest first, the revoked among them."""
    asked = select(Key).order_by(Key.id.desc()).limit(limit)
    if after is not None:
        asked = asked.where(Key.id < after)
    return list(await db.scalars(asked))


async def get(db: AsyncSession, key_id: UUID, *, lock: bool = False) -> Key:
    """Raises `NotFound`."""
    asked = select(Key).where(Key.id == key_id)
    key = await db.scalar(asked.with_for_update() if lock else asked)
    if key is None:
        raise NotFound(f"There is no key {key_id}.")
    return key


async def rotate(db: AsyncSession, key_id: UUID, secret: str, until: datetime, now: datetime) -> Key:
    """A new key of the same name and permissions; the old one works on until then, or its own earlier end.

    Raises `NotFound`; `Conflict` for one that works no more.
    """
    old = await get(db, key_id, lock=True)
    _refuse_a_dead(old, now)
    if old.rotated_at is not None:
        raise Conflict("This key was rotated before: rotate the one that took its place, or make a new one.")
    ends = old.expires_at
    old.rotated_at, old.expires_at = now, min(ends or until, until)
    return await create(db, old.workspace_id, secret, old.name, old.permissions, ends)


async def revoke(db: AsyncSession, key_id: UUID, now: datetime) -> Key:
    """It works no more. Revoking it again changes nothing. Raises `NotFound`."""
    key = await get(db, key_id, lock=True)
    key.revoked_at = key.revoked_at or now
    await db.flush()
    return key


async def works(db: AsyncSession, workspace_id: UUID, key_id: UUID, now: datetime) -> bool:
    """Whether this key works at this moment."""
    key = await db.get(Key, (workspace_id, key_id), populate_existing=True)
    return key is not None and not _is_dead(key, now)


def _is_dead(key: Key, now: datetime) -> bool:
    return key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now)


def _refuse_a_dead(key: Key, now: datetime) -> None:
    if _is_dead(key, now):
        raise Conflict("This key works no more, so it can't be rotated; make a new one.")

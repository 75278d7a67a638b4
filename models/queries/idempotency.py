"""What was answered to requests that carried an Idempotency-Key. Their rows commit with what they did."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from psycopg.errors import LockNotAvailable
from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Conflict
from models.base import changed
from models.members import IdempotencyKey

PATIENCE = "3s"  # How long the second waits for the first, of the same key.


class Asked(NamedTuple):
    """Whose request it is, and which."""

    workspace_id: UUID  # Behind whose wall the transaction is.
    caller: UUID  # The key's or the user's id.
    key: str


class Answered(NamedTuple):
    fingerprint: bytes
    status: int
    headers: list[tuple[str, str]]
    body: bytes | None  # None when it held a secret, and was not kept.


async def begin(db: AsyncSession, asked: Asked, fingerprint: bytes, now: datetime) -> Answered | None:
    """Take the key for this transaction; or what was answered to whoever took it before.

    Who has the same key at the same time waits here until the first commits, or rolls back and leaves it.
    Raises `Conflict` when that takes too long; the transaction is lost then.
    """
    row = {**asked._asdict(), "fingerprint": fingerprint, "created_at": now}
    await db.execute(select(func.set_config("lock_timeout", PATIENCE, True)))
    try:
        taken = await changed(db, insert(IdempotencyKey).values(row).on_conflict_do_nothing())
    except OperationalError as error:
        if not isinstance(error.orig, LockNotAvailable):
            raise
        raise Conflict("The first request with this Idempotency-Key is still under way: ask later.") from None
    await db.execute(select(func.set_config("lock_timeout", "0", True)))
    if taken:
        return None
    columns = IdempotencyKey.fingerprint, IdempotencyKey.status, IdempotencyKey.headers, IdempotencyKey.body
    found = (await db.execute(select(*columns).where(*_is(asked)))).first()
    if found is None or found.status is None:
        raise Conflict("What was answered with this Idempotency-Key has just been forgotten: ask again.")
    headers = [(name, value) for name, value in found.headers]
    return Answered(found.fingerprint, found.status, headers, found.body)


async def keep(
    db: AsyncSession, asked: Asked, status: int, headers: list[tuple[str, str]], body: bytes | None
) -> None:
    """Note what is answered, in the transaction that took the key."""
    values = {"status": status, "headers": headers, "body": body}
    await db.execute(update(IdempotencyKey).where(*_is(asked)).values(values))


async def drop_old(db: AsyncSession, before: datetime) -> int:
    """Forget what was asked before then, across workspaces. Returns how many answers they were."""
    return await changed(db, delete(IdempotencyKey).where(IdempotencyKey.created_at < before))


def _is(asked: Asked) -> tuple[ColumnElement[bool], ...]:
    return (
        IdempotencyKey.workspace_id == asked.workspace_id,
        IdempotencyKey.caller == asked.caller,
        IdempotencyKey.key == asked.key,
    )

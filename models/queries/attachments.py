"""Files that go with single messages: written with the message, read when it goes, removed later."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncSession

from models.base import Db, changed
from models.messages import Attachment


class File(NamedTuple):
    name: str
    content_type: str
    content: bytes


class Listed(NamedTuple):
    """A file without what is in it."""

    name: str
    content_type: str
    size: int  # Bytes.


async def add(db: AsyncSession, workspace_id: UUID, files: Sequence[tuple[UUID, File]]) -> None:
    """Let these files go with these messages, in this order."""
    for message_id, file in files:  # One by one: together they may be more than a statement should hold.
        values = {"workspace_id": workspace_id, "message_id": message_id, **file._asdict()}
        await db.execute(insert(Attachment).values(values))


_CARRYING = text(
    """
    select distinct a.message_id from attachments a
    where a.workspace_id = :workspace and a.message_id = any(cast(:messages as uuid[]))
    """
)


async def carrying(db: Db, workspace_id: UUID, messages: Collection[UUID]) -> set[UUID]:
    """Which of these messages files go with. Each of those is sent in a batch of its own."""
    found = await db.execute(_CARRYING, {"workspace": workspace_id, "messages": [*messages]})
    return set(found.scalars())


_OF = text(
    """
    select a.name, a.content_type, a.content from attachments a
    where a.workspace_id = :workspace and a.message_id = :message order by a.id
    """
)


async def of(db: Db, workspace_id: UUID, message_id: UUID) -> list[File]:
    """The files that go with a message, in their order."""
    found = await db.execute(_OF, {"workspace": workspace_id, "message": message_id})
    return [File(name, content_type, bytes(content)) for name, content_type, content in found]


_LISTED = text(
    """
    select a.name, a.content_type, octet_length(a.content) as size from attachments a
    where a.workspace_id = :workspace and a.message_id = :message order by a.id
    """
)


async def listed(db: Db, workspace_id: UUID, message_id: UUID) -> list[Listed]:
    """The same without their contents."""
    found = await db.execute(_LISTED, {"workspace": workspace_id, "message": message_id})
    return [Listed(*row) for row in found]


_DROP_OLD = text(
    """
    delete from attachments a using messages m
    where a.created_at < :before and m.workspace_id = a.workspace_id and m.id = a.message_id
        and m.closed_at < :before and m.reconcile_at is null
    """
)


async def drop_old(db: Db, before: datetime) -> int:
    """Remove, as the engine, the files of messages that were closed before then. Returns how many."""
    return await changed(db, _DROP_OLD, {"before": before})

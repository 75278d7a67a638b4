"""What happened to single messages that their lines do not keep: sentences for their stories."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import text

from domain.stories import Told
from models.base import Db


class Note(NamedTuple):
    message_id: UUID
    at: datetime
    what: str  # A sentence.


_ADD = text(
    """
    insert into message_notes (workspace_id, message_id, at, what)
    select :workspace, n.message_id, n.at, n.what
    from jsonb_to_recordset(cast(:notes as jsonb)) as n(message_id uuid, at timestamptz, what text)
    """
)


async def add(db: Db, workspace_id: UUID, notes: Sequence[Note]) -> None:
    if notes:
        said = orjson.dumps([note._asdict() for note in notes]).decode()
        await db.execute(_ADD, {"workspace": workspace_id, "notes": said})


_OF = text(
    """
    select n.at, n.what from message_notes n
    where n.workspace_id = :workspace and n.message_id = :message order by n.id
    """
)


async def of(db: Db, workspace_id: UUID, message_id: UUID) -> list[Told]:
    found = await db.execute(_OF, {"workspace": workspace_id, "message": message_id})
    return [Told(*row) for row in found]

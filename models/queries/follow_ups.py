"""Changes that others than the pump make to profiles: they are written, and the pump follows them up."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from models.base import Db

# With the owner's rights, because only the engine reaches the inbox; for this transaction's workspace alone.
_NOTE = text("select note_changes(cast(:people as uuid[]), :now, :live)")


async def note(db: Db, profile_ids: Iterable[UUID], now: datetime, *, live: bool = True) -> None:
    """Have the pump look whether these people came into segments or left some, once this has committed.

    `live` says whether flows may hear of it; history moves people silently.
    """
    if people := [*profile_ids]:
        await db.execute(_NOTE, {"people": people, "now": now, "live": live})

"""Changes that others than the pump make to profiles: they are written, and the pump follows them up."""

from collections.abc import Collection, Iterable
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from models.base import Db

# With the owner's rights, because only the engine reaches the inbox; for this transaction's workspace alone.
_NOTE = text(
    "select note_changes(cast(:people as uuid[]), :now, :live, cast(:reads as text[]), cast(:hops as int))"
)


async def note(
    db: Db,
    profile_ids: Iterable[UUID],
    now: datetime,
    *,
    live: bool = True,
    reads: Collection[str] | None = None,
    hops: int = 0,
) -> None:
    """Have the pump look whether these people came into segments or left some, once this has committed.

    `live` says whether flows may hear of it; history moves people silently. `reads` says what changed, in the
    words of `domain.segments.reads`: where no segment reads it, nothing is to be done. Without it, anything
    may have. `hops` counts how many events caused one another before.
    """
    if people := [*profile_ids]:
        said = {"reads": None if reads is None else [*reads], "hops": hops}
        await db.execute(_NOTE, {"people": people, "now": now, "live": live, **said})

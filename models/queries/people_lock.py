"""Who is who is decided by one at a time in a workspace."""

from uuid import UUID

from sqlalchemy import text

from models.base import Db
from models.batch import Asked

_LOCK = text(
    """
    select pg_advisory_xact_lock(
        hashtextextended('people of ' || cast(cast(:workspace as uuid) as text), 0)
    )
    """
)

_LOCK_HERE = text(
    """
    select pg_advisory_xact_lock(
        hashtextextended('people of ' || nullif(current_setting('app.workspace', true), ''), 0)
    )
    """
)


async def take(db: Db, workspace_id: UUID) -> None:
    """Wait for whoever adds or moves names in this workspace, and keep others waiting until we commit.

    Take it before any profile's row is locked: those who hold it lock rows in whatever order they need.
    """
    await db.execute(_LOCK, {"workspace": workspace_id})


async def take_here(db: Db) -> None:
    """The same for the workspace that the transaction has entered."""
    await db.execute(_LOCK_HERE)


def taking_here() -> Asked:
    """The same, for who wants nothing but to have waited."""
    return Asked(_LOCK_HERE, {})

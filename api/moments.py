"""Times in a request: without an offset they are in the workspace's time zone."""

from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from models.queries import workspaces


async def aware(db: AsyncSession, workspace_id: UUID, at: datetime | None) -> datetime | None:
    """The instant that was meant."""
    if at is None or at.tzinfo is not None:
        return at
    return at.replace(tzinfo=ZoneInfo((await workspaces.get(db, workspace_id)).time_zone))

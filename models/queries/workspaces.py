"""The workspace's own row: its sender, its calendar, its manners."""

from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from models.workspaces import Workspace


async def get(db: AsyncSession, workspace_id: UUID) -> Workspace:
    return (await db.scalars(select(Workspace).where(Workspace.id == workspace_id))).one()


async def change(db: AsyncSession, workspace_id: UUID, values: dict[str, Any]) -> Workspace:
    """Write these columns, named as in `models.workspaces`, and return the row as it is then."""
    changed = (
        update(Workspace)
        .where(Workspace.id == workspace_id)
        .values(**values, updated_at=func.now())
        .returning(Workspace)
        .execution_options(populate_existing=True)
    )
    return (await db.scalars(changed)).one()

"""The workspace's own row: its sender, its calendar, its manners."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain.campaigns import UNDER_WAY, CampaignState
from domain.errors import Conflict
from domain.flows import FlowState
from domain.roles import Role
from models.campaigns import Campaign
from models.flows import Flow
from models.members import Membership
from models.workspaces import Workspace


async def create(db: AsyncSession, workspace_id: UUID, owner_id: UUID, values: dict[str, Any]) -> None:
    """A workspace of these columns and its owner, in a transaction that has entered it."""
    await db.execute(insert(Workspace).values(id=workspace_id, **values))
    owner = {"workspace_id": workspace_id, "user_id": owner_id, "role": Role.OWNER}
    await db.execute(insert(Membership).values(**owner))


async def get(db: AsyncSession, workspace_id: UUID, *, lock: bool = False) -> Workspace:
    """The row, locked when it is about to change; whoever only refers to it goes on."""
    asked = select(Workspace).where(Workspace.id == workspace_id)
    return (await db.scalars(asked.with_for_update(key_share=True) if lock else asked)).one()


async def is_open(db: AsyncSession) -> bool:
    """Whether this transaction's workspace is not deleted, and will not be before the transaction ends."""
    there = (
        select(Workspace.id).where(Workspace.deleted_at.is_(None)).with_for_update(read=True, key_share=True)
    )
    return await db.scalar(there) is not None


async def change(db: AsyncSession, workspace_id: UUID, values: dict[str, Any]) -> Workspace:
    """Write these columns, named as in `models.workspaces`, and return the row as it is then.

    With another time zone or currency segments mean something else: see `segments_written.ask_all_again`.
    """
    changed = (
        update(Workspace)
        .where(Workspace.id == workspace_id)
        .values(**values, updated_at=func.now())
        .returning(Workspace)
        .execution_options(populate_existing=True)
    )
    return (await db.scalars(changed)).one()


async def delete(db: AsyncSession, workspace_id: UUID, now: datetime) -> None:
    """Nobody can enter it any more; what it sent stays explained.

    Raises `Conflict` while anything is under way.
    """
    await db.execute(select(Workspace.id).with_for_update())
    busy = await db.scalar(select(Campaign.name).where(Campaign.state.in_(UNDER_WAY)).limit(1))
    if busy is not None:
        raise Conflict(f'The campaign "{busy}" is under way: cancel it, or wait for its end.')
    planned = Campaign.state == CampaignState.SCHEDULED
    if (waiting := await db.scalar(select(Campaign.name).where(planned).limit(1))) is not None:
        raise Conflict(f'The campaign "{waiting}" is scheduled: cancel or unschedule it first.')
    live = await db.scalar(
        select(Flow.name).where(Flow.state.in_((FlowState.LIVE, FlowState.PAUSED))).limit(1)
    )
    if live is not None:
        raise Conflict(f'The flow "{live}" is not archived: archive it first.')
    await db.execute(update(Workspace).where(Workspace.id == workspace_id).values(deleted_at=now))

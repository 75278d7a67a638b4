"""A workspace's OpenID Connect issuers: kept behind the wall, looked up across it by who signs in."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import delete as deleting
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import NotFound
from models.members import Issuer
from models.workspaces import Workspace


async def create(db: AsyncSession, workspace_id: UUID, issuer_id: UUID, values: dict[str, Any]) -> Issuer:
    """`values` are columns of `models.members.Issuer`, the secret sealed."""
    issuer = Issuer(workspace_id=workspace_id, id=issuer_id, **values)
    db.add(issuer)
    await db.flush()
    await db.refresh(issuer)
    return issuer


async def page(db: AsyncSession, after: UUID | None, limit: int) -> Sequence[Issuer]:
    """The newest first."""
    asked = select(Issuer).order_by(Issuer.id.desc()).limit(limit)
    if after is not None:
        asked = asked.where(Issuer.id < after)
    return list(await db.scalars(asked))


async def get(db: AsyncSession, issuer_id: UUID) -> Issuer:
    """Raises `NotFound`."""
    issuer = await db.scalar(select(Issuer).where(Issuer.id == issuer_id))
    if issuer is None:
        raise _none(issuer_id)
    return issuer


# As the engine: what hangs on an issuer stands among the accounts.


async def anywhere(db: AsyncSession, issuer_id: UUID, *, lock: bool = False) -> Issuer:
    """The issuer, of whatever workspace that is not deleted; locked so that it stays as it is.

    Raises `NotFound`.
    """
    there = Workspace.id == Issuer.workspace_id
    asked = (
        select(Issuer).join(Workspace, there).where(Issuer.id == issuer_id, Workspace.deleted_at.is_(None))
    )
    issuer = await db.scalar(asked.with_for_update(read=True, of=Issuer) if lock else asked)
    if issuer is None:
        raise _none(issuer_id)
    return issuer


async def change(db: AsyncSession, workspace_id: UUID, issuer_id: UUID, values: dict[str, Any]) -> Issuer:
    """Raises `NotFound`."""
    changing = (
        update(Issuer)
        .where(Issuer.workspace_id == workspace_id, Issuer.id == issuer_id)
        .values(**values, updated_at=func.clock_timestamp())
        .returning(Issuer)
        .execution_options(populate_existing=True)
    )
    issuer = (await db.scalars(changing)).one_or_none()
    if issuer is None:
        raise _none(issuer_id)
    return issuer


async def delete(db: AsyncSession, workspace_id: UUID, issuer_id: UUID) -> Issuer:
    """What it was. Raises `NotFound`."""
    gone = deleting(Issuer).where(Issuer.workspace_id == workspace_id, Issuer.id == issuer_id)
    issuer = (await db.scalars(gone.returning(Issuer))).one_or_none()
    if issuer is None:
        raise _none(issuer_id)
    return issuer


def _none(issuer_id: UUID) -> NotFound:
    return NotFound(f"There is no issuer {issuer_id}.")

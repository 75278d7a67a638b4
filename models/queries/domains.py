"""The domains that a workspace sends from. The wall picks the workspace."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete as deleting
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Conflict, NotFound
from domain.sending_domains import itself_and_above
from models.domains import Domain

MOST = 50  # Of one workspace.


async def create(db: AsyncSession, workspace_id: UUID, domain_id: UUID, values: dict[str, Any]) -> Domain:
    """`values` are columns, the key sealed. Raises `Conflict` where there are too many, or this one is."""
    count = await db.scalar(select(func.count()).select_from(Domain)) or 0
    if count >= MOST:
        raise Conflict(f"A workspace has at most {MOST} domains: delete one that you don't send from.")
    known = await db.scalar(select(Domain.id).where(Domain.name == values["name"]))
    if known is not None:
        raise Conflict(f"{values['name']} is there already: read it at /api/v1/domains/{known}.")
    domain = Domain(workspace_id=workspace_id, id=domain_id, **values)
    db.add(domain)
    await db.flush()
    await db.refresh(domain)
    return domain


async def page(db: AsyncSession, after: UUID | None, limit: int) -> Sequence[Domain]:
    """The newest first."""
    asked = select(Domain).order_by(Domain.id.desc()).limit(limit)
    if after is not None:
        asked = asked.where(Domain.id < after)
    return list(await db.scalars(asked))


async def get(db: AsyncSession, domain_id: UUID, *, lock: bool = False) -> Domain:
    """Raises `NotFound`."""
    asked = select(Domain).where(Domain.id == domain_id)
    domain = await db.scalar(asked.with_for_update() if lock else asked)
    if domain is None:
        raise NotFound(f"There is no domain {domain_id}.")
    return domain


async def note(
    db: AsyncSession,
    domain_id: UUID,
    findings: list[dict[str, Any]],
    now: datetime,
    *,
    verified: bool | None,
    returns: bool | None,
) -> Domain:
    """What a check found. What nobody could say (None) stays as it was. Raises `NotFound`."""
    domain = await get(db, domain_id, lock=True)
    domain.findings, domain.checked_at = findings, now
    if verified is not None:
        domain.verified_at = (domain.verified_at or now) if verified else None
    if returns is not None:
        domain.return_path_at = (domain.return_path_at or now) if returns else None
    await db.flush()
    return domain


async def of_address(db: AsyncSession, email: str, but: UUID | None = None) -> Domain | None:
    """The verified domain that an address is in, or in a subdomain of; the nearest of several.

    `but` is one that counts no more.
    """
    names = itself_and_above(email.rpartition("@")[2])
    asked = select(Domain).where(Domain.name.in_(names), Domain.verified_at.is_not(None))
    found = await db.scalars(asked if but is None else asked.where(Domain.id != but))
    return max(found, key=lambda domain: len(domain.name), default=None)


async def delete(db: AsyncSession, domain_id: UUID) -> Domain:
    """What it was; its senders were let go of before. Raises `NotFound`."""
    gone = deleting(Domain).where(Domain.id == domain_id).returning(Domain)
    domain = (await db.scalars(gone)).one_or_none()
    if domain is None:
        raise NotFound(f"There is no domain {domain_id}.")
    return domain

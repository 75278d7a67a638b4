"""A workspace's accounts with providers, for those who set them up and look after them."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Conflict, NotFound
from models.providers import BreakerChange, Provider, ProviderDay, Route
from models.queries import workspaces

MOST = 50  # Accounts in a workspace.


async def claim_name(db: AsyncSession, workspace_id: UUID, name: str, but: UUID | None = None) -> None:
    """Nobody else takes this name before the transaction ends. Raises `Conflict` when another account has it.

    `but` is the account that is called so, or is about to be.
    """
    await workspaces.get(db, workspace_id, lock=True)  # Two at once would both find it free.
    asked = select(Provider.id).where(Provider.name == name, Provider.deleted_at.is_(None))
    taken = await db.scalar((asked if but is None else asked.where(Provider.id != but)).limit(1))
    if taken is not None:
        raise Conflict(f'There is a provider called "{name}" already ({taken}): take another name.', "/name")


async def name(db: AsyncSession, provider_id: UUID) -> str | None:
    """What an account is called, also one that was deleted."""
    found: str | None = await db.scalar(select(Provider.name).where(Provider.id == provider_id))
    return found


async def create(db: AsyncSession, workspace_id: UUID, provider_id: UUID, values: dict[str, Any]) -> Provider:
    """`values` are columns of `models.providers.Provider`.

    Raises `Conflict` when there are too many, or one of that name.
    """
    await claim_name(db, workspace_id, values["name"])  # Two at once would both count the same, too.
    there = select(func.count()).select_from(Provider).where(Provider.deleted_at.is_(None))
    if (await db.scalar(there) or 0) >= MOST:
        raise Conflict(f"A workspace has at most {MOST} providers: delete one that no route needs.")
    made = Provider(workspace_id=workspace_id, id=provider_id, **values)
    db.add(made)
    await db.flush()
    await db.refresh(made)
    return made


async def page(db: AsyncSession, after: UUID | None, limit: int) -> Sequence[Provider]:
    """The newest first."""
    asked = select(Provider).where(Provider.deleted_at.is_(None)).order_by(Provider.id.desc()).limit(limit)
    if after is not None:
        asked = asked.where(Provider.id < after)
    return list(await db.scalars(asked))


async def get(db: AsyncSession, provider_id: UUID, *, lock: bool = False) -> Provider:
    """Locked when it is about to change. Raises `NotFound`, also for one that was deleted."""
    asked = select(Provider).where(Provider.id == provider_id, Provider.deleted_at.is_(None))
    found = await db.scalar(asked.with_for_update(key_share=True) if lock else asked)
    if found is None:
        raise await _missing(db, provider_id)
    return found


async def _missing(db: AsyncSession, provider_id: UUID) -> NotFound:
    called = await name(db, provider_id)
    return NotFound(f'"{called}" was deleted.' if called else f"There is no provider {provider_id}.")


async def change(db: AsyncSession, provider_id: UUID, values: dict[str, Any]) -> Provider:
    """Write these columns. Who has the account open opens it anew. Raises `NotFound`."""
    changed = (
        update(Provider)
        .where(Provider.id == provider_id, Provider.deleted_at.is_(None))
        .values(**values, updated_at=func.clock_timestamp())
        .returning(Provider)
        .execution_options(populate_existing=True)
    )
    found = (await db.scalars(changed)).one_or_none()
    if found is None:
        raise await _missing(db, provider_id)
    return found


async def delete(db: AsyncSession, provider_id: UUID, now: datetime) -> None:
    """Its row stays for what it sent, without settings and credentials: nothing can open it, or be believed
    to come from it, any more.

    Raises `NotFound`, and `Conflict` naming the routes that need it.
    """
    found = await db.scalar(
        select(Provider).where(Provider.id == provider_id, Provider.deleted_at.is_(None)).with_for_update()
    )
    if found is None:
        raise await _missing(db, provider_id)
    asked = select(Route.channel, Route.message_class, Route.id).where(Route.provider_id == provider_id)
    if used := [f"{what} {channel} ({id_})" for channel, what, id_ in await db.execute(asked)]:
        raise Conflict(f"Routes lead to this provider: {', '.join(sorted(used))}. Delete them first.")
    await change(db, provider_id, {"deleted_at": now, "settings": {}, "credentials": None})


async def day(db: AsyncSession, provider_id: UUID, on: date) -> ProviderDay | None:
    """What went by a provider on this day of the workspace's calendar; None where nothing did."""
    asked = select(ProviderDay).where(ProviderDay.provider_id == provider_id, ProviderDay.day == on)
    found: ProviderDay | None = await db.scalar(asked)
    return found


async def changes(
    db: AsyncSession, provider_id: UUID, after: UUID | None, limit: int
) -> Sequence[BreakerChange]:
    """How its breaker changed, the newest first."""
    asked = select(BreakerChange).where(BreakerChange.provider_id == provider_id)
    asked = asked.order_by(BreakerChange.id.desc()).limit(limit)
    if after is not None:
        asked = asked.where(BreakerChange.id < after)
    return list(await db.scalars(asked))

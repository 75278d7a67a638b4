"""Addresses that must not be written to: shown, and taken off again where that is anybody's to do."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Conflict, NotFound
from domain.profiles import ADDRESS_KIND, SuppressionReason, address_hash, normal
from models.profiles import Suppression
from models.queries import profiles

_CURRENT = Suppression.ended_at.is_(None)


async def page(
    db: AsyncSession, channel: str | None, address: str | None, after: UUID | None, limit: int
) -> Sequence[Suppression]:
    """Up to `limit` of those that hold, the newest first, beyond the one `after`; of a channel or an address.

    An erased person's address is found by its hash, too.
    """
    asked = select(Suppression).where(_CURRENT).order_by(Suppression.id.desc()).limit(limit)
    if channel is not None:
        asked = asked.where(Suppression.channel == channel)
    if address is not None:
        asked = asked.where(Suppression.address_hash.in_(_hashes(channel, address)))
    if after is not None:
        asked = asked.where(Suppression.id < after)
    return list(await db.scalars(asked))


def _hashes(channel: str | None, address: str) -> set[bytes]:
    kinds = {ADDRESS_KIND[channel]} if channel in ADDRESS_KIND else set(ADDRESS_KIND.values())
    return {address_hash(normal(kind, address)) for kind in kinds}


async def current(db: AsyncSession, channel: str, address: str) -> Suppression:
    """The one that holds for this address. Raises `NotFound`."""
    asked = select(Suppression).where(
        _CURRENT,
        Suppression.channel == channel,
        Suppression.address_hash.in_(_hashes(channel, address)),
    )
    found = await db.scalar(asked)
    if found is None:
        raise NotFound("This address is not suppressed.")
    return found


async def end(db: AsyncSession, suppression_id: UUID, now: datetime) -> None:
    """Let the address be written to again. It is kept that it was not.

    Raises `NotFound`, and `Conflict` where it is the person's own word, which is nobody else's to take back.
    """
    asked = select(Suppression).where(_CURRENT, Suppression.id == suppression_id).with_for_update()
    found = await db.scalar(asked)
    if found is None:
        raise NotFound(f"There is no suppression {suppression_id} that holds.")
    if found.reason == SuppressionReason.ERASED:
        raise Conflict("Who this address belonged to was erased, for good.")
    if found.reason == SuppressionReason.UNSUBSCRIBED:
        raise Conflict(
            "The person unsubscribed, and only their own word takes that back: POST it to "
            '/api/v1/profiles/{id}/consents with the source "person".'
        )
    found.ended_at = now
    await db.flush()
    if found.address is not None:
        await profiles.suppression_changed(db, found.channel, found.address, now)

"""By which channels somebody can be reached with a single message."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.channels import Channel, address_kind
from domain.errors import NotFound
from domain.events import MESSAGE_REPLIED
from domain.messages import MessageClass
from domain.profiles import ConsentState, IdentityKind, SuppressionReason, address_hash
from domain.reach import Way
from models.profiles import Identity, Suppression
from models.providers import Provider, Route
from models.queries import profiles_found
from models.queries.profiles_found import Person


async def find(db: AsyncSession, who: str) -> Person:
    """The person with this profile id, email or user id. Raises `NotFound`."""
    try:
        return await profiles_found.find(db, who)
    except NotFound:
        named = select(Identity.profile_id).where(
            Identity.kind == IdentityKind.USER_ID, Identity.value == who
        )
        profile_id = await db.scalar(named)
        if profile_id is None:
            raise
        return await profiles_found.find(db, str(profile_id))


def address(person: Person, channel: Channel) -> str | None:
    """Where they are written to on a channel: their primary name of its kind."""
    kind = address_kind(channel)
    named = (each.value for each in person.identities if each.kind == kind and each.is_primary)
    return next(named, None)


async def routed(db: AsyncSession, message_class: MessageClass) -> set[Channel]:
    """The channels for which there is a provider: by a route, or the installation's own."""
    found = await db.scalars(
        select(Route.channel)
        .join(Provider, (Provider.workspace_id == Route.workspace_id) & (Provider.id == Route.provider_id))
        .where(Route.message_class == message_class, Provider.deleted_at.is_(None))
        .distinct()
    )
    return {Channel.EMAIL, *map(Channel, found)}


async def kinds(db: AsyncSession, channel: Channel, message_class: MessageClass) -> set[str]:
    """The kinds of the accounts that have a route for these messages."""
    found = await db.scalars(
        select(Provider.kind)
        .join(Route, (Provider.workspace_id == Route.workspace_id) & (Provider.id == Route.provider_id))
        .where(Route.channel == channel, Route.message_class == message_class)
        .distinct()
    )
    return {*found}


async def ways(
    db: AsyncSession,
    workspace_id: UUID,
    person: Person,
    channels: Collection[Channel],
    message_class: MessageClass,
) -> list[Way]:
    """These channels, as they stand for this person."""
    addresses = {channel: address(person, channel) for channel in channels}
    suppressed = await _suppressed(db, {channel: at for channel, at in addresses.items() if at})
    reacted = await _reacted(db, workspace_id, person.profile.id)
    agreed = {purpose.value for purpose, state in person.consents.items() if state is ConsentState.GRANTED}
    open_roads = await routed(db, message_class)
    return [
        Way(
            channel=channel,
            address=addresses[channel],
            suppressed=suppressed.get(channel),
            consent=channel.value in agreed,
            routed=channel in open_roads,
            reacted_at=reacted.get(channel),
        )
        for channel in channels
    ]


async def _suppressed(db: AsyncSession, addresses: dict[Channel, str]) -> dict[Channel, SuppressionReason]:
    hashes = {channel: address_hash(at) for channel, at in addresses.items()}
    asked = select(Suppression.channel, Suppression.address_hash, Suppression.reason).where(
        Suppression.ended_at.is_(None),
        Suppression.channel.in_(hashes),
        Suppression.address_hash.in_(hashes.values()),
    )
    return {
        Channel(channel): SuppressionReason(reason)
        for channel, digest, reason in await db.execute(asked)
        if hashes[Channel(channel)] == digest
    }


_REACTED = text(
    f"""
    with them as (
        select id from profiles where workspace_id = :workspace and id = :profile
        union all
        select id from profiles where workspace_id = :workspace and merged_into = :profile
    )
    select channel, max(at) as at
    from (
        select m.channel, greatest(m.opened_at, m.clicked_at,
            case when m.fate = 'read' then m.reported_at end) as at
        from them join messages m on m.workspace_id = :workspace and m.profile_id = them.id
        union all
        select e.properties ->> 'channel', e.occurred_at
        from them join events e on e.workspace_id = :workspace and e.profile_id = them.id
        where e.name = '{MESSAGE_REPLIED}'
    ) reactions
    where at is not null and channel = any(cast(:channels as text[]))
    group by channel
    """
)


async def _reacted(db: AsyncSession, workspace_id: UUID, profile_id: UUID) -> dict[Channel, datetime]:
    values = {"workspace": workspace_id, "profile": profile_id, "channels": [each.value for each in Channel]}
    return {Channel(row.channel): row.at for row in await db.execute(_REACTED, values)}

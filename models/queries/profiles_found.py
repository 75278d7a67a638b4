"""Profiles as they are asked for: by id or by email, with what stands beside them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.addresses import normal_address
from domain.errors import NotFound
from domain.profiles import ConsentState, IdentityKind, Purpose
from models.profiles import Consent, Identity, Profile
from models.queries import rows


@dataclass(frozen=True)
class Person:
    """A profile, its identities with the primary ones first, and its consents."""

    profile: Profile
    identities: Sequence[Identity]
    consents: dict[Purpose, ConsentState]

    @property
    def email(self) -> str | None:
        """The address that is written to."""
        emails = [each for each in self.identities if each.kind == IdentityKind.EMAIL and each.is_primary]
        return emails[0].value if emails else None


async def find(db: AsyncSession, who: str) -> Person:
    """The person with this profile id or email; a merged profile leads to the one it was merged into.

    Raises `NotFound`.
    """
    profile = await _by_id(db, UUID(who)) if _is_id(who) else await _by_email(db, who)
    if profile is not None and profile.merged_into is not None:
        profile = await _by_id(db, profile.merged_into)
    if profile is None:
        raise NotFound(f"There is no profile {who}.")
    identities = select(Identity).where(Identity.profile_id == profile.id)
    consents = select(Consent).where(Consent.profile_id == profile.id, Consent.ended_at.is_(None))
    return Person(
        profile,
        list(
            await db.scalars(identities.order_by(Identity.is_primary.desc(), Identity.kind, Identity.value))
        ),
        {Purpose(row.purpose): ConsentState(row.state) for row in await db.scalars(consents)},
    )


async def page(db: AsyncSession, after: UUID | None, limit: int) -> Sequence[Person]:
    """Up to `limit` people, the newest first, beyond the profile `after`. Merged profiles are left out."""
    found = await rows.page(db, Profile, after, limit, Profile.merged_into.is_(None))
    here = [profile.id for profile in found]
    identities: dict[UUID, list[Identity]] = {id_: [] for id_ in here}
    asked = select(Identity).where(Identity.profile_id.in_(here))
    for identity in await db.scalars(
        asked.order_by(Identity.is_primary.desc(), Identity.kind, Identity.value)
    ):
        identities[identity.profile_id].append(identity)
    consents: dict[UUID, dict[Purpose, ConsentState]] = {id_: {} for id_ in here}
    present = select(Consent.profile_id, Consent.purpose, Consent.state)
    for id_, purpose, state in await db.execute(
        present.where(Consent.profile_id.in_(here), Consent.ended_at.is_(None))
    ):
        consents[id_][Purpose(purpose)] = ConsentState(state)
    return [Person(profile, identities[profile.id], consents[profile.id]) for profile in found]


async def ids(db: AsyncSession, who: Collection[str]) -> dict[str, UUID]:
    """The profile's id for each of these profile ids and emails that is known."""
    asked = {one: UUID(one) for one in who if _is_id(one)}
    known = set(await db.scalars(select(Profile.id).where(Profile.id.in_(asked.values()))))
    found = {one: profile_id for one, profile_id in asked.items() if profile_id in known}
    emails = {one: _kept_as(one) for one in who if one not in asked}
    held = await db.execute(
        select(Identity.value, Identity.profile_id).where(
            Identity.kind == IdentityKind.EMAIL, Identity.value.in_(emails.values())
        )
    )
    holders = {row.value: row.profile_id for row in held}
    return found | {one: holders[value] for one, value in emails.items() if value in holders}


async def _by_id(db: AsyncSession, profile_id: UUID) -> Profile | None:
    return (await db.scalars(select(Profile).where(Profile.id == profile_id))).one_or_none()


async def _by_email(db: AsyncSession, email: str) -> Profile | None:
    identity = select(Identity.profile_id).where(
        Identity.kind == IdentityKind.EMAIL, Identity.value == _kept_as(email)
    )
    return (await db.scalars(select(Profile).where(Profile.id.in_(identity)))).one_or_none()


def _is_id(who: str) -> bool:
    try:
        UUID(who)
    except ValueError:
        return False
    return True


def _kept_as(email: str) -> str:
    """The address in the form in which it would have been kept; what is none is kept by nobody."""
    try:
        return normal_address(email.strip())
    except ValueError:
        return email

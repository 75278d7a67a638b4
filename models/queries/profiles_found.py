"""Profiles as they are asked for: by id or by email, with what stands beside them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.addresses import normal_address
from domain.errors import NotFound
from domain.profiles import ConsentState, IdentityKind, Purpose
from models.base import Db
from models.profiles import Consent, Identity, Profile, ProfileTag


@dataclass(frozen=True)
class Person:
    """A profile, its identities with the primary ones first, and its consents."""

    profile: Profile
    identities: Sequence[Identity]
    consents: dict[Purpose, ConsentState]
    tags: Sequence[str]

    @property
    def email(self) -> str | None:
        """The address that is written to."""
        return self.primary(IdentityKind.EMAIL)

    def primary(self, kind: IdentityKind) -> str | None:
        """The name of this kind by which the person is reached."""
        return next((each.value for each in self.identities if each.kind == kind and each.is_primary), None)


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
    tags = select(ProfileTag.tag).where(ProfileTag.profile_id == profile.id)
    return Person(
        profile,
        list(
            await db.scalars(identities.order_by(Identity.is_primary.desc(), Identity.kind, Identity.value))
        ),
        {
            Purpose(row.purpose): ConsentState(row.state)
            for row in await db.scalars(consents.order_by(Consent.purpose))
        },
        list(await db.scalars(tags.order_by(ProfileTag.tag))),
    )


# The rows of a page are the JSON that is answered: as objects, fifty people take ten times as long.


def _instant(column: str) -> str:
    """The SQL of a time as the rest of the API writes it: in UTC, with microseconds where there are any."""
    form = r"""'YYYY-MM-DD"T"HH24\:MI\:SS'"""
    whole = rf"""to_char({column} at time zone 'UTC', {form} || '"Z"')"""
    exact = rf"""to_char({column} at time zone 'UTC', {form} || '.US"Z"')"""
    return f"case when date_trunc('second', {column}) = {column} then {whole} else {exact} end"


SHOWN = f"""
    json_build_object(
        'id', p.id,
        'email', (select i.value from identities i where i.workspace_id = :workspace
            and i.profile_id = p.id and i.kind = 'email' and i.is_primary limit 1),
        'identities', (
            select coalesce(json_agg(
                json_build_object('kind', i.kind, 'value', i.value, 'is_primary', i.is_primary)
                order by i.is_primary desc, i.kind, i.value), '[]')
            from identities i where i.workspace_id = :workspace and i.profile_id = p.id),
        'attributes', p.attributes,
        'consents', (
            select coalesce(json_object_agg(c.purpose, c.state order by c.purpose), '{{}}') from consents c
            where c.workspace_id = :workspace and c.profile_id = p.id and c.ended_at is null),
        'tags', (
            select coalesce(json_agg(t.tag order by t.tag), '[]') from profile_tags t
            where t.workspace_id = :workspace and t.profile_id = p.id),
        'owner_id', p.owner_id,
        'time_zone', p.time_zone,
        'locale', p.locale,
        'country', p.country,
        'created_at', {_instant("p.created_at")},
        'updated_at', {_instant("p.updated_at")},
        'erased_at', {_instant("p.erased_at")}
    )::text
"""
_PAGE = text(
    f"""
    select p.id, {SHOWN}
    from profiles p
    where p.workspace_id = :workspace and p.merged_into is null and p.erased_at is null and p.id < :after
    order by p.id desc limit :limit
    """
)
BEYOND_ALL = UUID(int=2**128 - 1)


async def page(db: Db, workspace_id: UUID, after: UUID | None, limit: int) -> Sequence[tuple[UUID, str]]:
    """Up to `limit` people, the newest first, beyond the profile `after`: the id of each, and their JSON.

    Who was merged or erased is left out.
    """
    values = {"workspace": workspace_id, "after": after or BEYOND_ALL, "limit": limit}
    return [(row[0], row[1]) for row in await db.execute(_PAGE, values)]


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

"""What a campaign of texts will cost: whom it reaches by which prefix, and what a segment costs there."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    ColumnElement,
    LargeBinary,
    Text,
    and_,
    column,
    exists,
    func,
    not_,
    select,
    text,
    values,
)
from sqlalchemy.ext.asyncio import AsyncSession

from domain.messages import MessageClass
from domain.profiles import ADDRESS_KIND, ConsentState, IdentityKind, Purpose, SuppressionReason
from models.profiles import Consent, Identity, Profile, Suppression
from models.queries.profiles import HERE

CHANNEL = Purpose.SMS.value


class Prices(NamedTuple):
    """What an account's owner wrote down of what they pay: a segment's price by the beginning of a number."""

    provider: str
    currency: str
    by_prefix: Mapping[str, Decimal]


_PRICES = text(
    f"""
    select p.name, p.settings
    from routes r join providers p on p.workspace_id = {HERE} and p.id = r.provider_id
    where r.workspace_id = {HERE} and r.channel = '{CHANNEL}' and r.class = :class
        and p.deleted_at is null and jsonb_typeof(p.settings -> 'prices') = 'object'
    order by r.priority, r.weight desc, r.id limit 1
    """
)


async def prices(db: AsyncSession, message_class: str) -> Prices | None:
    """Of the account by which texts of this class go first, among those whose prices we know."""
    row = (await db.execute(_PRICES, {"class": message_class})).one_or_none()
    if row is None:
        return None
    return Prices(row.name, str(row.settings.get("currency", "USD")), dict(_read(row.settings["prices"])))


def _read(written: Mapping[str, Any]) -> Iterator[tuple[str, Decimal]]:
    for prefix, price in written.items():
        try:
            yield prefix, Decimal(str(price))
        except InvalidOperation:
            continue


def _reached(audience: ColumnElement[bool], message_class: str) -> CTE:
    """Attributes and number of everybody in the audience to whom a text would go now.

    The hash is made in a step of its own: behind the wall nothing is looked up by what is still to be worked
    out.
    """
    hash_ = func.sha256(func.convert_to(Identity.value, "UTF8"), type_=LargeBinary())
    named = and_(_of_profile(Identity), Identity.kind == ADDRESS_KIND[CHANNEL], Identity.is_primary)
    asked = (
        select(Profile.attributes, Identity.value.label("phone"), hash_.label("hash"))
        .join_from(Profile, Identity, named)
        .where(audience)
    )
    against = [Suppression.channel == CHANNEL, Suppression.ended_at.is_(None)]
    if message_class == MessageClass.MARKETING:
        allowed = (Consent.purpose == CHANNEL, Consent.state == ConsentState.GRANTED)
        asked = asked.where(exists().where(_of_profile(Consent), *allowed, Consent.ended_at.is_(None)))
    else:
        against.append(Suppression.reason != SuppressionReason.UNSUBSCRIBED)
    numbers = asked.cte("numbers").prefix_with("materialized")
    suppressed = exists().where(Suppression.address_hash == numbers.c.hash, *against)
    return select(numbers.c.attributes, numbers.c.phone).where(not_(suppressed)).cte("reached")


def _of_profile(kind: type[Identity | Consent]) -> ColumnElement[bool]:
    return and_(kind.workspace_id == Profile.workspace_id, kind.profile_id == Profile.id)


async def by_prefix(
    db: AsyncSession, audience: ColumnElement[bool], message_class: str, prefixes: Collection[str]
) -> dict[str | None, int]:
    """How many of the audience a text would go to, by the longest of these prefixes that their number has.

    None stands for numbers that have none of them. One statement.
    """
    reached = _reached(audience, message_class)
    known = values(column("prefix", Text), name="known").data([(each,) for each in ("", *prefixes)])
    longest = (
        select(func.nullif(known.c.prefix, ""))
        .where(func.left(reached.c.phone, func.length(known.c.prefix)) == known.c.prefix)
        .order_by(func.length(known.c.prefix).desc())
        .limit(1)
        .correlate(reached)
        .scalar_subquery()
    )
    each = select(longest.label("prefix")).select_from(reached).subquery()
    counted = select(each.c.prefix, func.count()).group_by(each.c.prefix)
    return {row[0]: row[1] for row in await db.execute(counted)}


async def sample(
    db: AsyncSession, audience: ColumnElement[bool], message_class: str, size: int
) -> Sequence[tuple[dict[str, Any], str]]:
    """Attributes and number of up to `size` of those to whom a text would go."""
    reached = _reached(audience, message_class)
    asked = select(reached.c.attributes, reached.c.phone).limit(size)
    return [(row[0], row[1]) for row in await db.execute(asked)]


async def reachable(db: AsyncSession, audience: ColumnElement[bool], kind: IdentityKind) -> bool:
    """Whether anybody in the audience has a primary name of this kind."""
    named = exists().where(_of_profile(Identity), Identity.kind == kind, Identity.is_primary)
    return bool(await db.scalar(select(exists(select(Profile.id).where(audience, named)))))

"""What a rule can ask about in this workspace: what it knows of people, and the names of its things.

All of it is read from catalogues and from small samples, so that a builder on a page has it at once.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.presets import Quintiles
from models.queries.profiles import HERE

SAMPLE = 1_000  # Of the newest people, and of the first ones.
TOP = 10  # Values of an attribute.
LONGEST = 100  # Characters of a value that is proposed.
MOST = 500  # Of each kind of thing.
MANY = 100_000  # Of more buyers a sample parts them into fifths,
PERCENT = 4  # which has so many of them.


class Attribute(NamedTuple):
    name: str
    type: str  # domain.attributes.AttributeType
    hot: bool
    values: Sequence[Any]  # Those that several people of a sample have, the most frequent ones first.


# A value that one person alone has is theirs, and no use for a rule.
_ATTRIBUTES = text(
    f"""
    with chosen as (
        (select p.id from profiles p where p.workspace_id = {HERE} order by p.id desc limit {SAMPLE})
        union
        (select p.id from profiles p where p.workspace_id = {HERE} order by p.id limit {SAMPLE})
    ), people as materialized (
        select p.attributes from chosen join profiles p on p.workspace_id = {HERE} and p.id = chosen.id
    ), held as (
        select a.key as name,
            case jsonb_typeof(a.value) when 'array' then element.value else a.value end as value
        from people cross join jsonb_each(people.attributes) a
        left join lateral jsonb_array_elements(
            case jsonb_typeof(a.value) when 'array' then a.value else '[]' end) element on true
    ), counted as (
        select name, value, count(*) as n,
            row_number() over (partition by name order by count(*) desc, value) as nth
        from held
        where jsonb_typeof(value) in ('string', 'number', 'boolean') and length(value #>> '{{}}') <= {LONGEST}
        group by name, value having count(*) > 1
    ), top as (
        select name, jsonb_agg(value order by nth) as values from counted where nth <= {TOP} group by name
    )
    select k.name, k.type, k.hot, coalesce(top.values, '[]')
    from attributes k left join top on top.name = k.name
    where k.workspace_id = {HERE} order by k.values desc, k.name limit {MOST}
    """
)


async def attributes(db: AsyncSession) -> Sequence[Attribute]:
    """Those of the catalogue, the most frequent ones first."""
    return [Attribute(*row) for row in await db.execute(_ATTRIBUTES)]


class Event(NamedTuple):
    name: str
    properties: Mapping[str, Sequence[str]]  # Their types, the most frequent one first.


_EVENTS = text(
    f"""
    select name, properties from event_names
    where workspace_id = {HERE} order by volume desc, name limit {MOST}
    """
)


async def events(db: AsyncSession) -> Sequence[Event]:
    """Those that were seen, the most frequent ones first."""
    return [
        Event(
            name, {each: sorted(types, key=types.__getitem__, reverse=True) for each, types in found.items()}
        )
        for name, found in await db.execute(_EVENTS)
    ]


class Thing(NamedTuple):
    kind: str  # list, segment, campaign, flow or topic.
    id: UUID
    name: str
    steps: Sequence[str]  # Of a flow.


_STEPS = "array(select jsonb_object_keys(coalesce(x.definition -> 'steps', '{}')))"
_THINGS = text(
    " union all ".join(
        f"""(
            select '{kind}', x.id, x.name, {_STEPS if kind == "flow" else "array[]::text[]"}
            from {table} x where x.workspace_id = {HERE} order by x.id desc limit {MOST}
        )"""
        for kind, table in {
            "list": "lists",
            "segment": "segments",
            "campaign": "campaigns",
            "flow": "flows",
            "topic": "topics",
        }.items()
    )
)


async def things(db: AsyncSession) -> Sequence[Thing]:
    """What a rule may name by its id: of each kind the newest."""
    return [Thing(*row) for row in await db.execute(_THINGS)]


# From each to the next one in the index, without reading whom it was put on.
_TAGS = text(
    f"""
    with recursive found (tag, n) as (
        (select t.tag, 1 from profile_tags t where t.workspace_id = {HERE} order by t.tag limit 1)
        union all
        select (
            select t.tag from profile_tags t
            where t.workspace_id = {HERE} and t.tag > found.tag order by t.tag limit 1
        ), found.n + 1
        from found where found.tag is not null and found.n < {MOST}
    )
    select tag from found where tag is not null
    """
)


async def tags(db: AsyncSession) -> Sequence[str]:
    """Those that somebody has."""
    return [*(await db.execute(_TAGS)).scalars()]


_CURRENCIES = text(
    f"""
    select currency from (
        select o.currency from orders o
        where o.workspace_id = {HERE} order by o.ordered_at desc limit {2 * SAMPLE}
    ) newest
    group by currency order by count(*) desc, currency
    """
)


async def currencies(db: AsyncSession) -> Sequence[str]:
    """Those of the newest orders, the most frequent one first."""
    return [*(await db.execute(_CURRENCIES)).scalars()]


_BY_NAME = text(
    f"""
    select s.name, (array_agg(s.id order by s.id))[1] as id from segments s
    where s.workspace_id = {HERE} and s.name = any(cast(:names as text[])) group by s.name
    """
)


async def by_name(db: AsyncSession, names: Collection[str]) -> dict[str, UUID]:
    """The segments that have one of these names: of each name the oldest."""
    return {row.name: row.id for row in await db.execute(_BY_NAME, {"names": [*names]})}


_BUYERS = f"r.workspace_id = {HERE} and r.currency = :currency and r.count > 0"
_ARE_MANY = text(
    f"""
    select count(*) > :many from (
        select from order_rollups r where {_BUYERS} limit cast(:many as bigint) + 1
    ) counted
    """
)


def _fifths(sample: str = "") -> TextClause:
    return text(
        f"""
        with buyers as materialized (
            select ceil(extract(epoch from cast(:now as timestamptz) - r.last_at) / 86400)::int as days,
                r.count as orders, r.total
            from order_rollups r {sample}
            where {_BUYERS}
        )
        select
            percentile_disc(array[0.2, 0.4, 0.6, 0.8]) within group (order by days) as days,
            percentile_disc(array[0.2, 0.4, 0.6, 0.8]) within group (order by orders) as orders,
            percentile_disc(array[0.2, 0.4, 0.6, 0.8]) within group (order by total) as total
        from buyers
        """
    )


_OF_ALL = _fifths()
# By rows and not by pages, on which buyers stand who came together and are alike. The same ones each time.
_OF_SOME = _fifths(f"tablesample bernoulli ({PERCENT}) repeatable (1)")


async def quintiles(db: AsyncSession, now: datetime, currency: str, *, many: int = MANY) -> Quintiles | None:
    """What parts the buyers in this currency into fifths; None while there are none.

    Of more than `many` buyers about: a sample of `PERCENT` is looked at. Of 100,000 buyers each fifth has
    between 18.8 and 21.2 % of them then, in 95 of 100 samples, and of more it is nearer.
    """
    values = {"currency": currency}
    of = _OF_SOME if await db.scalar(_ARE_MANY, {**values, "many": many}) else _OF_ALL
    row = (await db.execute(of, {**values, "now": now})).one()
    if row.days is None:
        return None
    return Quintiles(days=tuple(row.days), orders=tuple(row.orders), total=tuple(row.total))

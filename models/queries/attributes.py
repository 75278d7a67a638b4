"""Attributes: the catalogue that is discovered from what comes in, and the values of those that are hot.

Who writes `profiles.attributes` calls `note` with what came in, and then `keep_values` for whom it changed,
in the same transaction, which holds the lock of `people_lock`: `fill` takes it as well, so that it never
meets a profile in the middle of a change.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.attributes import LONGEST_NAME, MOST_NAMES, AttributeType
from domain.errors import NotFound
from domain.values import NUMBER
from models.attributes import Attribute
from models.base import Db, changed
from models.queries import people_lock

PAGE = 5000  # Profiles that are read at once when an attribute becomes hot.
FROM_THE_START = UUID(int=0)
LONGEST_TEXT = 200  # Characters of a hot text that are kept.

_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_ZONE = "(Z|[+-][0-9]{2}:?[0-9]{2})"
_INSTANT = f"^{_DAY}([T ]([01][0-9]|2[0-3]):[0-9]{{2}}(:[0-9]{{2}}([.][0-9]+)?)?{_ZONE}?)?$"


def _is_date(written: str) -> str:
    """Whether a text is a day or an instant in ISO 8601. PostgreSQL knows how many days February has."""
    return f"({written} ~ '{_INSTANT}' and pg_input_is_valid({written}, 'timestamptz'))"


def type_of(value: str) -> str:
    """The SQL of the `AttributeType` of a JSONB value that is not null."""
    return f"""
        case jsonb_typeof({value})
            when 'string' then case when {_is_date(f"({value} #>> '{{}}')")}
                then '{AttributeType.DATE}' else '{AttributeType.STRING}' end
            when 'array' then '{AttributeType.LIST}'
            else jsonb_typeof({value})
        end
    """


# What is written without a zone is taken for UTC, whatever the session's is.
_ZONED = f"{_ZONE}$"
_TEXT = f"""
    case when jsonb_typeof(value) in ('string', 'boolean') then left(value #>> '{{}}', {LONGEST_TEXT}) end
"""
# A number, or a text that is written like one, in such a way that double precision compares it rightly with
# every number of up to 15 digits. There are at least four doubles from one of those to the next (DBL_DIG):
# what lies between two of them, and is rounded to one, is moved to a neighbour on its side; what is beyond
# all doubles stands at their end.
_NUMBER = rf"""
    case when jsonb_typeof(value) = 'number'
        or jsonb_typeof(value) = 'string' and (value #>> '{{}}') ~ '{NUMBER}'
    then (
        select case
            when n = d or not (f = 0 or abs(f) between 1e-290 and 1e307) then f
            when cast(d as float8) <> f then f
            when n > d then f + abs(f) * 2e-16
            else f - abs(f) * 2e-16
        end
        from (select n, f, cast(f as numeric) as d from (
            select cast(value #>> '{{}}' as numeric) as n, case
                when pg_input_is_valid(value #>> '{{}}', 'float8') then cast(value #>> '{{}}' as float8)
                when value #>> '{{}}' ~ '^-' then
                    case when cast(value #>> '{{}}' as numeric) < -1 then '-Infinity' else -5e-324 end
                when cast(value #>> '{{}}' as numeric) > 1 then 'Infinity'
                else 5e-324
            end as f
        ) read) rounded
    ) end
"""
_TIME = f"""
    case when jsonb_typeof(value) = 'string' and {_is_date("(value #>> '{}')")} then
        case when (value #>> '{{}}') ~ '[T ].*{_ZONED}' then cast(value #>> '{{}}' as timestamptz)
            else cast(value #>> '{{}}' as timestamp) at time zone 'UTC' end
    end
"""

# A date where texts are expected is a text that looks like one, and no conflict.
_FITS = f"""
    (g.type = {{type}} or {{type}} = '{AttributeType.STRING}' and g.type = '{AttributeType.DATE}')
"""


@cache
def _noting(traits: str) -> TextClause:
    """In the order of their names, so that two who note the same wait for each other and not for ever."""
    return text(
        f"""
        with given as materialized (
            select name, type, count(*) as n
            from (
                select t.name, {type_of("t.value")} as type
                from ({traits}) t (name, value)
                where jsonb_typeof(t.value) <> 'null' and length(t.name) between 1 and {LONGEST_NAME}
            ) typed
            group by name, type
        ), named as (
            select name, (array_agg(type order by n desc, type))[1] as first, sum(n) as n
            from given group by name
        ), placed as (
            select ranked.* from (
                select named.*, k.known,
                    count(*) filter (where k.known is null) over (order by named.name) as nth_new
                from named
                left join lateral (
                    select true as known from attributes k
                    where k.workspace_id = :workspace and k.name = named.name limit 1
                ) k on true
            ) ranked
            where ranked.known or ranked.nth_new
                + (select count(*) from attributes k where k.workspace_id = :workspace) <= {MOST_NAMES}
        )
        insert into attributes as a
            (workspace_id, name, type, values, conflicts, first_seen_at, last_seen_at)
        select :workspace, p.name, p.first, p.n,
            p.n - (select sum(g.n) from given g where g.name = p.name and {_FITS.format(type="p.first")}),
            cast(:now as timestamptz), cast(:now as timestamptz)
        from placed p order by p.name
        on conflict (workspace_id, name) do update set
            values = a.values + excluded.values,
            conflicts = a.conflicts + (
                select coalesce(sum(g.n), 0) from given g
                where g.name = a.name and not {_FITS.format(type="a.type")}
            ),
            last_seen_at = greatest(a.last_seen_at, excluded.last_seen_at)
        """
    )


# As `note` is asked where what came in is at hand.
GIVEN = "select * from unnest(cast(:names as text[]), cast(:values as text[])::jsonb[])"


async def note(
    db: Db, workspace_id: UUID, traits: str, now: datetime, values: Mapping[str, Any] | None = None
) -> None:
    """Count what came in: which attributes there are, of what type, and how many did not fit.

    `traits` is SQL that answers (name, jsonb value), a row for each attribute that somebody sent, with its
    own parameters in `values`; it is one of a few that the program has. Nulls say nothing and are left out,
    and so is a new name once there are `MOST_NAMES`.
    """
    await db.execute(_noting(traits), {**(values or {}), "workspace": workspace_id, "now": now})


# Where no attribute is hot, the profiles are not even looked at.
_KEEP = text(
    f"""
    with hot as materialized (
        select name from attributes where workspace_id = :workspace and hot
    ), wanted as materialized (
        select profile_id, name, {_TEXT} as "text", {_NUMBER} as "number", {_TIME} as "time"
        from (
            select p.id as profile_id, hot.name, p.attributes -> hot.name as value
            from hot
            cross join unnest(cast(:profiles as uuid[])) asked (id)
            join profiles p on p.workspace_id = :workspace and p.id = asked.id and p.merged_into is null
        ) held
        where jsonb_typeof(value) in ('string', 'boolean', 'number')
    ), gone as (
        delete from profile_values v
        where (select count(*) from hot) > 0
            and v.workspace_id = :workspace and v.profile_id = any(cast(:profiles as uuid[]))
            and not exists (
                select from wanted w where w.profile_id = v.profile_id and w.name = v.attribute
            )
    )
    insert into profile_values as v (workspace_id, profile_id, attribute, "text", "number", "time")
    select :workspace, profile_id, name, "text", "number", "time" from wanted order by profile_id, name
    on conflict (workspace_id, profile_id, attribute) do update set
        "text" = excluded."text", "number" = excluded."number", "time" = excluded."time"
    where (v."text", v."number", v."time")
        is distinct from (excluded."text", excluded."number", excluded."time")
    """
)


async def keep_values(db: Db, workspace_id: UUID, profile_ids: Sequence[UUID]) -> None:
    """Have the hot values of these profiles follow their attributes, as this transaction has written them.

    Of a merged profile none is kept. Nobody is named twice.
    """
    await db.execute(_KEEP, {"workspace": workspace_id, "profiles": list(profile_ids)})


_NEXT = text(
    """
    select p.id from profiles p
    where p.workspace_id = :workspace and p.id > :after order by p.id limit :limit
    """
)
# With what is left of an earlier time when it was hot, and which nobody has kept since.
_FILL = text(
    f"""
    with here as materialized (
        select p.id as profile_id,
            case when p.merged_into is null then p.attributes -> cast(:name as text) end as value
        from profiles p where p.workspace_id = :workspace and p.id > :after and p.id <= :last
    ), held as materialized (
        select * from here where jsonb_typeof(value) in ('string', 'boolean', 'number')
    ), gone as (
        delete from profile_values v
        where v.workspace_id = :workspace and v.attribute = :name
            and v.profile_id = any(cast(array(select profile_id from here) as uuid[]))
            and not exists (select from held h where h.profile_id = v.profile_id)
    )
    insert into profile_values as v (workspace_id, profile_id, attribute, "text", "number", "time")
    select :workspace, profile_id, :name, {_TEXT}, {_NUMBER}, {_TIME} from held order by profile_id
    on conflict (workspace_id, profile_id, attribute) do update set
        "text" = excluded."text", "number" = excluded."number", "time" = excluded."time"
    """
)
_FILLED = text("update attributes set filled_to = :last where workspace_id = :workspace and name = :name")
_STATE = text(
    "select hot, filled_to from attributes where workspace_id = :workspace and name = :name for update"
)
_CLEAR = text(
    """
    delete from profile_values v
    where v.workspace_id = :workspace and v.attribute = :name and v.profile_id = any(cast(array(
        select p.id from profiles p
        where p.workspace_id = :workspace and p.id > :after and p.id <= :last
    ) as uuid[]))
    """
)


async def fill(db: AsyncSession, workspace_id: UUID, name: str, limit: int = PAGE) -> bool:
    """Bring the next page of profiles in line with whether the attribute is hot, as `change` left to do.

    Hot: their values are kept, and no others. Not hot: what was kept is dropped. Returns whether there are
    more.
    """
    await people_lock.take(db, workspace_id)
    it: dict[str, Any] = {"workspace": workspace_id, "name": name}
    state = (await db.execute(_STATE, it)).one_or_none()
    if state is None or state.filled_to is None:
        return False
    it["after"] = state.filled_to
    found = list(await db.scalars(_NEXT, it | {"limit": limit}))
    more = len(found) == limit
    if found:
        it["last"] = found[-1]
        await db.execute(_FILL if state.hot else _CLEAR, it)
    await db.execute(_FILLED, it | {"last": found[-1] if more else None})
    return more


async def unfilled(db: AsyncSession) -> list[Attribute]:
    """Those of any workspace that `fill` has more to do for; as the engine."""
    return list(await db.scalars(select(Attribute).where(Attribute.filled_to.is_not(None)).limit(100)))


async def page(db: AsyncSession, after: str | None, limit: int) -> list[Attribute]:
    """Up to `limit` attributes by their names, beyond `after`."""
    asked = select(Attribute).order_by(Attribute.name).limit(limit)
    if after is not None:
        asked = asked.where(Attribute.name > after)
    return list(await db.scalars(asked))


async def get(db: AsyncSession, name: str, *, lock: bool = False) -> Attribute:
    """Raises `NotFound`."""
    asked = select(Attribute).where(Attribute.name == name)
    found = await db.scalar(asked.with_for_update() if lock else asked)
    if found is None:
        raise NotFound(f'Nobody has an attribute "{name}" yet.')
    return found


_CHANGE = text(
    """
    update attributes set
        type = coalesce(cast(:type as text), type),
        conflicts = case when cast(:type as text) is null then conflicts else 0 end,
        server_only = coalesce(cast(:server_only as boolean), server_only),
        hot = coalesce(cast(:hot as boolean), hot),
        filled_to = case when cast(:hot as boolean) is null then filled_to else cast(:start as uuid) end
    where workspace_id = :workspace and name = :name
    """
)


async def change(
    db: AsyncSession,
    workspace_id: UUID,
    name: str,
    *,
    type_: AttributeType | None = None,
    server_only: bool | None = None,
    hot: bool | None = None,
) -> Attribute:
    """Set what is not None. A new type begins a new count of conflicts. Raises `NotFound`.

    From the commit on every write keeps a hot attribute's values; what was there before is for `fill`.
    """
    values = {"workspace": workspace_id, "name": name, "type": type_, "server_only": server_only}
    if not await changed(db, _CHANGE, values | {"hot": hot, "start": FROM_THE_START}):
        raise NotFound(f'Nobody has an attribute "{name}" yet.')
    asked = select(Attribute).where(Attribute.name == name)
    return (await db.scalars(asked.execution_options(populate_existing=True))).one()

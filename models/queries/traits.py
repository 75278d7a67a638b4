"""What identifies say of people: attributes, and what they allow. On the pump's `taken`, by the set.

Who sends last wins, by the sender's clock: an identify that is older than what the profile has already (it
waited in a phone without a network) fills in what is missing and changes nothing. A null removes.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from domain.profiles import OWN_WORD, ConsentSource, ConsentState
from models.base import Db, changed

_TELL = text(
    """
    insert into told
    select distinct on (t.profile_id, e.key) t.profile_id, e.key, e.value, t.occurred_at, not t.historical
    from taken t cross join lateral jsonb_each(t.properties) e
    where t.kind = 'identify' and t.profile_id is not null
    order by t.profile_id, e.key, t.occurred_at desc, t.n desc
    """
)
_KNOWN_BY_NAME = "array['time_zone', 'timezone', 'timeZone', 'locale', 'country']"
_APPLY = text(
    f"""
    with folded as materialized (
        select profile_id, max(occurred_at) as at, bool_or(live) as live,
            coalesce(jsonb_object_agg(name, value) filter (where value <> 'null'), '{{}}') as kept,
            coalesce(array_agg(name) filter (where value = 'null'), '{{}}') as removed
        from told group by profile_id
    ),
    becomes as materialized (
        select f.profile_id, f.at, f.live, p.attributes as were,
            case when p.attributes_at is null or f.at >= p.attributes_at
                then (p.attributes || f.kept) - f.removed else f.kept || p.attributes end as attributes
        from folded f
        cross join lateral (
            select p.attributes, p.attributes_at from profiles p
            where p.workspace_id = :workspace and p.id = f.profile_id limit 1
        ) p
    ),
    written as (
        update profiles p
        set attributes = b.attributes, attributes_at = greatest(p.attributes_at, b.at),
            updated_at = case when b.attributes = b.were then p.updated_at else :now end,
            time_zone = case when b.attributes ?| {_KNOWN_BY_NAME} then coalesce((
                select z from unnest(array[b.attributes ->> 'time_zone', b.attributes ->> 'timezone',
                    b.attributes ->> 'timeZone']) z where z = any(cast(:zones as text[])) limit 1
                ), p.time_zone) else p.time_zone end,
            locale = case when b.attributes ->> 'locale' ~ '^[A-Za-z]{{2,3}}([-_][A-Za-z0-9]{{2,8}})*$'
                then replace(b.attributes ->> 'locale', '_', '-') else p.locale end,
            country = case when b.attributes ->> 'country' ~ '^[A-Za-z]{{2}}$'
                then upper(b.attributes ->> 'country') else p.country end
        from becomes b
        where p.workspace_id = :workspace and p.id = b.profile_id
            and (b.attributes <> b.were or p.attributes_at is null or b.at > p.attributes_at)
    )
    insert into changed (profile_id, live)
    select profile_id, live from becomes where attributes <> were order by profile_id
    on conflict (profile_id) do update set live = changed.live or excluded.live
    """
)
_NAMES = text("select distinct name from told")


async def apply(db: Db, workspace_id: UUID, zones: Collection[str], now: datetime) -> Sequence[str]:
    """Let identifies take effect. Returns which attributes they spoke of, none when there were none.

    `zones` are the names of time zones. Time zone, locale and country are known by their names, and taken
    where they can be read.
    """
    if not await changed(db, _TELL):
        return ()
    await db.execute(_APPLY, {"workspace": workspace_id, "zones": [*zones], "now": now})
    return [*(await db.execute(_NAMES)).scalars()]


_OWN_WORD = ", ".join(f"'{source}'" for source in sorted(OWN_WORD))
# Of what a batch says about one thing, the person's own no counts, or else the last. Then it is as in
# `domain.profiles.may_grant`: a no is always taken; a yes where nobody said no, or who did says so now.
_ALLOW = text(
    f"""
    insert into allowed
    select s.*
    from (
        select distinct on (t.profile_id, c.key) t.profile_id, c.key as purpose, c.value #>> '{{}}' as state,
            case when t.trusted then '{ConsentSource.API}' else '{ConsentSource.PERSON}' end as source,
            t.occurred_at as at
        from taken t cross join lateral jsonb_each(t.consents) c
        where t.consents is not null and t.profile_id is not null
        order by t.profile_id, c.key, t.trusted, t.n desc
    ) s
    left join lateral (
        select c.state, c.source from consents c
        where c.workspace_id = :workspace and c.profile_id = s.profile_id and c.purpose = s.purpose
            and c.ended_at is null
        limit 1
    ) held on true
    where case s.state
        when '{ConsentState.DENIED}' then held.state is distinct from s.state
            or (s.source in ({_OWN_WORD}) and held.source not in ({_OWN_WORD}))
        else held.state is null or held.state = '{ConsentState.DENIED}' and held.source = s.source end
    """
)
_END = text(
    """
    update consents c set ended_at = :now from allowed a
    where c.workspace_id = :workspace and c.profile_id = a.profile_id and c.purpose = a.purpose
        and c.ended_at is null
    """
)
_BEGIN = text(
    """
    insert into consents (workspace_id, id, profile_id, purpose, state, source, at)
    select :workspace, uuidv7(), profile_id, purpose, state, source, at from allowed
    order by profile_id, purpose
    """
)


async def allow(db: Db, workspace_id: UUID, now: datetime) -> None:
    """Write down what came with identifies about consent; by a public key, only the visitor's own no."""
    here = {"workspace": workspace_id, "now": now}
    if await changed(db, _ALLOW, {"workspace": workspace_id}):
        await db.execute(_END, here)
        await db.execute(_BEGIN, here)

"""What identifies say of people: attributes, and what they allow. On the pump's `taken`, by the set.

Who sends last wins, by the sender's clock: an identify that is older than what the profile has already (it
waited in a phone without a network) fills in what is missing and changes nothing. A null removes.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from domain.changes import LARGEST, MOST
from domain.events import EventKind, RefusalStage
from domain.profiles import OWN_WORD, ConsentSource, ConsentState
from models.base import Db, changed

# An identify is late when one before it, of this batch or another, was newer by the sender's clock. Of what
# the others say of an attribute the last counts; of what late ones say, the first that finds it missing.
_TELL = text(
    """
    insert into told
    with said as materialized (
        select t.n, t.profile_id, t.properties, t.occurred_at, coalesce(t.occurred_at >= greatest(
            p.attributes_at, max(t.occurred_at) over (
                partition by t.profile_id order by t.n rows between unbounded preceding and 1 preceding
            )), true) as fresh
        from taken t
        cross join lateral (
            select p.attributes_at from profiles p
            where p.workspace_id = :workspace and p.id = t.profile_id limit 1
        ) p
        where t.kind = 'identify' and t.properties <> '{}'
    ),
    pairs as materialized (
        select s.n, s.profile_id, s.occurred_at, s.fresh, e.key, e.value
        from said s cross join lateral jsonb_each(s.properties) e
    ),
    last as materialized (
        select distinct on (profile_id, key) * from pairs where fresh order by profile_id, key, n desc
    ),
    late as materialized (
        select distinct on (p.profile_id, p.key) p.profile_id, p.key, p.value, l.occurred_at,
            l.n is null as fills
        from pairs p left join last l on l.profile_id = p.profile_id and l.key = p.key
        where not p.fresh and p.value <> 'null' and (l.n is null or l.value = 'null' and p.n > l.n)
        order by p.profile_id, p.key, p.n
    )
    select l.profile_id, l.key, l.value, false, l.occurred_at from last l
    where not exists (select from late d where d.profile_id = l.profile_id and d.key = l.key)
    union all
    select profile_id, key, value, fills, occurred_at from late
    """
)
_KNOWN_BY_NAME = "array['time_zone', 'timezone', 'timeZone', 'locale', 'country']"
_APPLY = text(
    f"""
    with folded as materialized (
        select profile_id, max(at) as at,
            coalesce(jsonb_object_agg(name, value)
                filter (where value <> 'null' and not fills), '{{}}') as kept,
            coalesce(jsonb_object_agg(name, value) filter (where fills), '{{}}') as filled,
            coalesce(array_agg(name) filter (where value = 'null'), '{{}}') as removed
        from told group by profile_id
    ),
    becomes as materialized (
        select f.profile_id, f.at, p.attributes as were,
            f.filled || ((p.attributes || f.kept) - f.removed) as attributes
        from folded f
        cross join lateral (
            select p.attributes from profiles p
            where p.workspace_id = :workspace and p.id = f.profile_id limit 1
        ) p
    ),
    judged as materialized (
        select *, octet_length(attributes::text) <= greatest({LARGEST}, octet_length(were::text))
            and (select count(*) from jsonb_object_keys(attributes)) <= greatest(
                {MOST}, (select count(*) from jsonb_object_keys(were))) as fits
        from becomes
    ),
    refused as (
        insert into refusals (workspace_id, id, at, stage, kind, pointer, reason)
        select :workspace, uuidv7(), :now, '{RefusalStage.FIELD}', '{EventKind.IDENTIFY}', '/traits',
            'Profile ' || profile_id || ' has as many attributes as one may have ({MOST}, and {LARGEST:,} '
                || 'bytes together): remove some by null. These traits were left out.'
        from judged where not fits
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
        from judged b
        where p.workspace_id = :workspace and p.id = b.profile_id and b.fits
            and (b.attributes <> b.were or p.attributes_at is null or b.at > p.attributes_at)
    )
    insert into changed (profile_id, live)
    select profile_id, :live from judged where fits and attributes <> were order by profile_id
    on conflict (profile_id) do update set live = changed.live or excluded.live
    """
)
_NAMES = text("select distinct name from told")


async def apply(
    db: Db, workspace_id: UUID, zones: Collection[str], now: datetime, *, live: bool
) -> Sequence[str]:
    """Let identifies take effect. Returns which attributes they spoke of, none when there were none.

    `zones` are the names of time zones. Time zone, locale and country are known by their names, and taken
    where they can be read.
    """
    here = {"workspace": workspace_id, "now": now}
    if not await changed(db, _TELL, {"workspace": workspace_id}):
        return ()
    await db.execute(_APPLY, {**here, "zones": [*zones], "live": live})
    return [*(await db.execute(_NAMES)).scalars()]


_OWN_WORD = ", ".join(f"'{source}'" for source in sorted(OWN_WORD))
# Of what a batch says about one thing, the person's own no counts, or else the newest by the sender's clock;
# what is older than what holds says nothing. Then, as in `domain.profiles.may_grant`: a no is taken, a yes
# where nobody said no, or who did says so now.
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
        order by t.profile_id, c.key, t.trusted, t.occurred_at desc, t.n desc
    ) s
    left join lateral (
        select c.state, c.source, c.at from consents c
        where c.workspace_id = :workspace and c.profile_id = s.profile_id and c.purpose = s.purpose
            and c.ended_at is null
        limit 1
    ) held on true
    where (held.at is null or s.at >= held.at or s.source in ({_OWN_WORD})) and case s.state
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


_ALLOWED = text(
    """
    insert into changed (profile_id, live)
    select distinct profile_id, cast(:live as boolean) from allowed order by profile_id
    on conflict (profile_id) do update set live = changed.live or excluded.live
    """
)


async def allow(db: Db, workspace_id: UUID, now: datetime, *, live: bool) -> bool:
    """Write down what came with identifies about consent; by a public key, only the visitor's own no.

    Returns whether anything of it was news. Whose it was is in `changed`.
    """
    here = {"workspace": workspace_id, "now": now}
    if not await changed(db, _ALLOW, {"workspace": workspace_id}):
        return False
    await db.execute(_END, here)
    await db.execute(_BEGIN, here)
    await db.execute(_ALLOWED, {"live": live})
    return True

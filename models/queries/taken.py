"""What the pump takes out of the inbox, a batch at a time, and whose it is.

Everything here and in the pump's other modules works on the temporary tables of `models.working`.

A look-up in one of the big tables is a lateral join with a limit, so that the planner has no choice but to
look up each row by its key: it knows nothing of a temporary table's size, and once read a whole table for
each batch.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import text
from uuid_utils.compat import uuid7

from domain.identities import STRONGEST_FIRST, Name, Person, Resolved, Said
from domain.profiles import IdentityKind
from models.base import Db, changed
from models.queries import people_lock

# Walks from one workspace to the next by the primary key, however many wait in each.
_WORKSPACES = text(
    """
    with recursive waiting as (
        (select workspace_id from inbox order by workspace_id limit 1)
        union all
        select next.workspace_id from waiting w
        cross join lateral (
            select i.workspace_id from inbox i where i.workspace_id > w.workspace_id
            order by i.workspace_id limit 1
        ) next
    )
    select workspace_id from waiting
    """
)


async def workspaces(db: Db) -> list[UUID]:
    """The workspaces for which something waits. As the engine."""
    return list((await db.execute(_WORKSPACES)).scalars())


_TRY = text("select pg_try_advisory_xact_lock(hashtextextended('pump of ' || cast(:workspace as text), 0))")


async def lock(db: Db, workspace_id: UUID) -> bool:
    """Whether this pump is the only one at work for the workspace, until the end of the transaction."""
    if not next((await db.execute(_TRY, {"workspace": str(workspace_id)})).scalars()):
        return False
    await people_lock.take(db, workspace_id)
    return True


_TAKE = text(
    """
    with gone as (
        delete from inbox where ctid = any(array(
            select ctid from inbox where workspace_id = :workspace order by id limit :most
        ))
        returning *
    )
    insert into taken
    select row_number() over (order by g.id), g.id, g.received_at, g.kind, g.trusted, g.historical,
        g.message_id, g.occurred_at, g.name, g.email, g.phone, g.user_id, g.anonymous_id, g.properties,
        g.context, g.consents, g.workspace_id,
        case when (g.user_id is null or u.profile_id is not null)
            and (g.email is null or e.profile_id is not null)
            and (g.phone is null or p.profile_id is not null)
            and (g.anonymous_id is null or a.profile_id is not null)
            and g.kind <> 'alias'
            and (u.profile_id is null or e.profile_id is null or u.profile_id = e.profile_id)
            and (u.profile_id is null or p.profile_id is null or u.profile_id = p.profile_id)
            and (u.profile_id is null or a.profile_id is null or u.profile_id = a.profile_id)
            and (e.profile_id is null or p.profile_id is null or e.profile_id = p.profile_id)
            and (e.profile_id is null or a.profile_id is null or e.profile_id = a.profile_id)
            and (p.profile_id is null or a.profile_id is null or p.profile_id = a.profile_id)
        then coalesce(u.profile_id, e.profile_id, p.profile_id, a.profile_id) end,
        u.profile_id, e.profile_id, p.profile_id, a.profile_id
    from gone g
    left join lateral (select i.profile_id from identities i where i.workspace_id = :workspace
        and i.kind = 'user_id' and i.value = g.user_id limit 1) u on g.user_id is not null
    left join lateral (select i.profile_id from identities i where i.workspace_id = :workspace
        and i.kind = 'email' and i.value = g.email limit 1) e on g.email is not null
    left join lateral (select i.profile_id from identities i where i.workspace_id = :workspace
        and i.kind = 'phone' and i.value = g.phone limit 1) p on g.phone is not null
    left join lateral (select i.profile_id from identities i where i.workspace_id = :workspace
        and i.kind = 'anonymous_id' and i.value = g.anonymous_id limit 1) a on g.anonymous_id is not null
    """
)


async def take(db: Db, workspace_id: UUID, most: int) -> int:
    """Move up to `most` arrivals, the oldest first, from the inbox to `taken`. Returns how many.

    Those whose names all lead to one person get their `profile_id`; the rest is for `people`.
    """
    return await changed(db, _TAKE, {"workspace": workspace_id, "most": most})


_KINDS = text("select kind, historical, count(*), min(received_at) from taken group by kind, historical")


class Kinds(NamedTuple):
    """Which kinds are in `taken`, and when the first of all came in."""

    live: frozenset[str]
    historical: frozenset[str]
    oldest: datetime | None


async def kinds(db: Db) -> Kinds:
    found = [*await db.execute(_KINDS)]
    return Kinds(
        frozenset(kind for kind, historical, *_ in found if not historical),
        frozenset(kind for kind, historical, *_ in found if historical),
        min((at for *_, at in found), default=None),
    )


# Ids of public keys are told from those of secret keys: who can guess one of the server's can't burn it.
_REPEATED = text(
    """
    with told as materialized (
        select n, received_at, case when trusted then 's ' else 'p ' end || message_id as message_id
        from taken where message_id is not null
    ),
    new as materialized (
        insert into seen (workspace_id, message_id, at)
        select :workspace, message_id, max(received_at) from told group by message_id
        on conflict do nothing
        returning message_id
    ),
    first as (
        select min(t.n) as n from told t join new using (message_id) group by t.message_id
    )
    delete from taken t where t.message_id is not null and t.n not in (select n from first)
    """
)


async def drop_repeated(db: Db, workspace_id: UUID) -> int:
    """Leave out of `taken` what came in before, by its message id. Returns how many that were."""
    return await changed(db, _REPEATED, {"workspace": workspace_id})


_UNSETTLED = text(
    """
    select n, kind, trusted, user_id, email, phone, anonymous_id,
        by_user, by_email, by_phone, by_anonymous,
        case kind when 'alias' then properties ->> 'previous_id' end as previous
    from taken
    where profile_id is null and coalesce(user_id, email, phone, anonymous_id) is not null
    order by n
    """
)
_PREVIOUS = text(
    """
    select i.kind, i.value, i.profile_id from unnest(cast(:values as text[])) asked(value)
    cross join unnest(array['anonymous_id', 'user_id', 'email']) k(kind)
    cross join lateral (select * from identities i where i.workspace_id = :workspace and i.kind = k.kind
        and i.value = asked.value limit 1) i
    """
)
_HOLDERS = text(
    """
    select p.id, coalesce(bool_or(i.kind <> 'anonymous_id'), false),
        array_agg(i.value) filter (where i.kind = 'user_id')
    from unnest(cast(:people as uuid[])) p(id)
    left join identities i on i.workspace_id = :workspace and i.profile_id = p.id
    group by p.id
    """
)


class Unsettled(NamedTuple):
    """What came in under names that do not all lead to one person, and who has them."""

    said: list[Said]
    holders: dict[Name, Person]


async def unsettled(db: Db, workspace_id: UUID) -> Unsettled:
    said: list[Said] = []
    held: dict[Name, UUID] = {}
    for n, kind, trusted, user, email, phone, anonymous, *by, previous in await db.execute(_UNSETTLED):
        names: list[Name] = []
        values = (user, email, phone, anonymous)
        for name_kind, value, holder in zip(STRONGEST_FIRST, values, by, strict=True):
            if value is not None:
                names.append((name_kind, value))
                if holder is not None:
                    held[name_kind, value] = holder
        said.append(Said(n, trusted, names, previous if kind == "alias" else None))
    if aliases := [each.previous for each in said if each.previous]:
        rows = await db.execute(_PREVIOUS, {"workspace": workspace_id, "values": aliases})
        held |= {(IdentityKind(kind), value): holder for kind, value, holder in rows}
    people: dict[UUID, Person] = {}
    if held:
        rows = await db.execute(_HOLDERS, {"workspace": workspace_id, "people": [*set(held.values())]})
        people = {id_: Person(id_, known, set(user_ids or ())) for id_, known, user_ids in rows}
    return Unsettled(said, {name: people[holder] for name, holder in held.items()})


_NEW = text(
    """
    insert into profiles (workspace_id, id, created_at, updated_at)
    select :workspace, id, :now, :now from unnest(cast(:people as uuid[])) p(id)
    """
)
# The newest address that a secret key gave is the one that is written to; any other is where there is none.
_NO_LONGER_FIRST = text(
    """
    update identities i set is_primary = false
    from (select distinct kind, person from jsonb_to_recordset(cast(:names as jsonb))
        as g(kind text, value text, person uuid, trusted boolean, nth int) where trusted) g
    where i.workspace_id = :workspace and i.profile_id = g.person and i.kind = g.kind and i.is_primary
    """
)
_NAMES = text(
    """
    insert into identities (workspace_id, kind, value, profile_id, is_primary, created_at)
    select :workspace, g.kind, g.value, g.person,
        row_number() over (
            partition by g.person, g.kind
            order by g.trusted desc, case when g.trusted then -g.nth else g.nth end
        ) = 1 and there.is_primary is null,
        :now
    from jsonb_to_recordset(cast(:names as jsonb))
        as g(kind text, value text, person uuid, trusted boolean, nth int)
    left join lateral (
        select i.is_primary from identities i where i.workspace_id = :workspace and i.profile_id = g.person
            and i.kind = g.kind and i.is_primary limit 1
    ) there on true
    """
)
_WHOSE = text(
    """
    update taken t set profile_id = w.person
    from unnest(cast(:ns as bigint[]), cast(:persons as uuid[])) w(n, person)
    where t.n = w.n
    """
)
_WHO_NOW = text(
    """
    update taken t set profile_id = m.person
    from unnest(cast(:aliases as uuid[]), cast(:persons as uuid[])) m(alias, person)
    where t.profile_id = m.alias
    """
)
_REFUSED = text(
    """
    insert into refusals (workspace_id, id, at, stage, kind, name, message_id, pointer, reason)
    select :workspace, r.id, :now, 'name', t.kind, t.name, t.message_id, '/' || r.kind, r.why
    from jsonb_to_recordset(cast(:refused as jsonb)) as r(id uuid, n bigint, kind text, why text)
    join taken t on t.n = r.n
    """
)


async def settle(db: Db, workspace_id: UUID, resolved: Resolved, now: datetime) -> None:
    """Write down who is who: new people and their names, and whose each of `taken` is.

    The `merged` are to be merged before, and whatever was theirs is the survivor's from here on.
    """
    here = {"workspace": workspace_id, "now": now}
    if resolved.new:
        await db.execute(_NEW, {**here, "people": resolved.new})
    if resolved.given:
        names = _json({**each._asdict(), "nth": nth} for nth, each in enumerate(resolved.given))
        await db.execute(_NO_LONGER_FIRST, {**here, "names": names})
        await db.execute(_NAMES, {**here, "names": names})
    if resolved.persons:
        values = {"ns": [*resolved.persons], "persons": [*resolved.persons.values()]}
        await db.execute(_WHOSE, values)
    if resolved.merged:
        merged = {"aliases": [*resolved.merged], "persons": [*resolved.merged.values()]}
        await db.execute(_WHO_NOW, merged)
    if resolved.refused:
        refused = _json({"id": uuid7(), **each._asdict()} for each in resolved.refused)
        await db.execute(_REFUSED, {**here, "refused": refused})


_PARK = text(
    "with gone as (delete from taken where not historical returning *) insert into parked select * from gone"
)
_UNPARK = [
    text(statement)
    for statement in (
        "delete from taken",
        "insert into taken select * from parked",
        *(
            f"delete from {each}"
            for each in ("changed", "doubted", "told", "allowed", "crossed", "happened", "newcomers")
        ),
    )
]


async def park(db: Db) -> None:
    """Leave only history in `taken`."""
    await db.execute(_PARK)


async def unpark(db: Db) -> None:
    """Go on with what is live, and with nothing of what history changed."""
    for statement in _UNPARK:
        await db.execute(statement)


def _json(rows: Iterable[dict[str, object]]) -> str:
    return orjson.dumps([*rows]).decode()


_QUARANTINE = text(
    """
    with gone as (
        delete from inbox i where i.workspace_id = :workspace and i.id = :id returning *
    )
    insert into quarantine (workspace_id, id, at, reason, arrival)
    select workspace_id, id, :now, :reason, to_jsonb(gone) from gone
    on conflict (workspace_id, id) do nothing
    """
)
_FIRST = text("select id from inbox where workspace_id = :workspace order by id limit 1")


async def first(db: Db, workspace_id: UUID) -> UUID | None:
    """The oldest arrival that waits."""
    return next(iter((await db.execute(_FIRST, {"workspace": workspace_id})).scalars()), None)


_DROP_REPEATED = text(
    """
    delete from inbox i where i.workspace_id = :workspace and i.id = :id and exists (
        select from events e
        where e.workspace_id = :workspace and e.id = i.id and e.received_at = i.received_at
    )
    """
)


async def drop_if_kept(db: Db, workspace_id: UUID, arrival_id: UUID) -> bool:
    """Leave out an arrival that was worked in before; whether it was.

    Who wrote it got no answer and wrote it again, after the pump had taken it.
    """
    return bool(await changed(db, _DROP_REPEATED, {"workspace": workspace_id, "id": arrival_id}))


async def quarantine(db: Db, workspace_id: UUID, arrival_id: UUID, reason: str, now: datetime) -> bool:
    """Put one arrival aside, with the reason, so that it holds up nobody. Whether it was still there."""
    values = {"workspace": workspace_id, "id": arrival_id, "reason": reason, "now": now}
    return bool(await changed(db, _QUARANTINE, values))


_PUT_ASIDE = text(
    """
    with gone as (delete from taken t where t.id = any(cast(:ids as uuid[])) returning *)
    insert into quarantine (workspace_id, id, at, reason, arrival)
    select workspace_id, id, :now, :reason,
        to_jsonb(gone) - array['n', 'profile_id', 'by_user', 'by_email', 'by_phone', 'by_anonymous']
    from gone on conflict (workspace_id, id) do nothing
    """
)


async def put_aside(db: Db, ids: Iterable[UUID], reason: str, now: datetime) -> None:
    """The same for some of `taken`."""
    await changed(db, _PUT_ASIDE, {"ids": [*ids], "reason": reason, "now": now})

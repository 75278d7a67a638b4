"""Merging profiles that turned out to be one person.

The merged profile stays, as an alias: messages and events keep the profile that they were about, and whoever
meets an alias follows `merged_into`, which never leads to another alias. Everything that says who the person
is, what they allow and what they bought goes to the survivor in the same transaction.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Conflict, NotFound
from domain.messages import MessageState, Skip
from domain.profiles import OWN_WORD, ConsentState
from models.base import Db
from models.queries import announced_people
from models.queries.agenda import OFF_THE_AGENDA
from models.queries.memberships import COUNT_DOWN
from models.queries.profiles import HERE

MERGING = timedelta(minutes=5)  # A merge bears the time at which it began, by the clock of whoever made it.

_RESOLVE = text(
    f"""
    select asked.id as asked, coalesce(asked.merged_into, asked.id) as found
    from profiles asked where asked.workspace_id = {HERE} and asked.id in (:one, :other)
    """
)
# In the order of their ids, so that two merges of the same pair, whichever way, come one after the other.
# `for update` holds off also those who are about to write rows that belong to one of them.
_LOCK = text(
    f"""
    select p.id, p.merged_into, p.erased_at
    from unnest(cast(:people as uuid[])) asked(id)
    join profiles p on p.workspace_id = {HERE} and p.id = asked.id
    order by p.id for update of p
    """
)


async def merge(db: AsyncSession, profile_id: UUID, into: UUID, now: datetime) -> bool:
    """Make `profile_id` an alias of `into`, as `merge_all` does. Returns False when they are one already.

    Raises NotFound, and Conflict when one of them was erased.
    """
    while True:
        one, other = await _resolve(db, profile_id, into)
        if one == other:
            return False
        rows = [*await db.execute(_LOCK, {"people": [one, other]})]
        if any(erased for *_, erased in rows):
            raise Conflict("One of the two was erased: nothing is left that could be merged.")
        if not any(merged for _, merged, _ in rows):  # Otherwise one was merged while we waited: look again.
            break
    await merge_all(db, {one: other}, now)
    return True


async def merge_all(db: Db, survivors: Mapping[UUID, UUID], now: datetime) -> None:
    """Make each key an alias of its value. No profile is both, and none was merged or erased before.

    - Names move; a name stays primary where the survivor has no primary one of its kind.
    - Attributes, time zone and the like: the survivor's win, what is missing is filled.
    - Consents, of channels and of topics: a denial wins over a grant; the history of both is the survivor's.
    - Orders move, and their sums are added up; so are the counters of frequency caps.
    - Tags, notes and lists: the survivor has those of both, and on a list stands as they did last.
    - Segments: the alias is a member of none, and counted down there. Nobody is told that it left.
    - Journeys: where the survivor has made the same one (the same flow by the same entry), the alias's
      ends and its queued message is skipped as `merged`. Others go on, under the alias.
    """
    await db.execute(_LOCK, {"people": [*survivors.keys(), *survivors.values()]})
    left = dict(survivors)
    while left:
        # Of those who become one person, one after the other: what the first fills, the next leaves alone.
        turn = {survivor: alias for alias, survivor in left.items()}
        values = {"aliases": [*turn.values()], "survivors": [*turn.keys()], "now": now}
        for statement in _MERGE:
            await db.execute(statement, values)
        for alias in turn.values():
            del left[alias]
    await announced_people.merged(db, survivors, now)


async def _resolve(db: AsyncSession, one: UUID, other: UUID) -> tuple[UUID, UUID]:
    found = {row.asked: row.found for row in await db.execute(_RESOLVE, {"one": one, "other": other})}
    for asked in (one, other):
        if asked not in found:
            raise NotFound(f"There is no profile {asked}.")
    return found[one], found[other]


_PAIRS = "unnest(cast(:aliases as uuid[]), cast(:survivors as uuid[])) m(alias, survivor)"
_OWN_WORD = ", ".join(f"'{source}'" for source in sorted(OWN_WORD))


def _also(which: str) -> str:
    """Each of the aliases or survivors, and who was merged into it before, with the survivor of the pair."""
    return f"""
        select m.survivor, m.{which} as id from {_PAIRS}
        union all
        select m.survivor, p.id from {_PAIRS}
        join profiles p on p.workspace_id = {HERE} and p.merged_into = m.{which}
    """


# The aliases' journeys under way that their survivors have made, too.
_MADE_TWICE = f"""
    theirs as materialized ({_also("alias")}),
    ours as materialized ({_also("survivor")}),
    twice as materialized (
        select e.id from theirs t
        join enrollments e on e.workspace_id = {HERE} and e.profile_id = t.id and e.ended_at is null
        where exists (select from ours o
            join enrollments s on s.workspace_id = {HERE} and s.profile_id = o.id
            where o.survivor = t.survivor and s.flow_id = e.flow_id and s.entry = e.entry)
    )
"""


def _end_one(table: str, about: str) -> str:
    """Where both have said something, one ends: the grant, what weighs less, or the alias's."""
    return f"""
        update {table} c set ended_at = :now
        from {_PAIRS}
        join {table} a on a.workspace_id = {HERE} and a.profile_id = m.alias and a.ended_at is null
        join {table} s on s.workspace_id = {HERE} and s.profile_id = m.survivor and s.ended_at is null
            and s.{about} = a.{about}
        where c.workspace_id = {HERE}
            and c.id = case when a.state = '{ConsentState.DENIED}' and (s.state = '{ConsentState.GRANTED}'
                    or a.source in ({_OWN_WORD}) and s.source not in ({_OWN_WORD}))
                then s.id else a.id end
    """


def _move(table: str) -> str:
    return f"""
        update {table} c set profile_id = m.survivor from {_PAIRS}
        where c.workspace_id = {HERE} and c.profile_id = m.alias
    """


_MERGE = [
    text(statement)
    for statement in (
        # A null says nothing, so it is filled as if the attribute were missing.
        f"""
        update profiles s set updated_at = :now,
            time_zone = coalesce(s.time_zone, a.time_zone), locale = coalesce(s.locale, a.locale),
            country = coalesce(s.country, a.country), owner_id = coalesce(s.owner_id, a.owner_id),
            attributes_at = greatest(s.attributes_at, a.attributes_at),
            attributes = a.attributes || coalesce((
                select jsonb_object_agg(key, value) from jsonb_each(s.attributes) where value <> 'null'
            ), '{{}}')
        from {_PAIRS} join profiles a on a.workspace_id = {HERE} and a.id = m.alias
        where s.workspace_id = {HERE} and s.id = m.survivor
        """,
        f"""
        update identities n set profile_id = m.survivor, is_primary = n.is_primary and not exists (
            select from identities i where i.workspace_id = {HERE} and i.profile_id = m.survivor
                and i.kind = n.kind and i.is_primary)
        from {_PAIRS}
        where n.workspace_id = {HERE} and n.profile_id = m.alias
        """,
        _end_one("consents", "purpose"),
        _move("consents"),
        _end_one("topic_consents", "topic_id"),
        _move("topic_consents"),
        # Orders are what the person bought and not what we decided about a profile: segments and sums over
        # them must see all of them under the survivor. So, other than messages and events, they move.
        _move("orders"),
        f"""
        with moved as (
            delete from order_rollups r using {_PAIRS}
            where r.workspace_id = {HERE} and r.profile_id = m.alias
            returning r.*, m.survivor
        )
        insert into order_rollups as r
            (workspace_id, profile_id, currency, total, count, first_at, last_at, largest)
        select workspace_id, survivor, currency, total, count, first_at, last_at, largest from moved
        on conflict (workspace_id, profile_id, currency) do update set
            total = r.total + excluded.total, count = r.count + excluded.count,
            first_at = least(r.first_at, excluded.first_at), last_at = greatest(r.last_at, excluded.last_at),
            largest = greatest(r.largest, excluded.largest)
        """,
        f"""
        with moved as (
            delete from cap_counters k using {_PAIRS}
            where k.workspace_id = {HERE} and k.profile_id = m.alias
            returning k.*, m.survivor
        )
        insert into cap_counters as k (workspace_id, profile_id, channel, period, starts_on, n)
        select workspace_id, survivor, channel, period, starts_on, n from moved
        on conflict (workspace_id, profile_id, channel, period, starts_on) do update set n = k.n + excluded.n
        """,
        f"""
        with moved as (
            delete from profile_tags t using {_PAIRS}
            where t.workspace_id = {HERE} and t.profile_id = m.alias
            returning t.*, m.survivor
        )
        insert into profile_tags (workspace_id, profile_id, tag, at)
        select workspace_id, survivor, tag, at from moved on conflict do nothing
        """,
        _move("profile_notes"),
        f"""
        with moved as (
            delete from list_members l using {_PAIRS}
            where l.workspace_id = {HERE} and l.profile_id = m.alias
            returning l.*, m.survivor
        )
        insert into list_members as l (workspace_id, list_id, profile_id, state, source, at)
        select workspace_id, list_id, survivor, state, source, at from moved
        on conflict (workspace_id, list_id, profile_id) do update
            set state = excluded.state, source = excluded.source, at = excluded.at
            where excluded.at > l.at
        """,
        # Of these the survivor's are made anew by whoever keeps them.
        f"""
        with gone as (
            delete from segment_members s using {_PAIRS}
            where s.workspace_id = {HERE} and s.profile_id = m.alias
            returning s.segment_id
        )
        {COUNT_DOWN}
        """,
        f"""
        delete from profile_values v using {_PAIRS}
        where v.workspace_id = {HERE} and v.profile_id = m.alias
        """,
        f"""
        with {_MADE_TWICE}
        select e.id from enrollments e join twice on twice.id = e.id
        where e.workspace_id = {HERE} order by e.id for update of e
        """,
        f"""
        with {_MADE_TWICE},
        ended as (
            update enrollments e
            set due_at = null, waiting_for = null, ended_at = :now, outcome = '{Skip.MERGED}'
            from twice
            where e.workspace_id = {HERE} and e.id = twice.id and e.ended_at is null
            returning e.workspace_id, e.version_id, old.step, old.due_at, e.id, e.profile_id
        ),
        {OFF_THE_AGENDA}
        update messages m set state = '{MessageState.SKIPPED}', reason = '{Skip.MERGED}', closed_at = :now
        from ended
        where m.workspace_id = {HERE} and m.profile_id = ended.profile_id and m.occasion = ended.id
            and m.state = '{MessageState.QUEUED}'
        """,
        # By a statement of its own, which sees the turn of a message that was put back meanwhile.
        f"""
        with theirs as materialized ({_also("alias")})
        delete from queue q using theirs t
        join messages m on m.workspace_id = {HERE} and m.profile_id = t.id and m.reason = '{Skip.MERGED}'
        where q.workspace_id = {HERE} and q.queue_id = m.queue_id and q.due_at = m.due_at
            and q.message_id = m.id
        """,
        # At last, and the alias's own aliases with it: a chain would have to be walked by everyone.
        f"""
        with theirs as materialized ({_also("alias")})
        update profiles p set merged_into = t.survivor, updated_at = :now
        from theirs t where p.workspace_id = {HERE} and p.id = t.id
        """,
    )
]

"""Merging two profiles that turned out to be one person.

The merged profile stays, as an alias: messages and events keep the profile that they were about, and whoever
meets an alias follows `merged_into`, which never leads to another alias. Everything that says who the person
is, what they allow and what they bought goes to the survivor in the same transaction.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Conflict, NotFound
from domain.messages import MessageState, Skip
from domain.profiles import OWN_WORD, ConsentState
from models.queries.agenda import OFF_THE_AGENDA
from models.queries.profiles import HERE

_RESOLVE = text(
    f"""
    select asked.id as asked, coalesce(asked.merged_into, asked.id) as found
    from profiles asked where asked.workspace_id = {HERE} and asked.id in (:one, :other)
    """
)
# In the order of their ids, so that two merges of the same pair, whichever way, come one after the other.
# `for update` holds off also those who are about to write rows that belong to one of the two.
_LOCK = text(
    f"""
    select id, merged_into, erased_at from profiles
    where workspace_id = {HERE} and id in (:one, :other) order by id for update
    """
)


async def merge(db: AsyncSession, profile_id: UUID, into: UUID, now: datetime) -> bool:
    """Make `profile_id` an alias of `into`. Returns False when they are one person already.

    - Names move; a name stays primary where the survivor has no primary one of its kind.
    - Attributes and time zone: the survivor's win, what is missing is filled.
    - Consents: a denial wins over a grant; the history of both is the survivor's.
    - Orders move, and their sums are added up; so are the counters of frequency caps.
    - Journeys: where the survivor has made the same one (the same flow by the same entry), the alias's
      ends and its queued message is skipped as `merged`. Others go on, under the alias.

    Raises NotFound, and Conflict when one of them was erased.
    """
    while True:
        one, other = await _resolve(db, profile_id, into)
        if one == other:
            return False
        rows = (await db.execute(_LOCK, {"one": one, "other": other})).all()
        if any(row.erased_at for row in rows):
            raise Conflict("One of the two was erased: nothing is left that could be merged.")
        if not any(row.merged_into for row in rows):  # Otherwise one was merged while we waited: look again.
            break
    for statement in _MERGE:
        await db.execute(statement, {"alias": one, "survivor": other, "now": now})
    return True


async def _resolve(db: AsyncSession, one: UUID, other: UUID) -> tuple[UUID, UUID]:
    found = {row.asked: row.found for row in await db.execute(_RESOLVE, {"one": one, "other": other})}
    for asked in (one, other):
        if asked not in found:
            raise NotFound(f"There is no profile {asked}.")
    return found[one], found[other]


def _also(profile: str) -> str:
    """One of the two, and who was merged into it before."""
    theirs = f"id = :{profile} or merged_into = :{profile}"
    return f"(select id from profiles where workspace_id = {HERE} and ({theirs}))"


_OWN_WORD = ", ".join(f"'{source}'" for source in sorted(OWN_WORD))

# The alias's journeys under way that the survivor has made, too.
_MADE_TWICE = f"""
    e.workspace_id = {HERE} and e.profile_id in {_also("alias")} and e.ended_at is null
        and exists (select from enrollments s where s.workspace_id = {HERE}
            and s.profile_id in {_also("survivor")} and s.flow_id = e.flow_id and s.entry = e.entry)
"""

_MERGE = [
    text(statement)
    for statement in (
        # A null says nothing, so it is filled as if the attribute were missing.
        f"""
        update profiles s set updated_at = :now, time_zone = coalesce(s.time_zone, a.time_zone),
            attributes = a.attributes || coalesce((
                select jsonb_object_agg(key, value) from jsonb_each(s.attributes) where value <> 'null'
            ), '{{}}')
        from profiles a
        where s.workspace_id = {HERE} and s.id = :survivor and a.workspace_id = {HERE} and a.id = :alias
        """,
        f"""
        update identities n set profile_id = :survivor, is_primary = n.is_primary and not exists (
            select from identities i where i.workspace_id = {HERE} and i.profile_id = :survivor
                and i.kind = n.kind and i.is_primary)
        where n.workspace_id = {HERE} and n.profile_id = :alias
        """,
        # Where both have said something, one ends: the grant, what weighs less, or the alias's.
        f"""
        update consents c set ended_at = :now
        from consents a, consents s
        where a.workspace_id = {HERE} and a.profile_id = :alias and a.ended_at is null
            and s.workspace_id = {HERE} and s.profile_id = :survivor and s.ended_at is null
            and s.purpose = a.purpose and c.workspace_id = {HERE}
            and c.id = case when a.state = '{ConsentState.DENIED}' and (s.state = '{ConsentState.GRANTED}'
                    or a.source in ({_OWN_WORD}) and s.source not in ({_OWN_WORD}))
                then s.id else a.id end
        """,
        f"update consents set profile_id = :survivor where workspace_id = {HERE} and profile_id = :alias",
        # Orders are what the person bought and not what we decided about a profile: segments and sums over
        # them must see all of them under the survivor. So, other than messages and events, they move.
        f"update orders set profile_id = :survivor where workspace_id = {HERE} and profile_id = :alias",
        f"""
        with moved as (
            delete from order_rollups where workspace_id = {HERE} and profile_id = :alias returning *
        )
        insert into order_rollups as r (workspace_id, profile_id, currency, total, count, first_at, last_at)
        select workspace_id, :survivor, currency, total, count, first_at, last_at from moved
        on conflict (workspace_id, profile_id, currency) do update set
            total = r.total + excluded.total, count = r.count + excluded.count,
            first_at = least(r.first_at, excluded.first_at), last_at = greatest(r.last_at, excluded.last_at)
        """,
        f"""
        with moved as (
            delete from cap_counters where workspace_id = {HERE} and profile_id = :alias returning *
        )
        insert into cap_counters as k (workspace_id, profile_id, channel, period, starts_on, n)
        select workspace_id, :survivor, channel, period, starts_on, n from moved
        on conflict (workspace_id, profile_id, channel, period, starts_on) do update set n = k.n + excluded.n
        """,
        f"select e.id from enrollments e where {_MADE_TWICE} order by e.id for update",
        f"""
        with ended as (
            update enrollments e
            set due_at = null, waiting_for = null, ended_at = :now, outcome = '{Skip.MERGED}'
            where {_MADE_TWICE}
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
        delete from queue q using messages m
        where m.workspace_id = {HERE} and m.profile_id in {_also("alias")} and m.reason = '{Skip.MERGED}'
            and q.workspace_id = {HERE} and q.queue_id = m.queue_id and q.due_at = m.due_at
            and q.message_id = m.id
        """,
        # At last, and the alias's own aliases with it: a chain would have to be walked by everyone.
        f"""
        update profiles set merged_into = :survivor, updated_at = :now
        where workspace_id = {HERE} and (id = :alias or merged_into = :alias)
        """,
    )
]

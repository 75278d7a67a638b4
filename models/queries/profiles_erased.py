"""Erasing a person: what is left are counts, and the hash of an address that must not be written to."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.announcements import AnnouncementType
from domain.messages import MessageState
from domain.profiles import ADDRESS_KIND, IdentityKind, SuppressionReason
from models.base import changed
from models.queries import announced_people, calls, people_lock, traces
from models.queries.agenda import OFF_THE_AGENDA
from models.queries.ledger import DUE_AGAIN
from models.queries.memberships import COUNT_DOWN
from models.queries.profiles import HERE, person, suppress

# The person, and everyone who was merged into them.
_ALL_OF_THEM = (
    f"(select id from profiles where workspace_id = {HERE} and (id = :profile or merged_into = :profile))"
)

_NAMES = text(
    f"""
    select kind, value from identities
    where workspace_id = {HERE} and profile_id in {_ALL_OF_THEM} order by kind, value
    """
)
_FORGET_ADDRESSES = text(
    f"update suppressions set address = null where workspace_id = {HERE} and address = any(:addresses)"
)
# What was to be told of them, or was, is forgotten. Calls of flows are of many people: see `calls.forget`.
_FORGET_TOLD = text(
    f"""
    delete from webhook_deliveries d
    where d.workspace_id = {HERE} and d.event_type <> '{AnnouncementType.PROFILE_ERASED}'
        and d.about = any(array(
            select id from {_ALL_OF_THEM} who
            union all
            select m.id from messages m
            where m.workspace_id = {HERE} and m.profile_id is null and m.bare = any(:addresses)
        ))
    """
)
_FORGET_NAMES = text(f"delete from identities where workspace_id = {HERE} and profile_id in {_ALL_OF_THEM}")
_FORGET_PERSON = text(
    f"""
    update profiles set attributes = '{{}}', attributes_at = null, time_zone = null, locale = null,
        country = null, owner_id = null, erased_at = :now, updated_at = :now
    where workspace_id = {HERE} and (id = :profile or merged_into = :profile) and erased_at is null
    """
)
# Rows that say nothing without the person. Their choices of topics and lists are theirs, other than consents,
# which prove that we were allowed to write.
_FORGET_ROWS = [
    text(f"delete from {table} where workspace_id = {HERE} and profile_id in {_ALL_OF_THEM}")
    for table in (
        "events",
        "profile_values",
        "profile_tags",
        "profile_notes",
        "list_members",
        "topic_consents",
    )
]
_COUNT_DOWN = text(
    f"""
    with gone as (
        delete from segment_members where workspace_id = {HERE} and profile_id in {_ALL_OF_THEM}
        returning segment_id
    )
    {COUNT_DOWN}
    """
)
# What was bought stays, as a sum. An import's key begins with the customer's id.
_FORGET_LINES = text(
    f"""
    update orders o set lines = null,
        key = case when exists (
            select from unnest(cast(:names as text[])) named (value) where position(named.value in o.key) > 0
        ) then 'erased ' || o.id else o.key end
    where o.workspace_id = {HERE} and o.profile_id in {_ALL_OF_THEM}
    """
)
_END_CONSENTS = text(
    f"""
    update consents set ended_at = :now
    where workspace_id = {HERE} and profile_id in {_ALL_OF_THEM} and ended_at is null
    """
)
_HOLD_JOURNEYS = text(
    f"""
    select id from enrollments where workspace_id = {HERE} and profile_id in {_ALL_OF_THEM}
    order by id for update
    """
)
_END_JOURNEYS = text(
    f"""
    with ended as (
        update enrollments e set properties = '{{}}', history = '[]', entry = 'erased ' || e.id,
            due_at = null, waiting_for = null,
            outcome = case when ended_at is null then 'erased' else outcome end,
            ended_at = coalesce(ended_at, :now)
        where e.workspace_id = {HERE} and e.id = any(cast(:journeys as uuid[]))
        returning e.workspace_id, e.version_id, old.step, old.due_at, e.id
    ),
    {OFF_THE_AGENDA}
    select count(*) from ended
    """
)

# The index of messages to nobody we know is partial, and small.
_THEIR_MESSAGES = f"""(
    select id from messages where workspace_id = {HERE} and profile_id in {_ALL_OF_THEM}
    union all
    select id from messages where workspace_id = {HERE} and profile_id is null and bare = any(:addresses)
)"""
_LOCKED = f"""
    theirs as materialized {_THEIR_MESSAGES},
    locked as (
        select m.id from messages m join theirs on theirs.id = m.id
        where m.workspace_id = {HERE} order by m.id for no key update of m
    )"""
# Whoever is at one of them may write more about it, or send it again as a new line, until it commits: what
# is to be forgotten is looked up when all of them are held.
_HOLD_MESSAGES = text(f"with {_LOCKED} select count(*) from locked")
# A claimed message is let go, because its worker holds the values already and would write them down with
# the mark; the next claim skips it. What a provider answered may quote the address, so what looks like one
# is struck out.
_FORGET_MESSAGES = text(
    f"""
    with {_LOCKED},
    forgotten as (
        update messages m set address = null, bare = null, holes = null, detail = null,
            reason = regexp_replace(m.reason, '[^\\s<>]+@[^\\s<>]+', '…', 'g'),
            state = case m.state when '{MessageState.CLAIMED}' then '{MessageState.QUEUED}' else m.state end,
            due_at = case m.state when '{MessageState.CLAIMED}' then {DUE_AGAIN} else m.due_at end,
            attempt = case m.state when '{MessageState.CLAIMED}' then null else m.attempt end
        from locked
        where m.workspace_id = {HERE} and m.id = locked.id
        returning m.workspace_id, m.queue_id, m.due_at, m.id, old.state <> new.state as let_go
    )
    insert into queue (workspace_id, queue_id, due_at, message_id)
    select workspace_id, queue_id, due_at, id from forgotten where let_go
    """
)
_FORGET_FILES = [
    text(f"delete from {table} where workspace_id = {HERE} and message_id in {_THEIR_MESSAGES}")
    for table in ("attachments", "message_notes")
]
_MESSAGES_AS_WORDS = text(f"select t.id::text from {_THEIR_MESSAGES} t")
_FORGET_FAILURES = text(
    f"""
    update failure_logs f set reason = 'What it said was erased.'
    where f.workspace_id = {HERE} and f.subject = 'message' and f.subject_id = any(cast(:failed as text[]))
    """
)
_FORGET_PROGRAMS = text(
    f"""
    update message_events e set user_agent = null
    from messages m
    where m.workspace_id = {HERE} and m.profile_id in {_ALL_OF_THEM}
        and e.workspace_id = {HERE} and e.message_id = m.id and e.user_agent is not null
    """
)


async def erase(db: AsyncSession, profile_id: UUID, now: datetime) -> None:
    """Forget a person: names, attributes, addresses, what they did, and what their messages said.

    It takes the profiles that were merged into theirs along. What stays says nothing of who it was: orders
    and their sums, the ledger's lines with their states, the history of consent. Their addresses stay
    suppressed by their hash. Segments count them down, and nobody is told that they left. Journeys end; a
    message not yet on its way is skipped at the claim, as `erased`. What waits in the inbox goes as well
    where the transaction is the engine's, who alone can reach it. Erasing again changes nothing. Raises
    NotFound.
    """
    await people_lock.take_here(db)
    who = await person(db, profile_id)
    values: dict[str, Any] = {"profile": who, "now": now}
    names = [(IdentityKind(row.kind), row.value) for row in await db.execute(_NAMES, values)]
    for channel, kind in ADDRESS_KIND.items():
        for address in (value for of, value in names if of is kind):
            await suppress(db, channel, address, SuppressionReason.ERASED, "erasure", now)
    values["addresses"] = [value for kind, value in names if kind in ADDRESS_KIND.values()]
    values["names"] = [value for _, value in names]
    await db.execute(_FORGET_ADDRESSES, values)
    await traces.forget(db, names)
    for forget in (
        *_FORGET_ROWS,
        _COUNT_DOWN,
        _FORGET_LINES,
        _FORGET_TOLD,
        _FORGET_NAMES,
        _END_CONSENTS,
    ):
        await db.execute(forget, values)
    if await changed(db, _FORGET_PERSON, values):
        await announced_people.erased(db, who, now)
    values["journeys"] = list(await db.scalars(_HOLD_JOURNEYS, values))
    await calls.forget(db, values["journeys"])
    await db.execute(_END_JOURNEYS, values)
    await db.execute(_HOLD_MESSAGES, values)
    values["failed"] = list(await db.scalars(_MESSAGES_AS_WORDS, values))
    for forget in (*_FORGET_FILES, _FORGET_MESSAGES, _FORGET_FAILURES, _FORGET_PROGRAMS):
        await db.execute(forget, values)

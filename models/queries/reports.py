"""Reports are settled: what providers say becomes the fate of messages, and what follows from it.

Within one workspace, by the engine (`Sessions.pump`): every statement names the workspace. One settles for a
workspace at a time. Messages that somebody else has in hand are left for a moment later, so that no sender
ever waits for us while we wait for them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text

from domain.messages import Interaction, MessageState, Skip
from domain.profiles import ADDRESS_KIND, address_hash
from domain.reports import AS_SAID, Line, Said, Settled
from models.base import Db
from models.queries import announced_messages
from models.queries.announced_messages import of_reading

_TRY = text("select pg_try_advisory_xact_lock(hashtextextended('reports of ' || :workspace, 0))")
# Below the time after which PostgreSQL looks for a deadlock: whoever meets us in one is not the one to fail.
_HASTE = text("select set_config('lock_timeout', '400ms', true)")


async def lock(db: Db, workspace_id: UUID) -> bool:
    """Whether nobody else settles for this workspace, until the end of the transaction."""
    await db.execute(_HASTE)
    return bool(next(iter((await db.execute(_TRY, {"workspace": str(workspace_id)})).scalars())))


_NEW = text(
    """
    insert into reported (workspace_id, key, at)
    select :workspace, k.key, case when k.for_good then 'infinity' else cast(:now as timestamptz) end
    from unnest(cast(:keys as text[]), cast(:for_good as bool[])) k(key, for_good) order by k.key
    on conflict do nothing
    returning key
    """
)


async def new(db: Db, workspace_id: UUID, keys: Mapping[str, bool], now: datetime) -> set[str]:
    """Which of these keys were never seen before. From now on they were: those that are true, for good."""
    values = {"workspace": workspace_id, "keys": [*keys], "for_good": [*keys.values()], "now": now}
    return set((await db.execute(_NEW, values)).scalars())


_TAKE_EARLY = text(
    """
    with gone as (
        delete from early_reports where workspace_id = :workspace and id = any(array(
            select id from early_reports where workspace_id = :workspace and due_at <= :now
            order by due_at limit :most
        ))
        returning id, report, since
    )
    select report, since from gone order by id
    """
)
_KEEP_EARLY = text(
    """
    insert into early_reports (workspace_id, since, due_at, report)
    select :workspace, e.since, e.due_at, e.report
    from jsonb_to_recordset(cast(:rows as jsonb)) as e(since timestamptz, due_at timestamptz, report jsonb)
    """
)


async def take_early(db: Db, workspace_id: UUID, now: datetime, most: int) -> list[Said]:
    """Those that are to be tried again by now."""
    values = {"workspace": workspace_id, "now": now, "most": most}
    rows = await db.execute(_TAKE_EARLY, values)
    return [AS_SAID.validate_python({**report, "since": since}) for report, since in rows]


async def keep_early(
    db: Db, workspace_id: UUID, early: Sequence[tuple[Said, datetime]], now: datetime
) -> None:
    """Try these again, each at its time."""
    rows = [{"since": each.since or now, "due_at": due, "report": each} for each, due in early]
    if rows:
        await db.execute(_KEEP_EARLY, {"workspace": workspace_id, "rows": orjson.dumps(rows).decode()})


# By whom the address belongs to, since no index knows what the provider calls a message.
_BY_THEIR_NAME = text(
    """
    select a.n, m.id
    from jsonb_to_recordset(cast(:asked as jsonb)) as a(n int, kind text, address text, theirs text)
    cross join lateral (
        select i.profile_id from identities i
        where i.workspace_id = :workspace and i.kind = a.kind and i.value = a.address limit 1
    ) who
    cross join lateral (
        select m.id from messages m
        where m.workspace_id = :workspace and m.provider_id = a.theirs and m.profile_id in (
            select who.profile_id union all
            select p.id from profiles p
            where p.workspace_id = :workspace and p.merged_into = who.profile_id
        )
        limit 1
    ) m
    """
)


async def by_their_name(db: Db, workspace_id: UUID, asked: Sequence[tuple[str, str, str]]) -> dict[int, UUID]:
    """Messages by (channel, address, the provider's id), by their place in `asked`."""
    rows = [
        {"n": n, "kind": ADDRESS_KIND[channel], "address": address, "theirs": theirs}
        for n, (channel, address, theirs) in enumerate(asked)
        if channel in ADDRESS_KIND
    ]
    if not rows:
        return {}
    values = {"workspace": workspace_id, "asked": orjson.dumps(rows).decode()}
    return {row[0]: row[1] for row in await db.execute(_BY_THEIR_NAME, values)}


_WAITS = f"{{}}.state in ('{MessageState.QUEUED}', '{MessageState.CLAIMED}')"
_HOLD = text(
    """
    select m.id, m.channel, m.class, m.state, m.fate, m.marked_at is not null, m.profile_id, m.address,
        m.source_kind, m.source_id, m.reason, m.reported_at
    from messages m
    where m.workspace_id = :workspace and m.id = any(cast(:ids as uuid[]))
    order by m.id for no key update of m skip locked
    """
)
_THERE = text("select id from messages where workspace_id = :workspace and id = any(cast(:ids as uuid[]))")


async def hold(db: Db, workspace_id: UUID, ids: Collection[UUID]) -> tuple[dict[UUID, Line], set[UUID]]:
    """These messages, held until the commit, and the ids of those that somebody else has in hand."""
    rows = await db.execute(_HOLD, {"workspace": workspace_id, "ids": [*ids]})
    held = {row[0]: Line(*row) for row in rows}
    missing = [id_ for id_ in ids if id_ not in held]
    if not missing:
        return held, set()
    there = await db.execute(_THERE, {"workspace": workspace_id, "ids": missing})
    return held, set(there.scalars())


# By the keys of their decisions; those of people and those of addresses have an index each.
_SECOND_TRIES = text(
    f"""
    select m.id, second.id
    from messages m
    cross join lateral (
        select s.id from messages s
        where s.workspace_id = :workspace and s.profile_id = m.profile_id and s.source_id = m.source_id
            and s.step = m.step and s.occasion = m.occasion and s.visit = m.visit and s.resend = 1
            and {_WAITS.format("s")}
        union all
        select s.id from messages s
        where m.profile_id is null and s.workspace_id = :workspace and s.profile_id is null
            and s.source_id = m.source_id and s.occasion = m.occasion and s.bare = m.bare and s.resend = 1
            and {_WAITS.format("s")}
        limit 1
    ) second
    where m.workspace_id = :workspace and m.id = any(cast(:ids as uuid[])) and m.resend = 0
    """
)


async def second_tries(db: Db, workspace_id: UUID, ids: Collection[UUID]) -> dict[UUID, UUID]:
    """The messages that wait to be sent in the place of these, which are unknown; by the first ones' ids."""
    rows = await db.execute(_SECOND_TRIES, {"workspace": workspace_id, "ids": [*ids]})
    return {row[0]: row[1] for row in rows}


_WITHDRAW = text(
    f"""
    with done as (
        update messages m set state = '{MessageState.SKIPPED}', reason = '{Skip.CANCELLED}',
            detail = 'the first one proved to be sent', closed_at = :now, attempt = null
        where m.workspace_id = :workspace and m.id = any(cast(:ids as uuid[])) and {_WAITS.format("m")}
        returning m.id, m.queue_id, old.state as before, old.due_at as due_at
    ),
    turns as (
        delete from queue q using done d
        where q.workspace_id = :workspace and q.queue_id = d.queue_id and q.due_at = d.due_at
            and q.message_id = d.id and d.before = '{MessageState.QUEUED}'
    )
    select id, before from done
    """
)


async def withdraw(
    db: Db, workspace_id: UUID, ids: Sequence[UUID], now: datetime
) -> dict[UUID, MessageState]:
    """Skip those of these messages that wait; they are held. Returns the state that each was in."""
    if not ids:
        return {}
    rows = await db.execute(_WITHDRAW, {"workspace": workspace_id, "ids": [*ids], "now": now})
    return {id_: MessageState(before) for id_, before in rows}


# The row is held, so what was read of it is so. Whoever waits for its turn has none any more; whoever claimed
# it finds neither its attempt nor its state when they want to mark it.
_SETTLE = text(
    f"""
    with done as (
        update messages m set
            fate = v.fate,
            reported_at = case when v.proved and (v.raised or m.reported_at is null) then :now
                else m.reported_at end,
            reason = case when v.state is not null or v.reason is not null or v.raised and m.fate is not null
                then v.reason else m.reason end,
            state = coalesce(v.state, m.state),
            closed_at = case when v.state is not null then coalesce(m.closed_at, :now) else m.closed_at end,
            reconcile_at = case when v.state is not null then null else m.reconcile_at end,
            attempt = case when m.state = '{MessageState.CLAIMED}' and v.state is not null then null
                else m.attempt end
        from jsonb_to_recordset(cast(:settled as jsonb))
            as v(id uuid, fate text, raised boolean, proved boolean, reason text, state text)
        where m.workspace_id = :workspace and m.id = v.id
        returning m.id, m.queue_id, old.state as before, old.due_at as due_at, m.state
    ),
    turns as (
        delete from queue q using done d
        where q.workspace_id = :workspace and q.queue_id = d.queue_id and q.due_at = d.due_at
            and q.message_id = d.id and d.before = '{MessageState.QUEUED}' and d.state <> d.before
    )
    select id, before, state from done
    """
)


async def settle(
    db: Db, workspace_id: UUID, settled: Sequence[Settled], now: datetime
) -> dict[UUID, tuple[MessageState, MessageState]]:
    """Write down what became of messages that are held. Returns the state of each before and after."""
    if not settled:
        return {}
    rows = [each._asdict() for each in settled]
    values = {"workspace": workspace_id, "now": now, "settled": orjson.dumps(rows).decode()}
    return {
        id_: (MessageState(before), MessageState(after))
        for id_, before, after in await db.execute(_SETTLE, values)
    }


# What `ledger.give_back` took out when they were queued again.
_COUNT_AGAIN = text(
    """
    insert into cap_counters as c (workspace_id, profile_id, channel, period, starts_on, n)
    select :workspace, coalesce(p.merged_into, p.id), m.channel, cap ->> 'period',
        date_trunc(cap ->> 'period', m.claimed_at at time zone w.time_zone)::date, count(*)
    from messages m
    join workspaces w on w.id = :workspace
    join profiles p on p.workspace_id = :workspace and p.id = m.profile_id
    cross join lateral jsonb_array_elements(w.caps) cap
    where m.workspace_id = :workspace and m.id = any(cast(:ids as uuid[]))
        and m.class = 'marketing' and m.claimed_at is not null and cap ->> 'channel' = m.channel
    group by 1, 2, 3, 4, 5 order by 2
    on conflict (workspace_id, profile_id, channel, period, starts_on)
    do update set n = c.n + excluded.n
    """
)


async def count_again(db: Db, workspace_id: UUID, ids: Sequence[UUID]) -> None:
    """Messages that waited to be sent again were sent after all: they count for their persons' caps."""
    if ids:
        await db.execute(_COUNT_AGAIN, {"workspace": workspace_id, "ids": [*ids]})


_SOFTLY = text(
    """
    insert into soft_bounces (workspace_id, channel, address_hash, message_id, at)
    select :workspace, s.channel, decode(s.hash, 'hex'), s.message_id, s.at
    from jsonb_to_recordset(cast(:rows as jsonb))
        as s(channel text, hash text, message_id uuid, at timestamptz)
    order by 2, 3, 4
    on conflict do nothing
    """
)
_OFTEN = text(
    """
    select s.channel, s.address_hash
    from unnest(cast(:channels as text[]), cast(:hashes as bytea[])) asked(channel, hash)
    join soft_bounces s on s.workspace_id = :workspace and s.channel = asked.channel
        and s.address_hash = asked.hash and s.at > :since
    group by s.channel, s.address_hash
    having count(*) >= :limit
    """
)
_RECOVERED = text(
    """
    delete from soft_bounces s
    using unnest(cast(:channels as text[]), cast(:hashes as bytea[])) asked(channel, hash)
    where s.workspace_id = :workspace and s.channel = asked.channel and s.address_hash = asked.hash
    """
)

At = tuple[str, str]  # A channel, and an address in its normal form.


async def bounced_softly(
    db: Db,
    workspace_id: UUID,
    bounces: Mapping[tuple[At, UUID], datetime],
    limit: int,
    within: timedelta,
    now: datetime,
) -> set[At]:
    """Note these bounces, by address and message. Returns the addresses that now have had too many."""
    if not bounces:
        return set()
    rows = [
        {"channel": at[0], "hash": address_hash(at[1]).hex(), "message_id": message_id, "at": when}
        for (at, message_id), when in bounces.items()
    ]
    await db.execute(_SOFTLY, {"workspace": workspace_id, "rows": orjson.dumps(rows).decode()})
    known = {(at[0], address_hash(at[1])): at for at, _ in bounces}
    values = {**_columns(workspace_id, known), "since": now - within, "limit": limit}
    return {known[channel, bytes(hash_)] for channel, hash_ in await db.execute(_OFTEN, values)}


async def recovered(db: Db, workspace_id: UUID, delivered: Iterable[At]) -> None:
    """Something was delivered to these addresses: what bounced softly before is forgotten."""
    if known := {(channel, address_hash(address)) for channel, address in delivered}:
        await db.execute(_RECOVERED, _columns(workspace_id, known))


def _columns(workspace_id: UUID, hashes: Iterable[tuple[str, bytes]]) -> dict[str, Any]:
    pairs = [*hashes]
    return {
        "workspace": workspace_id,
        "channels": [each[0] for each in pairs],
        "hashes": [each[1] for each in pairs],
    }


# As `models.queries.tracking` has it for what people do: only of those who allow it.
_BY_MACHINES = text(
    """
    insert into message_events (workspace_id, message_id, kind, at, machine)
    select :workspace, m.id, d.kind, d.at, true
    from jsonb_to_recordset(cast(:rows as jsonb)) as d(message_id uuid, kind text, at timestamptz)
    join messages m on m.workspace_id = :workspace and m.id = d.message_id and m.tracked
    join profiles p on p.workspace_id = :workspace and p.id = m.profile_id
    join consents c on c.workspace_id = :workspace and c.profile_id = coalesce(p.merged_into, p.id)
        and c.purpose = 'tracking' and c.ended_at is null and c.state = 'granted'
    returning message_id, kind, at
    """
)


async def done_by_machines(
    db: Db, workspace_id: UUID, done: Sequence[tuple[UUID, str, datetime]], now: datetime
) -> None:
    """Opens and clicks (message, kind, when) of programs: they are kept, and nobody has opened anything."""
    if done:
        rows = [{"message_id": id_, "kind": kind, "at": at} for id_, kind, at in done]
        values = {"workspace": workspace_id, "rows": orjson.dumps(rows).decode()}
        kept = await db.execute(_BY_MACHINES, values)
        told = [of_reading(id_, Interaction(kind), at, machine=True) for id_, kind, at in kept]
        await announced_messages.tell_of(db, told, now)


_FORGET_REPORTED = text("delete from reported where at < :before")
_FORGET_BOUNCES = text("delete from soft_bounces where at < :before")
_FORGET_WORDS = text("delete from last_words where at < :before")


async def forget(db: Db, *, reported: datetime, bounced: datetime) -> None:
    """Forget what came in before, but STOP and START. As the engine: of every workspace."""
    await db.execute(_FORGET_REPORTED, {"before": reported})
    await db.execute(_FORGET_WORDS, {"before": reported})
    await db.execute(_FORGET_BOUNCES, {"before": bounced})

"""The ledger at work: claim, mark, settle, and what happens to those who died in between.

Each function is one short transaction's work; nothing here waits for a provider. Batches are claimed
under one lease and one attempt id (`leases`), and everything later asks for that attempt, so that a
worker that lost its lease can change nothing but what it knows for sure. `domain/messages.py` has the states.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import TextClause, text

from domain.messages import MessageState, SourceKind
from models.base import Db

# A message that was refused this often before acceptance is given up. The pauses double up to an hour, so
# that is about a day: an outage of a night fails nobody (RFC 5321, section 4.5.4.1, asks for patience).
MOST_ATTEMPTS = 36
Cursor = tuple[str, UUID]  # A due_at, as PostgreSQL writes it, and an id.
BEGINNING: Cursor = ("-infinity", UUID(int=0))


@dataclass(frozen=True)
class Queue:
    """Whose messages a slice sends: a campaign's, a flow's, or a workspace's outbox."""

    workspace_id: UUID
    id: UUID
    kind: SourceKind
    alone: bool = False  # One slice sends for it: it reports a big backlog at once, so that others may help.


class Cap(NamedTuple):
    """The frequency cap in force: at most `limit` in the period that began on `starts_on`."""

    limit: int
    period: str
    starts_on: date


class Claimed(NamedTuple):
    """One message under our lease, with what is needed to write it, in the order of the claim's columns."""

    id: UUID
    address: str
    template_version_id: UUID
    attributes: Mapping[str, Any] | None  # None for those who have no profile.
    tracked: bool
    holes: list[str] | None  # Filled when the message was queued, for those who have no profile.


class Claim(NamedTuple):
    claimed: list[Claimed]
    skipped: list[UUID]  # Their ids: closed by this claim.
    found: int  # Rows that were due and locked; fewer than asked for: there were no more.
    undecided: bool  # Whether some of them were left for the next claim.
    cursor: Cursor  # Where the next claim may go on.


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of one message that was on the wire."""

    id: UUID
    state: MessageState  # accepted, failed, unknown, or queued again.
    provider_id: str | None = None
    reason: str | None = None
    retry_after: float | None = None  # Seconds, for queued.


_RUNNING = {
    SourceKind.CAMPAIGN: "exists (select from campaigns s where s.workspace_id = :workspace"
    " and s.id = :queue and s.state = 'running')",
    SourceKind.FLOW: "exists (select from flows s where s.workspace_id = :workspace"
    " and s.id = :queue and s.state = 'live')",
    SourceKind.OUTBOX: "true",
}

_GIVEN_UP = {
    SourceKind.CAMPAIGN: "exists (select from campaigns s where s.workspace_id = :workspace"
    " and s.id = :queue and s.state in ('cancelled', 'failed'))",
    SourceKind.FLOW: "exists (select from flows s where s.workspace_id = :workspace"
    " and s.id = :queue and s.state = 'archived')",
    SourceKind.OUTBOX: "false",
}

_COUNT_CAP = """
counted as (
    insert into cap_counters (workspace_id, profile_id, channel, period, starts_on, n)
    select :workspace, person_id, channel, :cap_period, :cap_start, 1
    from judged
    where skip is null and later is null and class = 'marketing' and nth = 1
    order by person_id
    on conflict (workspace_id, profile_id, channel, period, starts_on)
    do update set n = cap_counters.n + 1 where cap_counters.n < :cap_limit
    returning profile_id
),
verdict as materialized (
    select id, turn, place, due_at, sent_to, attributes, tracked, later,
        case when skip is null and later is null and class = 'marketing'
            and person_id not in (select profile_id from counted) then 'capped' else skip end as reason
    from judged
    -- A person's second message of one batch waits for the next: the counter moves one at a time.
    where class <> 'marketing' or nth = 1 or skip is not null or later is not null
),"""

_NO_CAP = """
verdict as (select j.*, skip as reason from judged j),"""

# Each message looks up its person, address and what stands against it, by index and one by one: laterals
# with a limit and scalar subqueries leave the planner no other way, whatever it believes of a ledger that
# a freeze filled a moment ago. The hash stands in a step of its own because a function that is not
# leakproof would keep the wall from using the index of suppressions.
_CLAIM = """
with due as materialized (
    select q.ctid as turn, m.ctid as place, m.id, m.due_at, m.expires_at, m.profile_id, m.class, m.channel,
        m.bare, m.source_id, m.step, m.occasion, m.visit, m.resend
    from queue q
    join messages m on m.workspace_id = :workspace and m.id = q.message_id
        and m.state = 'queued' and m.due_at = q.due_at
    where q.workspace_id = :workspace and q.queue_id = :queue and q.due_at <= :now
        and (q.due_at, q.message_id) > (cast(:after_due as timestamptz), :after_id)
        and {running}
    order by q.due_at, q.message_id
    limit {limit}
    for update of m skip locked
),
reached as materialized (
    select d.*, o.person_id,
        case when o.merged_into is null then o.time_zone
            else (select p.time_zone from profiles p
                where p.workspace_id = :workspace and p.id = o.person_id)
        end as time_zone,
        case when o.merged_into is null then o.attributes
            else (select p.attributes from profiles p
                where p.workspace_id = :workspace and p.id = o.person_id)
        end as attributes,
        case when o.merged_into is null then o.erased_at
            else (select p.erased_at from profiles p
                where p.workspace_id = :workspace and p.id = o.person_id)
        end as erased_at,
        coalesce(d.bare, i.value) as sent_to, sha256(convert_to(coalesce(d.bare, i.value), 'UTF8')) as hash,
        c.marketing, c.tracking
    from due d
    left join lateral (
        select coalesce(o.merged_into, o.id) as person_id, o.merged_into, o.attributes, o.erased_at,
            o.time_zone
        from profiles o where o.workspace_id = :workspace and o.id = d.profile_id limit 1
    ) o on true
    left join lateral (
        select i.value from identities i
        where i.workspace_id = :workspace and i.profile_id = o.person_id and i.kind = d.channel
            and i.is_primary
        limit 1
    ) i on true
    cross join lateral (
        select bool_or(c.state = 'granted') filter (where c.purpose = d.channel) as marketing,
            bool_or(c.state = 'granted') filter (where c.purpose = 'tracking') as tracking
        from consents c
        where c.workspace_id = :workspace and c.profile_id = o.person_id and c.ended_at is null
    ) c
),
judged as materialized (
    select r.id, r.turn, r.place, r.due_at, r.person_id, r.channel, r.class, r.sent_to, r.attributes,
        case
            when r.erased_at is not null then 'erased'
            when r.expires_at <= :now then 'too late'
            when r.sent_to is null then 'no address'
            when exists (select from profiles where workspace_id = :workspace and merged_into is not null)
                and exists (
                    select from messages o
                    where o.workspace_id = :workspace and o.id <> r.id
                        and o.profile_id in (select r.person_id union all select a.id from profiles a
                            where a.workspace_id = :workspace and a.merged_into = r.person_id)
                        and o.source_id = r.source_id and o.step = r.step and o.occasion = r.occasion
                        and o.visit = r.visit and o.resend = r.resend
                        and (o.state in ('claimed', 'sending', 'accepted', 'unknown')
                            or o.state = 'queued' and o.id < r.id))
                then 'merged'
            when r.class <> 'test' and (
                select s.reason <> 'unsubscribed' or r.class = 'marketing' from suppressions s
                where s.workspace_id = :workspace and s.channel = r.channel and s.address_hash = r.hash
                    and s.ended_at is null
            ) then 'suppressed'
            when r.class = 'marketing' and r.marketing is distinct from true then 'no consent'
        end as skip,
        coalesce(r.tracking, false) as tracked,
        case when r.class = 'marketing' and w.quiet_from is not null then (
            select case
                when not (case when w.quiet_from < w.quiet_until
                    then local.at::time >= w.quiet_from and local.at::time < w.quiet_until
                    else local.at::time >= w.quiet_from or local.at::time < w.quiet_until end) then null
                else (local.at::date + w.quiet_until
                    + case when local.at::time < w.quiet_until then interval '0' else interval '1 day' end)
                    at time zone local.zone
            end
            from (select cast(:now as timestamptz) at time zone coalesce(r.time_zone, w.time_zone) as at,
                coalesce(r.time_zone, w.time_zone) as zone) local
        ) end as later,
        row_number() over (partition by r.person_id order by r.due_at, r.id) as nth
    from reached r
    cross join (select * from workspaces where id = :workspace) w
),{cap}
decided as (
    update messages m set
        state = case when v.reason is not null then 'skipped' when v.later is not null then 'queued'
            else 'claimed' end,
        reason = v.reason,
        detail = case when v.reason is null and v.later is not null then 'quiet hours' end,
        closed_at = case when v.reason is not null then cast(:now as timestamptz) end,
        due_at = case when v.reason is null and v.later is not null then v.later else m.due_at end,
        attempt = case when v.reason is null and v.later is null then cast(:attempt as uuid) end,
        claimed_at = case when v.reason is null and v.later is null then cast(:now as timestamptz)
            else m.claimed_at end,
        address = coalesce(v.sent_to, m.address),
        tracked = v.tracked
    from verdict v
    where m.workspace_id = :workspace and m.ctid = v.place
    returning v.turn, v.due_at, m.due_at as due_again, m.state, m.id, m.address, m.template_version_id,
        case when m.state = 'claimed' then v.attributes end as attributes, m.tracked, m.holes
),
taken as (
    delete from queue q using decided d where q.workspace_id = :workspace and q.ctid = d.turn
),
later as (
    insert into queue (workspace_id, queue_id, due_at, message_id)
    select :workspace, :queue, due_again, id from decided where state = 'queued'
),
leased as (
    insert into leases (workspace_id, id, queue_id, message_ids, until)
    select :workspace, :attempt, :queue, array_agg(id), clock_timestamp() + make_interval(secs => :lease)
    from decided where state = 'claimed' having count(*) > 0
)
select state, id, address, template_version_id, attributes, tracked, holes,
    (select count(*) from due) as found, (select max(due_at)::text from decided) as last
from decided order by due_at, id
"""


@cache
def _claim(kind: SourceKind, capped: bool, limit: int) -> TextClause:
    # The limit is written out: as a parameter the planner would take it for a tenth of the table.
    return text(
        _CLAIM.format(running=_RUNNING[kind], limit=int(limit), cap=_COUNT_CAP if capped else _NO_CAP)
    )


async def claim(
    db: Db,
    queue: Queue,
    attempt: UUID,
    now: datetime,
    lease: float,
    limit: int,
    cap: Cap | None = None,
    after: Cursor = BEGINNING,
) -> Claim:
    """Take up to `limit` messages that are due, under `attempt` and a lease of so many seconds.

    In the same statement the source's state, consent, suppression, address, merges, quiet hours and the
    cap are read again; what may not go is skipped with its reason, what must wait gets a new `due_at`.
    `after` is where an earlier claim of the same slice ended, so that the closed are not walked again.
    """
    values = {
        "workspace": queue.workspace_id,
        "queue": queue.id,
        "attempt": attempt,
        "now": now,
        "lease": lease,
        "after_due": after[0],
        "after_id": after[1],
    }
    if cap:
        values |= {"cap_limit": cap.limit, "cap_period": cap.period, "cap_start": cap.starts_on}
    rows = (await db.execute(_claim(queue.kind, cap is not None, limit), values)).all()
    if not rows:
        return Claim([], [], 0, undecided=False, cursor=after)
    claimed = [Claimed(*row[1:7]) for row in rows if row[0] == MessageState.CLAIMED]
    skipped = [row[1] for row in rows if row[0] == MessageState.SKIPPED]
    _, last, *_, found, last_due = rows[-1]
    return Claim(claimed, skipped, found, found > len(rows), (last_due, last))


_MARK = """
update messages m set state = 'sending', marked_at = :now, attempts = m.attempts + 1, holes = v.holes
from jsonb_to_recordset(cast(:letters as jsonb)) as v(id uuid, holes jsonb)
where m.workspace_id = :workspace and m.id = v.id and m.attempt = :attempt
    and m.state in ('claimed'{again})
    and exists (select from leases l where l.workspace_id = :workspace and l.id = :attempt
        and l.until > clock_timestamp())
    and {running}
returning m.id
"""


@cache
def _mark(kind: SourceKind, again: bool) -> TextClause:
    return text(_MARK.format(running=_RUNNING[kind], again=", 'sending'" if again else ""))


async def mark(
    db: Db,
    queue: Queue,
    attempt: UUID,
    letters: Sequence[tuple[UUID, Sequence[str]]],
    now: datetime,
    again: bool = False,
) -> set[UUID]:
    """Note that these messages, with the values of their holes, are about to go on the wire.

    Only what is returned may be sent, and only after this transaction has committed. `again` repeats a
    mark whose commit was never answered: what it had marked, and nobody has sent yet, counts.
    """
    rows = await db.execute(
        _mark(queue.kind, again),
        {
            "workspace": queue.workspace_id,
            "queue": queue.id,
            "attempt": attempt,
            "now": now,
            "letters": orjson.dumps([{"id": id_, "holes": holes} for id_, holes in letters]).decode(),
        },
    )
    return set(rows.scalars())


# When a message is due that was claimed and not sent: a moment sooner, so that no turn is given twice. A
# claim that began before would take the new one for the one it saw, and count its person without taking it.
DUE_AGAIN = "m.due_at - interval '1 microsecond'"

# Those of the messages `done` that are queued again get a turn.
_AGAIN = """
again as (
    insert into queue (workspace_id, queue_id, due_at, message_id)
    select :workspace, queue_id, due_at, id from done where state = 'queued'
)
select id, state from done
"""

_PUT_BACK = f"""
with done as (
    update messages m set
        state = case when {{given_up}} then 'skipped' else 'queued' end,
        reason = case when {{given_up}} then 'cancelled' end,
        closed_at = case when {{given_up}} then cast(:now as timestamptz) end,
        due_at = {DUE_AGAIN},
        attempt = null
    where m.workspace_id = :workspace and m.id = any(cast(:ids as uuid[])) and m.attempt = :attempt
        and m.state in ('claimed'{{again}})
    returning m.id, m.state, m.queue_id, m.due_at
),
{_AGAIN}
"""


@cache
def _put_back(kind: SourceKind, again: bool) -> TextClause:
    return text(_PUT_BACK.format(given_up=_GIVEN_UP[kind], again=", 'sending'" if again else ""))


async def put_back(
    db: Db, queue: Queue, attempt: UUID, ids: Sequence[UUID], now: datetime, again: bool = False
) -> dict[UUID, MessageState]:
    """Let go of claimed messages that were not marked: to the queue, or skipped if the source is cancelled.

    `again` says that a mark was never answered and is now refused: what it had marked was not sent, so that
    goes back, too. Returns what became of those that were ours to put back. The others had been recovered
    before.
    """
    rows = await db.execute(
        _put_back(queue.kind, again),
        {
            "workspace": queue.workspace_id,
            "queue": queue.id,
            "attempt": attempt,
            "now": now,
            "ids": list(ids),
        },
    )
    return {id_: MessageState(state) for id_, state in rows}


_SKIP = text(
    """
    update messages m set state = 'skipped', reason = 'template error', detail = v.detail,
        closed_at = :now, attempt = null
    from unnest(cast(:ids as uuid[]), cast(:details as text[])) as v(id, detail)
    where m.workspace_id = :workspace and m.id = v.id and m.attempt = :attempt and m.state = 'claimed'
    returning m.id
    """
)


async def skip_unwritable(
    db: Db, queue: Queue, attempt: UUID, errors: Sequence[tuple[UUID, str]], now: datetime
) -> list[UUID]:
    """Skip claimed messages whose template can't be filled for this person, each with the sentence why."""
    rows = await db.execute(
        _SKIP,
        {
            "workspace": queue.workspace_id,
            "attempt": attempt,
            "now": now,
            "ids": [id_ for id_, _ in errors],
            "details": [detail for _, detail in errors],
        },
    )
    return list(rows.scalars())


# A refusal that came once too often is a failure; written out, since the row itself knows its attempts.
_BECOMES = f"case when o.state = 'queued' and m.attempts >= {MOST_ATTEMPTS} then 'failed' else o.state end"
_SETTLE = text(
    f"""
    with done as (
        update messages m set
            state = {_BECOMES},
            reason = case when o.state = 'accepted' then null else o.reason end,
            provider_id = coalesce(o.provider_id, m.provider_id),
            due_at = case when {_BECOMES} = 'queued'
                then :now + make_interval(
                    secs => greatest(coalesce(o.retry_after, 0), least(2 ^ m.attempts, 3600)))
                else m.due_at end,
            closed_at = case when {_BECOMES} = 'queued' then null else coalesce(m.closed_at, :now) end,
            reconcile_at = case when o.state = 'unknown' then cast(:reconcile_at as timestamptz) end,
            attempt = case when {_BECOMES} = 'queued' then null else m.attempt end
        from jsonb_to_recordset(cast(:outcomes as jsonb))
            as o(id uuid, state text, provider_id text, reason text, retry_after float8)
        where m.workspace_id = :workspace and m.id = o.id and m.attempt = :attempt
            and (m.state = 'sending' or m.state = 'unknown' and o.state in ('accepted', 'failed'))
        returning m.id, m.state, m.queue_id, m.due_at
    ),
    {_AGAIN}
    """
)


async def settle(
    db: Db,
    queue: Queue,
    attempt: UUID,
    outcomes: Sequence[Settled],
    now: datetime,
    reconcile_at: datetime,
) -> dict[UUID, MessageState]:
    """Write down what the provider answered, and return the state that each message has now.

    A no before acceptance goes back to the queue, due after the longer of the provider's wish and a
    doubling pause, and fails after `MOST_ATTEMPTS`. What had become unknown meanwhile may be put right.
    """
    rows = await db.execute(
        _SETTLE,
        {
            "workspace": queue.workspace_id,
            "attempt": attempt,
            "now": now,
            "reconcile_at": reconcile_at,
            "outcomes": orjson.dumps(list(outcomes)).decode(),
        },
    )
    return {id_: MessageState(state) for id_, state in rows}


_GIVE_BACK = text(
    """
    with back as materialized (
        select coalesce(p.merged_into, p.id) as profile_id, m.channel, cap ->> 'period' as period,
            date_trunc(cap ->> 'period', m.claimed_at at time zone w.time_zone)::date as starts_on,
            count(*) as n
        from messages m
        join workspaces w on w.id = :workspace
        join profiles p on p.workspace_id = :workspace and p.id = m.profile_id
        cross join lateral jsonb_array_elements(w.caps) cap
        where m.workspace_id = :workspace and m.id = any(cast(:ids as uuid[])) and m.class = 'marketing'
            and cap ->> 'channel' = m.channel
        group by 1, 2, 3, 4
    ),
    -- In the order in which a claim takes them, so that no two wait for each other.
    held as materialized (
        select c.profile_id, c.channel, c.period, c.starts_on, back.n
        from back join cap_counters c on c.workspace_id = :workspace and c.profile_id = back.profile_id
            and c.channel = back.channel and c.period = back.period and c.starts_on = back.starts_on
        order by c.profile_id for update of c
    )
    update cap_counters c set n = greatest(c.n - held.n, 0)
    from held
    where c.workspace_id = :workspace and c.profile_id = held.profile_id and c.channel = held.channel
        and c.period = held.period and c.starts_on = held.starts_on
    """
)


async def give_back(db: Db, workspace_id: UUID, ids: Sequence[UUID]) -> None:
    """Take messages that were claimed but not sent out of their persons' counters, if there is a cap."""
    if ids:
        await db.execute(_GIVE_BACK, {"workspace": workspace_id, "ids": list(ids)})


_DROP_LEASE = text("delete from leases where workspace_id = :workspace and id = :attempt")


async def drop_lease(db: Db, queue: Queue, attempt: UUID) -> None:
    """The batch is done: nothing of it is claimed or on the wire."""
    await db.execute(_DROP_LEASE, {"workspace": queue.workspace_id, "attempt": attempt})


_RECOVER = text(
    f"""
    with ended as (
        delete from leases l
        where l.workspace_id = :workspace and l.queue_id = :queue and l.until < clock_timestamp()
        returning l.id, l.message_ids
    ),
    held as (select e.id as attempt, unnest(e.message_ids) as id from ended e),
    done as (
        update messages m set
            state = case m.state when 'claimed' then 'queued' else 'unknown' end,
            due_at = case m.state when 'claimed' then {DUE_AGAIN} else m.due_at end,
            attempt = case m.state when 'claimed' then null else m.attempt end,
            reason = case m.state when 'claimed' then null
                else 'the worker stopped before the answer was known' end,
            closed_at = case m.state when 'claimed' then null else cast(:now as timestamptz) end,
            reconcile_at = case m.state when 'claimed' then null else cast(:reconcile_at as timestamptz) end
        from held h
        where m.workspace_id = :workspace and m.id = h.id and m.attempt = h.attempt
            and m.state in ('claimed', 'sending')
        returning m.id, m.state, m.queue_id, m.due_at
    ),
    {_AGAIN}
    """
)


async def recover(db: Db, queue: Queue, now: datetime, reconcile_at: datetime) -> dict[UUID, MessageState]:
    """Take over from workers whose lease ran out.

    What they had only claimed was never on the wire: it is queued again, and counts for no cap. What they had
    marked is unknown.
    """
    rows = await db.execute(
        _RECOVER,
        {
            "workspace": queue.workspace_id,
            "queue": queue.id,
            "now": now,
            "reconcile_at": reconcile_at,
        },
    )
    states = {id_: MessageState(state) for id_, state in rows}
    queued = [id_ for id_, state in states.items() if state is MessageState.QUEUED]
    await give_back(db, queue.workspace_id, queued)
    return states


_DROP_FORGOTTEN = text(
    """
    delete from leases l
    where l.until < clock_timestamp() - interval '1 day' and not exists (
        select from unnest(l.message_ids) held(id)
        join messages m on m.workspace_id = l.workspace_id and m.id = held.id and m.attempt = l.id
            and m.closed_at is null
    )
    """
)


async def drop_forgotten_leases(db: Db) -> None:
    """Remove, as the engine, what workers left who died after their last message was settled.

    What still holds a message stays, however old: nothing else knows of that one, and a campaign may be
    paused, or everything be switched off, for longer than a day.
    """
    await db.execute(_DROP_FORGOTTEN)

"""The ledger at work: mark, settle, and what happens to those who died in between. `claims` is how it begins.

Each function is one short transaction's work; nothing here waits for a provider. Batches are claimed
under one lease and one attempt id (`leases`), and everything later asks for that attempt, so that a
worker that lost its lease can change nothing but what it knows for sure. `domain/messages.py` has the states.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import TextClause, text

from domain.channels import Channel
from domain.messages import MessageClass, MessageState, Skip, SourceKind
from domain.routing import BUILT_IN
from models.base import Db
from models.batch import Asked

# A message that was refused this often before acceptance is given up. The pauses double up to an hour, so
# that is about a day: an outage of a night fails nobody (RFC 5321, section 4.5.4.1, asks for patience).
MOST_ATTEMPTS = 36


@dataclass(frozen=True)
class Queue:
    """Whose messages a slice sends: a campaign's, a flow's, or a workspace's outbox."""

    workspace_id: UUID
    id: UUID
    kind: SourceKind
    alone: bool = False  # One slice sends for it: it reports a big backlog at once, so that others may help.


class Settled(NamedTuple):
    """What became of one message that was on the wire."""

    id: UUID
    state: MessageState  # accepted, failed, unknown, or queued again.
    provider_id: str | None = None
    reason: str | None = None
    retry_after: float | None = None  # Seconds, for queued.
    blame: str | None = None  # Whom a no is about: `channels.contract.Blame`.


Kind = tuple[Channel, MessageClass]  # Of a message, as far as it decides who may take it.
# What goes by one provider alone has a way of its own.
BUT = " and (m.only_by is not null or not (m.channel || ' ' || m.class) = any(cast(:but as text[])))"


def spelled(kinds: Collection[Kind]) -> list[str]:
    """Kinds of messages as `BUT` compares them."""
    return [f"{channel} {message_class}" for channel, message_class in kinds]


# Whether a source sends now, read by the statement itself.
RUNNING = {
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

_MARK = """
{wanted}
update messages m set state = 'sending', marked_at = :now, holes = v.holes, provider = :provider,
    attempts = m.attempts + case m.state when 'claimed' then 1 else 0 end
from jsonb_to_recordset(cast(:letters as jsonb)) as v(id uuid, holes jsonb)
where m.workspace_id = :workspace and m.id = v.id and m.attempt = :attempt
    and m.reported_at is null and {markable}
    and exists (select from leases l where l.workspace_id = :workspace and l.id = :attempt
        and l.until > clock_timestamp())
    and {running}
returning m.id
"""
# Time has passed since the claim: somebody may have said no, bounced, or become somebody else. The next claim
# finds out which. Erasure takes the address of what it meets, also while we ask.
_WANTED = """
with held as materialized (
    select m.id, m.class, m.channel, m.profile_id, sha256(convert_to(m.address, 'UTF8')) as hash
    from jsonb_to_recordset(cast(:letters as jsonb)) as v(id uuid)
    cross join lateral (
        select * from messages m where m.workspace_id = :workspace and m.id = v.id limit 1
    ) m
),
wanted as materialized (
    select h.id
    from held h
    where (
            select p.merged_into from profiles p where p.workspace_id = :workspace and p.id = h.profile_id
        ) is null
        and (
            select s.reason <> 'unsubscribed' or h.class = 'marketing' from suppressions s
            where s.workspace_id = :workspace and s.channel = h.channel and s.address_hash = h.hash
                and s.ended_at is null
        ) is not true
        and (h.class <> 'marketing' or (
            select c.state from consents c
            where c.workspace_id = :workspace and c.profile_id = h.profile_id and c.purpose = h.channel
                and c.ended_at is null
        ) = 'granted')
)"""
_STILL_WANTED = """m.state in ('claimed', 'sending') and m.address is not null
    and m.id in (select id from wanted)"""


@cache
def _mark(kind: SourceKind, again: bool) -> TextClause:
    wanted, markable = (_WANTED, _STILL_WANTED) if again else ("", "m.state = 'claimed'")
    return text(_MARK.format(running=RUNNING[kind], wanted=wanted, markable=markable))


def marking(
    queue: Queue,
    attempt: UUID,
    letters: Sequence[tuple[UUID, Sequence[str]]],
    now: datetime,
    again: bool = False,
    provider: UUID = BUILT_IN,
) -> Asked:
    """Note that these messages, with the values of their holes, are about to go on the wire to a provider.

    Only the ids that it answers may be sent, and only after the transaction has committed. `again` repeats a
    mark: its commit was never answered, or another provider has certainly not taken the messages over.
    What it had marked counts, unless a report says meanwhile that somebody did take it over, or its person
    must not be written to any more: that is for the next claim to say.
    """
    values = {
        "workspace": queue.workspace_id,
        "queue": queue.id,
        "attempt": attempt,
        "provider": provider,
        "now": now,
        "letters": orjson.dumps([{"id": id_, "holes": holes} for id_, holes in letters]).decode(),
    }
    return Asked(_mark(queue.kind, again), values)


# When a message is due that was claimed and not sent: a moment sooner, so that no turn is given twice. A
# claim that began before would take the new one for the one it saw, and count its person without taking it.
DUE_AGAIN = "m.due_at - interval '1 microsecond'"

_BY_NAME = {state.value: state for state in MessageState}  # To ask the enumeration costs ten times as much.

# Those of the messages `done` that are queued again get a turn.
_AGAIN = """
again as (
    insert into queue (workspace_id, queue_id, due_at, message_id)
    select :workspace, queue_id, due_at, id from done where state = 'queued'
)
"""

_PUT_BACK = f"""
with done as (
    update messages m set
        state = case when m.reported_at is not null
                then case when m.fate = 'failed' then 'failed' else 'accepted' end
            when {{given_up}} then 'skipped' else 'queued' end,
        reason = case when m.reported_at is not null then m.reason when {{given_up}} then 'cancelled' end,
        closed_at = case when m.reported_at is not null or {{given_up}} then cast(:now as timestamptz) end,
        due_at = coalesce(cast(:until as timestamptz), {DUE_AGAIN}),
        attempt = null
    where m.workspace_id = :workspace and m.id = any(cast(:ids as uuid[])) and m.attempt = :attempt
        and m.state in ('claimed'{{again}})
    returning m.id, m.state, m.queue_id, m.due_at
),
{_AGAIN}
select id, state from done
"""


def states(rows: Iterable[tuple[UUID, str]]) -> dict[UUID, MessageState]:
    return {id_: _BY_NAME[state] for id_, state in rows}


@cache
def _put_back(kind: SourceKind, again: bool) -> TextClause:
    return text(_PUT_BACK.format(given_up=_GIVEN_UP[kind], again=", 'sending'" if again else ""))


async def put_back(
    db: Db,
    queue: Queue,
    attempt: UUID,
    ids: Sequence[UUID],
    now: datetime,
    again: bool = False,
    until: datetime | None = None,
) -> dict[UUID, MessageState]:
    """Let go of claimed messages that were not marked: to the queue, or skipped if the source is cancelled.

    They are due where they were, or `until` then. `again` says that a mark was never answered and is now
    refused: what it had marked was not sent, so that goes back, too; unless a report says that it was.
    Returns what became of those that were ours to put back. The others had been recovered before.
    """
    rows = await db.execute(
        _put_back(queue.kind, again),
        {
            "workspace": queue.workspace_id,
            "queue": queue.id,
            "attempt": attempt,
            "now": now,
            "ids": list(ids),
            "until": until,
        },
    )
    return states(rows)


_SKIP = text(
    """
    update messages m set state = 'skipped', reason = v.reason, detail = v.detail,
        closed_at = :now, attempt = null
    from unnest(cast(:ids as uuid[]), cast(:reasons as text[]), cast(:details as text[]))
        as v(id, reason, detail)
    where m.workspace_id = :workspace and m.id = v.id and m.attempt = :attempt and m.state = 'claimed'
    returning m.id
    """
)


class Unsendable(NamedTuple):
    """A claimed message that must not go on the wire."""

    id: UUID
    reason: Skip
    detail: str | None


async def skip_unsendable(
    db: Db, queue: Queue, attempt: UUID, found: Sequence[Unsendable], now: datetime
) -> list[UUID]:
    """Skip claimed messages: their template can't be filled for this person, or this person is not theirs."""
    rows = await db.execute(
        _SKIP,
        {
            "workspace": queue.workspace_id,
            "attempt": attempt,
            "now": now,
            "ids": [each.id for each in found],
            "reasons": [each.reason.value for each in found],
            "details": [each.detail for each in found],
        },
    )
    return list(rows.scalars())


# A refusal that came once too often is a failure; written out, since the row itself knows its attempts. And a
# provider that has reported on a message has it, whatever its answer was: it is not sent again.
_BECOMES = f"""
    case when m.reported_at is not null and o.state <> 'accepted'
            then case when m.fate = 'failed' then 'failed' else 'accepted' end
        when o.state = 'queued' and m.attempts >= {MOST_ATTEMPTS} then 'failed' else o.state
    end
"""
# The steps of a statement that settles: `done` has the messages as they are now.
SETTLING = f"""
    done as (
        update messages m set
            state = {_BECOMES},
            reason = case when m.reported_at is not null then m.reason
                when o.state <> 'accepted' then o.reason end,
            provider_id = coalesce(o.provider_id, m.provider_id),
            due_at = case when {_BECOMES} = 'queued'
                then :now + make_interval(
                    secs => greatest(coalesce(o.retry_after, 0), least(2 ^ m.attempts, 3600)))
                else m.due_at end,
            closed_at = case when {_BECOMES} = 'queued' then null else coalesce(m.closed_at, :now) end,
            reconcile_at = case when {_BECOMES} = 'unknown' then cast(:reconcile_at as timestamptz) end,
            attempt = case when {_BECOMES} = 'queued' then null else m.attempt end
        from jsonb_to_recordset(cast(:outcomes as jsonb))
            as o(id uuid, state text, provider_id text, reason text, retry_after float8)
        where m.workspace_id = :workspace and m.id = o.id and m.attempt = :attempt
            and (m.state = 'sending' or m.state = 'unknown' and o.state in ('accepted', 'failed'))
        returning m.id, m.state, m.queue_id, m.due_at, m.closed_at, m.occasion, m.step, m.visit
    ),
    {_AGAIN}
"""
_SETTLE = text(f"with {SETTLING} select id, state from done")


def settling(
    queue: Queue, attempt: UUID, outcomes: Sequence[Settled], now: datetime, reconcile_at: datetime
) -> Asked:
    """Write down what the provider answered; the answer is the `states` that the messages have now.

    A no before acceptance goes back to the queue, due after the longer of the provider's wish and a
    doubling pause, and fails after `MOST_ATTEMPTS`. What had become unknown meanwhile may be put right.
    """
    values = {
        "workspace": queue.workspace_id,
        "attempt": attempt,
        "now": now,
        "reconcile_at": reconcile_at,
        "outcomes": orjson.dumps([*map(_said, outcomes)]).decode(),
    }
    return Asked(_SETTLE, values)


_ACCEPT = text(
    """
    update messages m set state = 'accepted', reason = case when m.reported_at is not null then m.reason end,
        provider_id = coalesce(o.provider_id, m.provider_id), closed_at = coalesce(m.closed_at, :now),
        reconcile_at = null
    from jsonb_to_recordset(cast(:accepted as jsonb)) as o(id uuid, provider_id text)
    where m.workspace_id = :workspace and m.id = o.id and m.attempt = :attempt
        and m.state in ('sending', 'unknown')
        and not exists (select from webhooks w where w.workspace_id = :workspace and w.state = 'enabled')
    returning m.id
    """
)


def accepting(queue: Queue, attempt: UUID, accepted: Sequence[Settled], now: datetime) -> Asked:
    """`settling` for what was accepted, in a workspace where no webhook could ask for it: so nothing follows.

    The answer is which of them are settled.
    """
    said = orjson.dumps([{"id": each.id, "provider_id": each.provider_id} for each in accepted]).decode()
    return Asked(_ACCEPT, {"workspace": queue.workspace_id, "attempt": attempt, "now": now, "accepted": said})


def _said(outcome: Settled) -> dict[str, Any]:
    """As the statement reads it. Of nearly all there is nothing to say but that they were accepted."""
    id_, state, provider_id, reason, retry_after, _ = outcome
    if reason is None and retry_after is None:
        if provider_id is None:
            return {"id": id_, "state": state}
        return {"id": id_, "state": state, "provider_id": provider_id}
    return outcome._asdict()


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
        order by c.profile_id, c.channel for update of c
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


_RENEW = text(
    """
    update leases set until = clock_timestamp() + make_interval(secs => :lease)
    where workspace_id = :workspace and id = :attempt and until > clock_timestamp()
    """
)


def renewing(queue: Queue, attempt: UUID, lease: float) -> Asked:
    """Hold on for so many seconds more, unless the hold has ended."""
    return Asked(_RENEW, {"workspace": queue.workspace_id, "attempt": attempt, "lease": lease})


_DROP_LEASE = text("delete from leases where workspace_id = :workspace and id = :attempt")


def dropping_lease(queue: Queue, attempt: UUID) -> Asked:
    """The batch is done: nothing of it is claimed or on the wire."""
    return Asked(_DROP_LEASE, {"workspace": queue.workspace_id, "attempt": attempt})


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
            reconcile_at = case when m.state = 'claimed' then null
                when exists (select from providers p where p.workspace_id = :workspace and p.id = m.provider
                    and p.kind = any(cast(:reporting as text[]))) then cast(:reconcile_at as timestamptz)
                else cast(:now as timestamptz) end
        from held h
        where m.workspace_id = :workspace and m.id = h.id and m.attempt = h.attempt
            and m.state in ('claimed', 'sending')
        returning m.id, m.state, m.queue_id, m.due_at
    ),
    {_AGAIN}
    select id, state from done
    """
)


async def recover(
    db: Db, queue: Queue, now: datetime, reconcile_at: datetime, reporting: Collection[str] = ()
) -> dict[UUID, MessageState]:
    """Take over from workers whose lease ran out.

    What they had only claimed was never on the wire: it is queued again, and counts for no cap. What they had
    marked is unknown: what `reporting` kinds of providers may still tell of is decided about at
    `reconcile_at`, the rest at once.
    """
    rows = await db.execute(
        _RECOVER,
        {
            "workspace": queue.workspace_id,
            "queue": queue.id,
            "now": now,
            "reconcile_at": reconcile_at,
            "reporting": list(reporting),
        },
    )
    found = states(rows)
    queued = [id_ for id_, state in found.items() if state is MessageState.QUEUED]
    await give_back(db, queue.workspace_id, queued)
    return found


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

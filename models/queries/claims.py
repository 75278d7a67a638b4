"""The claim: a batch of messages that are due becomes one worker's, for a while.

One statement finds them, asks again of each whether it may go (consent, suppression, quiet hours, merges, the
cap), and takes them under an attempt and a lease. `ledger` has what follows.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import TextClause, text

from domain.channels import Channel
from domain.messages import PROVIDER_TEST, MessageClass, MessageState, SourceKind
from domain.profiles import ADDRESS_KIND
from models.base import Db
from models.queries.ledger import BUT, RUNNING, Kind, Queue, spelled

Cursor = tuple[str, UUID]  # A due_at, as PostgreSQL writes it, and an id.
BEGINNING: Cursor = ("-infinity", UUID(int=0))


class Cap(NamedTuple):
    """A frequency cap in force: at most `limit` on the channel in the period that began on `starts_on`."""

    limit: int
    period: str
    starts_on: date
    channel: str = Channel.EMAIL


class Claimed(NamedTuple):
    """One message under our lease, with what is needed to write it, in the order of the claim's columns."""

    id: UUID
    address: str
    template_version_id: UUID
    attributes: Mapping[str, Any] | None  # None for those who have no profile.
    tracked: bool
    holes: list[str] | None  # Filled when the message was queued, for those who have no profile.
    channel: Channel
    message_class: MessageClass
    only: UUID | None  # The one provider that it may go by, where somebody chose it.


class Claim(NamedTuple):
    claimed: list[Claimed]
    skipped: list[UUID]  # Their ids: closed by this claim.
    found: int  # Rows that were due and locked; fewer than asked for: there were no more.
    undecided: bool  # Whether some of them were left for the next claim.
    cursor: Cursor  # Where the next claim may go on.


_COUNT_CAP = """
caps as materialized (
    select * from unnest(cast(:cap_channels as text[]), cast(:cap_periods as text[]),
        cast(:cap_starts as date[]), cast(:cap_limits as int[])) c (channel, period, starts_on, most)
),
counted as (
    insert into cap_counters (workspace_id, profile_id, channel, period, starts_on, n)
    select :workspace, j.person_id, j.channel, c.period, c.starts_on, 1
    from judged j join caps c on c.channel = j.channel
    where j.skip is null and j.later is null and j.class = 'marketing' and j.nth = 1
    order by j.person_id, j.channel
    on conflict (workspace_id, profile_id, channel, period, starts_on)
    do update set n = cap_counters.n + 1
        where cap_counters.n < (select most from caps c where c.channel = cap_counters.channel)
    returning profile_id, channel
),
verdict as materialized (
    select id, turn, place, due_at, sent_to, attributes, tracked, later,
        case when skip is null and later is null and class = 'marketing'
            and channel in (select channel from caps)
            and (person_id, channel) not in (select profile_id, channel from counted) then 'capped' else skip
        end as reason
    from judged
    -- A person's second message of one batch waits for the next: the counter moves one at a time.
    where class <> 'marketing' or nth = 1 or skip is not null or later is not null
        or channel not in (select channel from caps)
),"""

_NO_CAP = """
verdict as (select j.*, skip as reason from judged j),"""

# Each message looks up its person, address and what stands against it, by index and one by one: laterals
# with a limit and scalar subqueries leave the planner no other way, whatever it believes of a ledger that
# a freeze filled a moment ago. The hash stands in a step of its own because a function that is not
# leakproof would keep the wall from using the index of suppressions.
_CLAIM = """
with here as materialized (
    select time_zone, quiet_from, quiet_until from workspaces where id = :workspace
),
due as materialized (
    select q.ctid as turn, m.ctid as place, m.id, m.due_at, m.expires_at, m.profile_id, m.class, m.channel,
        m.bare, m.source_id, m.step, m.occasion, m.visit, m.resend
    from queue q
    join messages m on m.workspace_id = :workspace and m.id = q.message_id
        and m.state = 'queued' and m.due_at = q.due_at
    where q.workspace_id = :workspace and q.queue_id = :queue and q.due_at <= :now
        and (q.due_at, q.message_id) > (cast(:after_due as timestamptz), :after_id)
        and {running}{but}
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
        where i.workspace_id = :workspace and i.profile_id = o.person_id and i.is_primary
            and i.kind = {address_kind}
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
                        and o.visit = r.visit
                        -- What is sent again is not kept back by what is unknown, which it is sent for.
                        and (o.state in ('claimed', 'sending', 'accepted')
                                and (o.resend = r.resend or o.profile_id <> r.profile_id)
                            or o.resend = r.resend
                                and (o.state = 'unknown' or o.state = 'queued' and o.id < r.id)))
                then 'merged'
            when (
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
        row_number() over (partition by r.person_id, r.channel order by r.due_at, r.id) as nth
    from reached r
    cross join here w
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
        case when m.state = 'claimed' then v.attributes end as attributes, m.tracked, m.holes, m.channel,
        m.class,
        case when m.step = '{provider_test}' then m.provider else m.only_by end as by_one
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
select state, id, address, template_version_id, attributes, tracked, holes, channel, class, by_one,
    (select count(*) from due) as found, (select max(due_at)::text from decided) as last
from decided order by due_at, id
"""


# By which kind of name somebody is reached on the message's channel; null where profiles have no address.
_ADDRESS_KIND = "case d.channel {} end".format(
    " ".join(f"when '{channel}' then '{kind}'" for channel, kind in ADDRESS_KIND.items())
)


@cache
def _claim(kind: SourceKind, capped: bool, but: bool, limit: int) -> TextClause:
    # The limit is written out: as a parameter the planner would take it for a tenth of the table.
    return text(
        _CLAIM.format(
            running=RUNNING[kind],
            but=BUT if but else "",
            limit=int(limit),
            cap=_COUNT_CAP if capped else _NO_CAP,
            provider_test=PROVIDER_TEST,
            address_kind=_ADDRESS_KIND,
        )
    )


async def claim(
    db: Db,
    queue: Queue,
    attempt: UUID,
    now: datetime,
    lease: float,
    limit: int,
    caps: Sequence[Cap] = (),
    after: Cursor = BEGINNING,
    but: Collection[Kind] = (),
) -> Claim:
    """Take up to `limit` messages that are due, under `attempt` and a lease of so many seconds.

    In the same statement the source's state, consent, suppression, address, merges, quiet hours and
    the caps (at most one a channel) are read again; what may not go is skipped with its reason, what must
    wait gets a new `due_at`.
    `after` is where an earlier claim of the same slice ended, so that the closed are not walked again.
    Messages of the kinds in `but` stay where they are: no provider takes them now.
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
    if caps:
        values |= {
            "cap_channels": [cap.channel for cap in caps],
            "cap_periods": [cap.period for cap in caps],
            "cap_starts": [cap.starts_on for cap in caps],
            "cap_limits": [cap.limit for cap in caps],
        }
    if but:
        values["but"] = spelled(but)
    rows = (await db.execute(_claim(queue.kind, bool(caps), bool(but), limit), values)).all()
    if not rows:
        return Claim([], [], 0, undecided=False, cursor=after)
    claimed = [Claimed._make(row[1:10]) for row in rows if row[0] == MessageState.CLAIMED]
    skipped = [row[1] for row in rows if row[0] == MessageState.SKIPPED]
    _, last, *_, found, last_due = rows[-1]
    return Claim(claimed, skipped, found, found > len(rows), (last_due, last))

"""Calls by flows: who is to be called about, that they were, and what was answered for them.

Who arrives at the step is due at once and waits for nothing. They are held, what is said of them is read, and
in the same transaction they are called about: from then on they are due at the deadline, and wait for the
callback. An answer that comes first makes them due at once, waiting for their turn alone, as `done` or
`failed`. Both hold the enrollment: whoever comes first decides, and `visit` tells one pass from another.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from domain.announcements import AnnouncementType
from domain.flow_calls import Member
from domain.flows import FlowState, WaitingFor
from domain.messages import Work
from domain.profiles import IdentityKind
from models.base import Db, changed
from models.calls import Outcome
from models.queries import announcing, pokes
from models.queries.profiles import HERE


def _name(kind: IdentityKind) -> str:
    return f"""(
        select i.value from identities i
        where i.workspace_id = :workspace and i.profile_id = o.id and i.kind = '{kind}' and i.is_primary
        limit 1
    )"""


# Of a merged profile, what is known of the person it is now. Who was erased has no journey under way.
_HOLD = text(
    f"""
    with due as materialized (
        select e.id, e.profile_id, e.properties, a.due_at
        from agenda a
        join enrollments e on e.id = a.enrollment_id
        where a.workspace_id = :workspace and a.version_id = :version and a.step = :step and a.due_at <= :now
            and e.workspace_id = :workspace and e.step = a.step and e.due_at = a.due_at
            and e.ended_at is null and e.waiting_for is null
            and exists (select from flows f where f.workspace_id = :workspace and f.id = :flow
                and f.state = '{FlowState.LIVE}')
        order by a.due_at limit :most for update of e skip locked
    )
    select d.id, o.id, {_name(IdentityKind.USER_ID)}, {_name(IdentityKind.EMAIL)},
        {_name(IdentityKind.PHONE)}, cast(d.properties as text), cast(coalesce((
            select jsonb_object_agg(n.name, o.attributes -> n.name)
            from unnest(cast(:attributes as text[])) n(name) where o.attributes -> n.name is not null
        ), '{{}}') as text)
    from due d
    cross join lateral (
        select p.id, p.attributes from profiles a
        join profiles p on p.workspace_id = :workspace
            and p.id = case when a.merged_into is null then a.id else a.merged_into end
        where a.workspace_id = :workspace and a.id = d.profile_id and p.erased_at is null
        limit 1
    ) o
    order by d.due_at, d.id
    """
)


async def hold(
    db: Db,
    workspace_id: UUID,
    flow_id: UUID,
    place: tuple[UUID, str],
    attributes: Collection[str],
    now: datetime,
    most: int,
) -> list[Member]:
    """Up to `most` members who have come to this step (a version, and its name) and were not called about.

    They are held until the commit. Nobody is found unless the flow is live.
    """
    values = {
        "workspace": workspace_id,
        "flow": flow_id,
        "version": place[0],
        "step": place[1],
        "attributes": list(attributes),
        "now": now,
        "most": most,
    }
    return [
        Member(id_, profile_id, user_id, email, phone, orjson.loads(properties), orjson.loads(known))
        for id_, profile_id, user_id, email, phone, properties, known in await db.execute(_HOLD, values)
    ]


_NAME = text("select f.name from flows f where f.workspace_id = :workspace and f.id = :flow")


async def name(db: Db, workspace_id: UUID, flow_id: UUID) -> str:
    """The flow's name, as it is now."""
    return str((await db.execute(_NAME, {"workspace": workspace_id, "flow": flow_id})).one().name)


class Made(NamedTuple):
    """A call with its body, and the journeys that it is about."""

    id: UUID
    delivery_id: UUID
    body: str
    members: Sequence[UUID]


# While the webhook is disabled its delivery is as those are that it had then: failed, and can be replayed.
_WRITE = text(
    f"""
    with made as materialized (
        select c.id, c.delivery_id, c.body, c.members
        from jsonb_to_recordset(cast(:made as jsonb))
            as c(id uuid, delivery_id uuid, body text, members uuid[])
    ),
    delivered as (
        insert into webhook_deliveries
            (workspace_id, id, webhook_id, event_type, body, state, created_at, due_at, closed_at, reason)
        select w.workspace_id, m.delivery_id, w.id, '{AnnouncementType.FLOW_CALL}', m.body,
            case w.state when 'enabled' then 'pending' else 'failed' end,
            cast(:now as timestamptz), cast(:now as timestamptz),
            case w.state when 'enabled' then null else cast(:now as timestamptz) end,
            case w.state when 'enabled' then null else 'The webhook is disabled.' end
        from made m join webhooks w on w.workspace_id = :workspace and w.id = :webhook
        order by m.delivery_id
        returning id
    ),
    called as (
        insert into calls (workspace_id, id, flow_id, version_id, step, webhook_id, delivery_id, members,
            deadline, created_at, ends_at)
        select :workspace, m.id, :flow, :version, cast(:step as text), :webhook, d.id,
            cardinality(m.members), cast(:deadline as timestamptz), cast(:now as timestamptz),
            cast(:due_again as timestamptz)
        from made m left join delivered d on d.id = m.delivery_id
    ),
    moved as (
        update enrollments e
        set visit = e.visit + 1, due_at = cast(:due_again as timestamptz),
            waiting_for = cast(:waiting as text)
        from (select m.id as call_id, u.id from made m cross join lateral unnest(m.members) u(id)) who
        where e.workspace_id = :workspace and e.id = who.id
        returning who.call_id, e.id, e.visit, old.due_at
    ),
    turn as (
        update agenda a set due_at = cast(:due_again as timestamptz)
        from (
            select found.place from moved v
            cross join lateral (
                select x.ctid as place from agenda x
                where x.workspace_id = :workspace and x.version_id = :version and x.step = :step
                    and x.due_at = v.due_at and x.enrollment_id = v.id
                limit 1
            ) found
        ) those
        where a.ctid = those.place
    )
    insert into call_members (workspace_id, call_id, enrollment_id, visit)
    select :workspace, v.call_id, v.id, v.visit from moved v
    """
)


async def write(
    db: Db,
    workspace_id: UUID,
    flow_id: UUID,
    place: tuple[UUID, str],
    webhook_id: UUID,
    made: Sequence[Made],
    deadline: datetime | None,
    now: datetime,
) -> int:
    """Have the webhook called about members who are held, who wait until the deadline then.

    Without a deadline nobody has to answer: they are due at once, as if all was well. A webhook that is gone
    is not called, and nobody will answer. Returns how many were called about.
    """
    values = {
        "workspace": workspace_id,
        "flow": flow_id,
        "version": place[0],
        "step": place[1],
        "webhook": webhook_id,
        "made": orjson.dumps([each._asdict() for each in made]).decode(),
        "deadline": deadline,
        "due_again": deadline or now,
        "waiting": WaitingFor.CALLBACK if deadline else WaitingFor.DONE,
        "now": now,
    }
    announcing.deliver(db, workspace_id)
    return await changed(db, _WRITE, values)


# Held, so that callbacks of one call take turns.
_FIND = text(
    f"""
    select c.flow_id, c.deadline, f.state in ('{FlowState.LIVE}', '{FlowState.PAUSED}') as under_way
    from calls c join flows f on f.workspace_id = {HERE} and f.id = c.flow_id
    where c.workspace_id = {HERE} and c.id = :call and c.deadline is not null
    for no key update of c
    """
)


class Found(NamedTuple):
    """A call that can be answered."""

    flow_id: UUID
    deadline: datetime
    under_way: bool  # Its flow is, so that members may go on.


async def find(db: AsyncSession, call_id: UUID) -> Found | None:
    """The call, for whoever answers it; others who do wait until the commit. None if there is none."""
    row = (await db.execute(_FIND, {"call": call_id})).one_or_none()
    return Found(*row) if row else None


# The members are held in the order of their ids, as by `hearing.waking`, and asked again when they are:
# whoever was moved meanwhile is left alone.
_ANSWER = text(
    f"""
    with said as materialized (
        select s.member, s.outcome, s.reason
        from jsonb_to_recordset(:said) as s(member uuid, outcome text, reason text)
        where cast(:everybody as text) is null
        union all
        select m.enrollment_id, cast(:everybody as text), null from call_members m
        where m.workspace_id = {HERE} and m.call_id = :call and cast(:everybody as text) is not null
    ),
    known as materialized (
        select s.member as id, m.visit, m.answered_at is not null as repeated, s.outcome, s.reason
        from said s
        join call_members m on m.workspace_id = {HERE} and m.call_id = :call and m.enrollment_id = s.member
    ),
    found as materialized (
        select k.id, k.visit, k.outcome, k.reason, e.profile_id, e.version_id, e.step, e.due_at
        from known k
        join enrollments e on e.workspace_id = {HERE} and e.id = k.id
        where :in_time and not k.repeated and e.visit = k.visit
            and e.waiting_for = '{WaitingFor.CALLBACK}' and e.ended_at is null
    ),
    held as materialized (
        select f.*
        from (select * from found order by id) f
        cross join lateral (
            select e.id from enrollments e
            where e.workspace_id = {HERE} and e.id = f.id and e.visit = f.visit and e.step = f.step
                and e.due_at = f.due_at and e.waiting_for = '{WaitingFor.CALLBACK}'
                and e.ended_at is null
            for update
        ) e
    ),
    answered as (
        update call_members m set answered_at = :now, outcome = h.outcome, reason = h.reason
        from held h where m.workspace_id = {HERE} and m.call_id = :call and m.enrollment_id = h.id
    ),
    woken as (
        update enrollments e set due_at = :now, waiting_for = h.outcome
        from held h where e.workspace_id = {HERE} and e.id = h.id
    ),
    turn as (
        update agenda a set due_at = :now
        from (
            select found.place from held h
            cross join lateral (
                select x.ctid as place from agenda x
                where x.workspace_id = {HERE} and x.version_id = h.version_id and x.step = h.step
                    and x.due_at = h.due_at and x.enrollment_id = h.id
                limit 1
            ) found
        ) those
        where a.ctid = those.place
    ),
    counted as (
        update calls c set answered = c.answered + h.n,
            closed_at = case when c.answered + h.n = c.members then cast(:now as timestamptz) end
        from (select count(*)::int as n from held) h
        where c.workspace_id = {HERE} and c.id = :call and h.n > 0
    )
    select k.id, case when h.id is not null then 'taken' when k.repeated then 'repeated' else 'late' end,
        case when p.merged_into is null then p.id else p.merged_into end
    from known k
    left join held h on h.id = k.id
    left join profiles p on p.workspace_id = {HERE} and p.id = h.profile_id
    """
).bindparams(bindparam("said", type_=JSONB))


class Said(NamedTuple):
    """What was answered for one member."""

    member: UUID
    outcome: Outcome
    reason: str | None = None


class Heard(NamedTuple):
    """What an answer led to. Who is in neither is no member of the call."""

    taken: dict[UUID, UUID]  # Members who go on by it, and whom each is about: no merged profile.
    ignored: dict[UUID, str]  # The others: they were answered for before (`repeated`), or it is too `late`.


async def answer(
    db: AsyncSession,
    workspace_id: UUID,
    call_id: UUID,
    call: Found,
    said: Sequence[Said] | Outcome,
    now: datetime,
) -> Heard:
    """Let the members of a call that was found go on as `said`, each once, or all of them with one outcome.

    Each member is named once at most. The flow is poked if anybody goes on.
    """
    values = {
        "call": call_id,
        "everybody": said.value if isinstance(said, Outcome) else None,
        "said": [] if isinstance(said, Outcome) else [_plain(each) for each in said],
        "in_time": call.under_way and now <= call.deadline,
        "now": now,
    }
    found = [*await db.execute(_ANSWER, values)]
    taken = {id_: profile_id for id_, verdict, profile_id in found if verdict == "taken"}
    if taken:
        pokes.poke(db, call.flow_id, Work.ADVANCE)
    return Heard(taken, {id_: verdict for id_, verdict, _ in found if id_ not in taken})


def _plain(said: Said) -> dict[str, Any]:
    return {"member": str(said.member), "outcome": said.outcome.value, "reason": said.reason}


_FLOWS_CALLING = text(
    f"""
    select f.id, f.name from flows f
    where f.workspace_id = {HERE} and f.state in ('{FlowState.LIVE}', '{FlowState.PAUSED}') and exists (
        select from flow_versions v
        cross join lateral jsonb_each(v.definition -> 'steps') s
        where v.workspace_id = {HERE} and v.flow_id = f.id and s.value ->> 'kind' = 'webhook'
            and s.value ->> 'webhook_id' = cast(cast(:webhook as uuid) as text)
            and (v.id = f.version_id or exists (
                select from enrollments e where e.workspace_id = {HERE} and e.flow_id = f.id
                    and e.version_id = v.id and e.ended_at is null
            ))
    )
    order by f.id
    """
)


async def flows_calling(db: AsyncSession, webhook_id: UUID) -> list[tuple[UUID, str]]:
    """The flows, each with its name, that may still call this webhook.

    They are live or paused, and name it in what people enter now or in a version that somebody is under way
    in. Whoever deletes the webhook locks its row first: a flow that is being published holds it.
    """
    return [(id_, name) for id_, name in await db.execute(_FLOWS_CALLING, {"webhook": webhook_id})]


# As the engine. Their members go with them, and a few of them have very many. What was posted for them is
# found by them when somebody is erased, so it does not outlive them.
_DROP_OLD = text(
    """
    with old as materialized (
        select ctid as place, workspace_id, delivery_id from calls
        where ends_at < :before order by ends_at limit 200
    ),
    told as (
        delete from webhook_deliveries d using old
        where d.workspace_id = old.workspace_id and d.id = old.delivery_id
    )
    delete from calls c using old where c.ctid = old.place
    """
)


async def drop_old(db: Db, before: datetime) -> int:
    """Remove, as the engine, up to 200 calls of which nothing was to be heard since then, as they were told.

    Returns how many.
    """
    return await changed(db, _DROP_OLD, {"before": before})


_CALLED = f"""(
    select distinct c.delivery_id from call_members m
    join calls c on c.workspace_id = {HERE} and c.id = m.call_id
    where m.workspace_id = {HERE} and m.enrollment_id = any(cast(:journeys as uuid[]))
) called"""
_FORGET = [
    text(statement)
    for statement in (
        f"""
        delete from webhook_deliveries d using {_CALLED}
        where d.workspace_id = {HERE} and d.id = called.delivery_id and d.state <> 'pending'
        """,
        f"""
        update webhook_deliveries d
        set body = cast(jsonb_set(cast(d.body as jsonb), '{{data,members}}', coalesce((
            select jsonb_agg(m.said order by m.nth)
            from jsonb_array_elements(cast(d.body as jsonb) #> '{{data,members}}')
                with ordinality m(said, nth)
            where not m.said ->> 'member' = any(cast(cast(:journeys as uuid[]) as text[]))
        ), '[]')) as text)
        from {_CALLED}
        where d.workspace_id = {HERE} and d.id = called.delivery_id
        """,
        f"""
        update call_members m set reason = null
        where m.workspace_id = {HERE} and m.enrollment_id = any(cast(:journeys as uuid[]))
            and m.reason is not null
        """,
    )
]


async def forget(db: AsyncSession, journeys: Sequence[UUID]) -> None:
    """Forget what was posted of these journeys, whose person is erased, and take them out of what will be."""
    for statement in _FORGET:
        await db.execute(statement, {"journeys": list(journeys)})

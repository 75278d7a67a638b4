"""The statements that ask a batch of events what a flow wants to know: who enters, and whose wait is over."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    ColumnElement,
    Integer,
    Interval,
    Select,
    Text,
    TextualSelect,
    Uuid,
    any_,
    bindparam,
    cast,
    column,
    func,
    literal,
    null,
    select,
    table,
    text,
    union_all,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

from domain.comparisons import Property
from domain.events import ORDER_PLACED
from domain.flows import MOST_HOPS, Step, Wait, WaitForEvent, WaitingFor
from models.queries.comparisons import holding
from models.queries.enrollments import ONCE

Place: TypeAlias = tuple[UUID, str]  # A version, and the name of one of its steps.


class Asked(NamedTuple):
    """Which events are meant, and which flow wants to know."""

    flow_id: UUID
    event: str
    where: tuple[Property, ...]


class Trigger(NamedTuple):
    asked: Asked
    version_id: UUID
    always: bool  # Each event is a journey of its own.
    first: str
    step: Step  # The one called `first`.


class Awaited(NamedTuple):
    """What members wait for at these steps of one flow: its versions have most in common."""

    asked: Asked
    places: tuple[Place, ...]


# The batch's events, as the pump hands them over.
_EVENTS = table(
    "happened",
    column("n", BigInteger),
    column("event_id", Uuid),
    column("profile_id", Uuid),
    column("name", Text),
    column("properties", JSONB),
    column("occurred_at", TIMESTAMP(timezone=True)),
    column("hops", Integer),
)


# Those that one of the triggers or waits may mean: read once, however many ask.
_HEARD = (
    select(_EVENTS)
    .where(_EVENTS.c.name == any_(bindparam("names", type_=ARRAY(Text))))
    .cte("heard")
    .prefix_with("materialized")
)


def _matching(asked: Asked, *columns: ColumnElement[Any]) -> Select[Any]:
    conditions = (holding(condition, _HEARD.c.properties) for condition in asked.where)
    return select(*columns).where(_HEARD.c.name == literal(asked.event, Text), *conditions)


def _entry(trigger: Trigger) -> ColumnElement[str]:
    """What tells this journey of a person from others: an order is the same however often we hear of it."""
    if not trigger.always:
        return literal(ONCE, Text)
    event = cast(_HEARD.c.event_id, Text)
    if trigger.asked.event != ORDER_PLACED:
        return event
    return func.coalesce(_HEARD.c.properties.op("->>")(literal("order", Text)), event)


def _beginning(trigger: Trigger) -> list[ColumnElement[Any]]:
    """Where the flow begins, if it begins with a wait: how long it takes, and for what."""
    match trigger.step:
        case Wait(duration=takes):
            waiting_for = None
        case WaitForEvent(at_most=takes):
            waiting_for = WaitingFor.EVENT.value
        case _:
            return [
                null().cast(Text).label("step"),
                null().cast(Interval).label("takes"),
                null().cast(Text).label("waiting_for"),
            ]
    return [
        literal(trigger.first, Text).label("step"),
        literal(takes, Interval).label("takes"),
        literal(waiting_for, Text).label("waiting_for"),
    ]


def _cte(name: str, sql: str, *columns: str) -> CTE:
    return text(sql).columns(*map(column, columns)).cte(name)


def entering(triggers: Sequence[Trigger]) -> TextualSelect:
    """Who enters which flow, with parameters `workspace`, `names` (of events), `flows` (which may be
    entered), `live` (which of them are), `ids`, `now` and `at` (the same as history has it).

    Where a live flow begins with a wait, they are in it at once: it is the same for all of them.

    Each look-up is a subquery with a limit: the planner, who knows nothing of the batch and maybe believes
    that nobody is in a flow yet, has no other way than to look up each by its key. `matched` is materialized,
    for behind the wall no index takes an expression that is not leakproof.
    """
    matched = union_all(
        *(
            _matching(
                trigger.asked,
                literal(trigger.asked.flow_id, Uuid).label("flow_id"),
                literal(trigger.version_id, Uuid).label("version_id"),
                _entry(trigger).label("entry"),
                *_beginning(trigger),
                _HEARD.c.n,
                _HEARD.c.profile_id,
                _HEARD.c.properties,
            ).where(_HEARD.c.hops <= MOST_HOPS)
            for trigger in triggers
        )
    ).cte("matched")
    first = _cte(
        "first",
        """
        select distinct on (m.flow_id, m.profile_id, m.entry) m.*,
            m.step is not null and m.flow_id = any(cast(:live as uuid[])) as begun,
            cast(:ids || lpad(to_hex(row_number() over ()), 8, '0') as uuid) as id
        from matched m
        where m.flow_id = any(cast(:flows as uuid[])) and (
            select 1 from enrollments e
            where e.workspace_id = :workspace and e.flow_id = m.flow_id and e.profile_id = m.profile_id
                and e.entry = m.entry
            limit 1
        ) is null and (
            select 1 from profiles a
            where a.workspace_id = :workspace and a.merged_into = m.profile_id and (
                select 1 from enrollments e
                where e.workspace_id = :workspace and e.flow_id = m.flow_id and e.profile_id = a.id
                    and e.entry = m.entry
                limit 1
            ) is not null
            limit 1
        ) is null and (
            select 1 from profiles p
            where p.workspace_id = :workspace and p.id = m.profile_id and p.erased_at is null
            limit 1
        ) is not null
        order by m.flow_id, m.profile_id, m.entry, m.n
        """,
        "flow_id",
    )
    entered = _cte(
        "entered",
        """
        insert into enrollments (workspace_id, id, flow_id, version_id, profile_id, entry, properties,
            entered_at, step, due_at, waiting_for, history)
        select :workspace, id, flow_id, version_id, profile_id, entry, properties, cast(:now as timestamptz),
            case when begun then step else 'start' end,
            cast(:now as timestamptz) + case when begun then takes else '0' end,
            case when begun then waiting_for end,
            case when begun
                then jsonb_build_array(jsonb_build_array(cast(:at as text), 'start', step, 'entered'))
                else '[]' end
        from first
        on conflict (workspace_id, flow_id, profile_id, entry) do nothing
        returning workspace_id, flow_id, version_id, step, due_at, id
        """,
        "flow_id",
    )
    due = _cte(
        "due",
        """
        insert into agenda (workspace_id, version_id, step, due_at, enrollment_id)
        select workspace_id, version_id, step, due_at, id from entered
        """,
        "flow_id",
    )
    fresh = _cte("fresh", "insert into newcomers (enrollment_id, n) select id, n from first", "n")
    counted = text(
        """
        select flow_id, count(*) as entered, count(*) filter (where step = 'start') as at_start
        from entered group by flow_id order by flow_id
        """
    )
    columns = column("flow_id", Uuid), column("entered", BigInteger), column("at_start", BigInteger)
    result = counted.columns(*columns)
    return result.add_cte(_materialized(matched), _materialized(first), entered, due, fresh)


def waking(waits: Sequence[Awaited]) -> TextualSelect:
    """Whose wait is over, with parameters `workspace`, `names` (of events), `flows` (those under way), `now`,
    and the places where somebody waits as `arms` (which of `waits`), `versions` and `steps`.

    The members are held, in the order of their ids, before anything is written, and asked again when they
    are: whoever was moved meanwhile is left alone.
    """
    matched = union_all(
        *(
            _matching(
                wait.asked,
                literal(arm, Integer).label("arm"),
                literal(wait.asked.flow_id, Uuid).label("flow_id"),
                _HEARD.c.n,
                _HEARD.c.profile_id,
                _HEARD.c.occurred_at,
            )
            for arm, wait in enumerate(waits)
        )
    ).cte("matched")
    found = _cte(
        "found",
        f"""
        select distinct on (e.id) e.*
        from matched m
        cross join lateral (
            select m.profile_id as id
            union all
            select a.id from profiles a where a.workspace_id = :workspace and a.merged_into = m.profile_id
        ) who
        cross join lateral (
            select e.id, e.flow_id, e.version_id, e.step, e.due_at,
                (select f.n from newcomers f where f.enrollment_id = e.id) as entered_by
            from enrollments e
            where e.workspace_id = :workspace and e.flow_id = m.flow_id and e.profile_id = who.id
                and e.waiting_for = '{WaitingFor.EVENT}' and e.due_at >= m.occurred_at
                and exists (
                    select from unnest(
                        cast(:arms as int[]), cast(:versions as uuid[]), cast(:steps as text[])
                    ) p(arm, version_id, step)
                    where p.arm = m.arm and p.version_id = e.version_id and p.step = e.step
                )
            offset 0
        ) e
        where m.flow_id = any(cast(:flows as uuid[])) and (e.entered_by is null or e.entered_by < m.n)
        order by e.id
        """,
        "id",
    )
    held = _cte(
        "held",
        f"""
        select f.*
        from (select * from found order by id) f
        cross join lateral (
            select e.id from enrollments e
            where e.workspace_id = :workspace and e.id = f.id and e.step = f.step and e.due_at = f.due_at
                and e.waiting_for = '{WaitingFor.EVENT}'
            for update
        ) e
        """,
        "id",
    )
    woken = _cte(
        "woken",
        """
        update enrollments e set due_at = :now, waiting_for = null
        from held h where e.workspace_id = :workspace and e.id = h.id
        """,
        "id",
    )
    turn = _cte(
        "turn",
        """
        update agenda a set due_at = :now
        from (
            select found.place from held h
            cross join lateral (
                select x.ctid as place from agenda x
                where x.workspace_id = :workspace and x.version_id = h.version_id and x.step = h.step
                    and x.due_at = h.due_at and x.enrollment_id = h.id
                limit 1
            ) found
        ) those
        where a.ctid = those.place
        """,
        "id",
    )
    counted = text("select flow_id, count(*) as woken from held group by flow_id order by flow_id")
    result = counted.columns(column("flow_id", Uuid), column("woken", BigInteger))
    return result.add_cte(_materialized(matched), _materialized(found), _materialized(held), woken, turn)


def _materialized(cte: CTE) -> CTE:
    return cte.prefix_with("materialized")

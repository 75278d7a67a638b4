"""How a whole group of members moves one step on.

A member who is due at a step has done with it: a wait is over, the start is past. A member who waits for a
message goes on in the transaction that closes it. Whoever waits for an event is due when it comes, and then
waits for nothing any more, or when its time is over (`models.queries.happenings`). Whoever comes to a call is
due at once, is called about where they stand (`models.queries.calls`), and is due again when they were
answered for, or when the time for that is over. Moving on means arriving at the next step, which says when
the member is due again.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple, assert_never
from uuid import UUID

import orjson
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Text,
    Uuid,
    bindparam,
    cast,
    delete,
    exists,
    func,
    literal,
    literal_column,
    not_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

from domain.flows import END, Branch, Call, FlowState, Send, Step, Wait, WaitForEvent, WaitingFor
from domain.messages import MessageClass, SourceKind
from models.base import Db, bulk_id, bulk_prefix, changed, whose
from models.batch import Asked, Statement
from models.calls import CallMember
from models.flows import Agenda, Enrollment, Flow
from models.queries import announced, announced_members, ledger
from models.queries.queued import queue_up
from models.queries.ways import Move

_FINISHED = "finished"


async def advance(
    db: Db,
    move: Move,
    now: datetime,
    limit: int,
    condition: ColumnElement[bool] | None = None,
    came: bool | None = None,
    waiting_for: WaitingFor | None = None,
) -> int:
    """Move up to `limit` members who are due at `origin`, and meet `condition`, on to the next step.

    `came` says of a wait for an event to move only those to whom it came, or only the others; `waiting_for`
    of a call to move only those who wait for this.
    Those who arrive at a send step get their line in the ledger by the same statement, and wait for it.
    Nobody moves unless the flow is live. Returns how many moved.
    """
    due_again = move.due_on_arrival(now)
    values = {
        "workspace": move.workspace_id,
        "flow": move.flow_id,
        "version": move.version_id,
        "origin": move.origin,
        "to": move.to or END,
        "template": move.template_version_id,
        "now": now,
        "due_again": due_again,
        "note": orjson.dumps([_note(move, now)]).decode(),
        "ids": bulk_prefix(),
    }
    arrival, again = type(move.step) if move.step else None, due_again is not None
    build = _usual if condition is None else _advance
    type_ = announced_members.FINISHED if arrival is None else announced_members.MOVED
    if not await announced.asked(db, type_):
        statement = build(arrival, again, limit, condition, came, waiting_for, False)
        return await changed(db, statement, values)
    ids = await whose(db, build(arrival, again, limit, condition, came, waiting_for, True), values)
    await announced_members.moved(db, ids, now)
    return len(ids)


def _advance(
    arrival: type[Step] | None,
    again: bool,
    limit: int,
    condition: ColumnElement[bool] | None,
    came: bool | None,
    waiting_for: WaitingFor | None,
    telling: bool,
) -> Statement:
    """The statement that moves a group to a step of this kind, its parameters named as in `advance`.

    `again` says that they are due on arrival, now or later, and `telling` that whose moves is to be returned.
    """
    workspace, flow = bindparam("workspace", type_=Uuid()), bindparam("flow", type_=Uuid())
    now = bindparam("now", type_=TIMESTAMP(timezone=True))
    note = cast(bindparam("note", type_=Text()), JSONB)
    due = (
        select(Enrollment.id, _PLACE.label("place"))
        .join_from(Agenda, Enrollment, Enrollment.id == Agenda.enrollment_id)
        .where(
            Agenda.workspace_id == workspace,
            Agenda.version_id == bindparam("version"),
            Agenda.step == bindparam("origin"),
            Agenda.due_at <= now,
            Enrollment.workspace_id == workspace,
            # Asked again of the newest row when it is locked: whoever was moved meanwhile is left alone.
            Enrollment.step == Agenda.step,
            Enrollment.due_at == Agenda.due_at,
            Enrollment.ended_at.is_(None),
            exists().where(Flow.workspace_id == workspace, Flow.id == flow, Flow.state == FlowState.LIVE),
            *([] if condition is None else [condition]),
            *([] if came is None else [_EVENT_CAME if came else not_(_EVENT_CAME)]),
            *([] if waiting_for is None else [Enrollment.waiting_for == literal_column(f"'{waiting_for}'")]),
        )
        .order_by(Agenda.due_at)
        .limit(literal_column(str(int(limit))))
        .with_for_update(of=Enrollment, skip_locked=True)
        .cte("due")
        .prefix_with("materialized")
    )
    moving = (
        update(Enrollment)
        .where(Enrollment.workspace_id == workspace, Enrollment.id == due.c.id)
        .values(
            step=bindparam("to"),
            due_at=bindparam("due_again"),
            history=Enrollment.history.op("||")(_with_reason(note) if waiting_for is _FAILED else note),
            **_on_arrival(arrival),
        )
    )
    place = (due.c.place == _PLACE, Agenda.enrollment_id == due.c.id)
    turn = (
        update(Agenda).where(*place).values(step=bindparam("to"), due_at=bindparam("due_again")).cte("turn")
        if again
        else delete(Agenda).where(*place).cte("turn")
    )
    if arrival is not Send:
        return (moving.returning(Enrollment.id) if telling else moving).add_cte(turn)
    moved = moving.returning(Enrollment.id, Enrollment.profile_id, Enrollment.visit).cte("moved")
    _, turns = queue_up(
        {
            "id": bulk_id(bindparam("ids", type_=Text())),
            "workspace_id": workspace,
            "queue_id": flow,
            "source_id": flow,
            "source_kind": literal(SourceKind.FLOW.value),
            "step": bindparam("to", type_=Text()),
            "profile_id": moved.c.profile_id,
            "occasion": moved.c.id,
            "visit": moved.c.visit,
            "class": literal(MessageClass.MARKETING.value),
            "template_version_id": bindparam("template", type_=Uuid()),
            "due_at": now,
        }
    )
    if telling:
        return select(moved.c.id).add_cte(turns.cte("turns"), turn)
    return turns.add_cte(turn)


# Where the row is, which stays there while its enrollment is held. By the key, the planner would read all who
# are due for each of the group, whenever it was last told that hardly anybody is.
_PLACE: ColumnElement[Any] = literal_column("agenda.ctid")

_EVENT_CAME = Enrollment.waiting_for.is_(None)
_FAILED = WaitingFor.FAILED


def _with_reason(note: ColumnElement[Any]) -> ColumnElement[Any]:
    """The note, and at its end in whoever's words it was that they failed, where any were said."""
    said = (
        select(CallMember.reason)
        .where(
            CallMember.workspace_id == bindparam("workspace", type_=Uuid()),
            CallMember.enrollment_id == Enrollment.id,
            CallMember.visit == Enrollment.visit,
        )
        .limit(literal_column("1"))
        .scalar_subquery()
    )
    whole = func.jsonb_set(note, cast(literal_column("'{0,4}'"), ARRAY(Text)), func.to_jsonb(said))
    return func.coalesce(whole, note, type_=JSONB)


# Kept, because to build it anew for each group of one or two costs more than to move them.
_usual = cache(_advance)


def _on_arrival(arrival: type[Step] | None) -> dict[str, Any]:
    """What else a member's row says on arriving at a step of this kind."""
    if arrival is None:
        return {"waiting_for": None, "ended_at": bindparam("now"), "outcome": _FINISHED}
    if issubclass(arrival, Send):
        return {"waiting_for": WaitingFor.MESSAGE, "visit": Enrollment.visit + 1}
    if issubclass(arrival, Wait | WaitForEvent | Branch | Call):
        return {"waiting_for": _waiting_for(arrival)}
    assert_never(arrival)


def _waiting_for(arrival: type[Step] | None) -> str | None:
    """What those wait for who arrive at a step that sends nothing, apart from their time."""
    return WaitingFor.EVENT if arrival is WaitForEvent else None


def _note(move: Move, now: datetime) -> tuple[str, str, str, str]:
    """What history keeps of a move: when, from, to, and why. It is short, for each later move copies it.

    Where a callback said that somebody failed, the reason that it gave comes last.
    """
    return noted(now), move.origin, move.to or END, move.why


def noted(now: datetime) -> str:
    """A moment as history has it."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# The steps of a statement that lets members go on for whom a message in `closed` was waited for.
_GOING_ON = f"""
    waiting as materialized (
        select e.id, e.step, e.visit, o."to", o.due_at, o.waiting_for, o."to" = '{END}' as ends, o.note
        from {{closed}} m
        join enrollments e on e.workspace_id = :workspace and e.id = m.occasion
        left join jsonb_to_recordset(cast(:onward as jsonb))
            as o(version_id uuid, origin text, "to" text, due_at timestamptz, waiting_for text, note jsonb)
            on o.version_id = e.version_id and o.origin = e.step
            and exists (select from flows f where f.workspace_id = :workspace and f.id = :flow
                and f.state = '{FlowState.LIVE}')
        where m.closed_at is not null
            and e.step = m.step and e.visit = m.visit and e.waiting_for = '{WaitingFor.MESSAGE}'
    ),
    gone as (
        update enrollments e set
            step = case when w."to" is null then e.step else w."to" end,
            due_at = case when w."to" is null then cast(:going_at as timestamptz) else w.due_at end,
            waiting_for = w.waiting_for,
            ended_at = case when w.ends then cast(:going_at as timestamptz) end,
            outcome = case when w.ends then '{_FINISHED}' end,
            history = case when w."to" is null then e.history else e.history || w.note end
        from waiting w
        where e.workspace_id = :workspace and e.id = w.id and e.step = w.step and e.visit = w.visit
            and e.waiting_for = '{WaitingFor.MESSAGE}'
        returning e.workspace_id, e.version_id, e.step, e.due_at, e.id, w."to" is not null as moved
    ),
    due as (
        insert into agenda (workspace_id, version_id, step, due_at, enrollment_id)
        select workspace_id, version_id, step, due_at, id from gone where due_at is not null
    )
"""
_CLOSED = f"""
    closed as materialized (
        select m.occasion, m.step, m.visit, m.closed_at from messages m
        where m.workspace_id = :workspace and m.id = any(cast(:messages as uuid[]))
            and m.source_kind = '{SourceKind.FLOW}'
    )
"""
# The ids as text, because nearly always nobody asks for them.
_GONE = """
    count(*) as freed, min(due_at) as next_due_at, cast(array_agg(id) filter (where moved) as text) as ids
    from gone
"""
_GO_ON = text(f"with {_CLOSED}, {_GOING_ON.format(closed='closed')} select {_GONE}")
# What became of the messages, and in the last row of the members.
_SETTLE_AND_GO_ON = text(
    f"""
    with {ledger.SETTLING}, {_GOING_ON.format(closed="done")}
    select id, state, null as freed, null as next_due_at, null as ids from done
    union all select null, null, {_GONE}
    """
)


class GoneOn(NamedTuple):
    freed: int  # Members whose message was closed.
    next_due_at: datetime | None  # When the first of them is due again; None when nobody will be.


async def go_on(
    db: Db,
    workspace_id: UUID,
    flow_id: UUID,
    message_ids: Sequence[UUID],
    onward: Sequence[Move],
    now: datetime,
) -> GoneOn:
    """The members who waited for these messages, now closed, go on.

    `onward` holds the ways on from send steps, of which none may lead to another send step. Whoever has no
    way there, and everyone while the flow is not live, stays and is due at once: `advance` moves them.
    """
    # As PostgreSQL writes an array: by the driver it takes ten times as long.
    messages = f"{{{orjson.dumps([*message_ids])[1:-1].decode()}}}"
    values = {"workspace": workspace_id, "messages": messages, **_onward(flow_id, onward, now)}
    [row] = await db.execute(_GO_ON, values)
    return await went_on(db, row, now)


def settling(asked: Asked, flow_id: UUID, onward: Sequence[Move], now: datetime) -> Asked:
    """What `ledger.settling` asks for, and in the same statement `go_on` for what it closes. The last row
    of the answer is for `went_on`."""
    return Asked(_SETTLE_AND_GO_ON, {**asked.values, **_onward(flow_id, onward, now)})


def _onward(flow_id: UUID, onward: Sequence[Move], now: datetime) -> dict[str, Any]:
    ways = [
        {
            "version_id": move.version_id,
            "origin": move.origin,
            "to": move.to or END,
            "due_at": move.due_on_arrival(now),
            "waiting_for": _waiting_for(type(move.step) if move.step else None),
            "note": [_note(move, now)],
        }
        for move in onward
    ]
    return {"flow": flow_id, "onward": orjson.dumps(ways).decode(), "going_at": now}


async def went_on(db: Db, row: Sequence[Any], now: datetime) -> GoneOn:
    """What such a statement says last: who went on is announced, where somebody asks for it."""
    *_, freed, next_due_at, ids = row
    if ids and await announced.asked(db, announced_members.MOVED, announced_members.FINISHED):
        await announced_members.moved(db, [UUID(id_) for id_ in ids[1:-1].split(",")], now)
    return GoneOn(freed, next_due_at)

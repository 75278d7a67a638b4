"""What happened, and what the flows make of it: people enter by an event, and waits for one end.

The events of a batch are in the temporary table `happened`, in the order of `n`, each under the person
whose it is by now. `newcomers` says by which of them somebody entered in this transaction: what happened up
to then does not end a wait that the flow begins with. Both are emptied by the commit.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text

from domain.flows import FlowState
from domain.messages import Work
from models import working
from models.base import Db, bulk_prefix
from models.queries import amounts, announced, announced_members, announced_people, enrollments, pokes
from models.queries.enrollments_moved import noted
from models.queries.listening import Listening, look

_TABLES = [text(statement) for statement in working.create(("happened", "newcomers"))]


class Happened(NamedTuple):
    """What a batch of events led to."""

    entered: int = 0
    woken: int = 0


class _Heard(NamedTuple):
    """What the flows want of this batch. They are held: none is published or archived before the commit."""

    listening: Listening
    names: frozenset[str]  # Of events that happened.
    flows: Sequence[UUID]  # Those that listen to one of them.
    live: Sequence[UUID]  # The others are paused.


async def prepare(db: Db) -> None:
    """Make the tables on a connection that is not the pump's, unless they are there."""
    for statement in _TABLES:
        await db.execute(statement)


async def work_in(db: Db, workspace_id: UUID, now: datetime) -> Happened:
    """Everybody enters, and every wait ends, as the events in `happened` have it.

    Where no flow listens to any of them, this is one look.
    """
    heard = await _hear(db, workspace_id)
    entered = await _enter(db, workspace_id, heard, now)
    return Happened(entered, await _wake(db, workspace_id, heard, now))


async def enter(db: Db, workspace_id: UUID, now: datetime) -> int:
    """Let everybody enter whose event a live or paused flow begins with, and poke these flows.

    A journey keeps the event's properties. Where a flow may be entered always, each event is a journey of
    its own; an order is the same by its key, the property `order`. Returns how many entered.
    """
    return await _enter(db, workspace_id, await _hear(db, workspace_id), now)


async def wake(db: Db, workspace_id: UUID, now: datetime) -> int:
    """End the waits whose event came: these members are due at once, or when their flow is live again.

    After `enter`, so that what came after somebody's entry ends a wait that the flow begins with. Returns how
    many do not wait any more.
    """
    return await _wake(db, workspace_id, await _hear(db, workspace_id), now)


# In the order of their ids, as everybody who holds several flows. Who has to wait reads what was committed.
_HOLD = text(
    """
    select f.id, f.version_id, f.state from flows f
    where f.workspace_id = :workspace and f.id = any(cast(:flows as uuid[]))
        and f.state in ('live', 'paused')
    order by f.id for share
    """
)


async def _hear(db: Db, workspace_id: UUID) -> _Heard:
    while True:
        listening, names = await look(db, workspace_id)
        concerned = sorted(listening.concerned(names))
        if not concerned:
            return _Heard(listening, frozenset(), (), ())
        held = [*await db.execute(_HOLD, {"workspace": workspace_id, "flows": concerned})]
        # Otherwise one was published between the look and the hold.
        if all(listening.versions.get(flow_id) == version_id for flow_id, version_id, _ in held):
            live = [flow_id for flow_id, _, state in held if state == FlowState.LIVE]
            return _Heard(listening, frozenset(names), [flow_id for flow_id, *_ in held], live)


async def _enter(db: Db, workspace_id: UUID, heard: _Heard, now: datetime) -> int:
    entered, to_let_in = 0, []
    for piece in heard.listening.entering if heard.flows else ():
        names = {trigger.asked.event for trigger in piece.triggers} & heard.names
        if not names:
            continue
        values = {
            "workspace": workspace_id,
            "names": [*names],
            "flows": heard.flows,
            "live": heard.live,
            "now": now,
            "at": noted(now),
            "ids": bulk_prefix(),
        }
        for flow_id, newcomers, at_start in await piece.statement.execute(db, values):
            to_let_in.append((flow_id, at_start))
            entered += newcomers
    if entered:
        await announced_members.newcomers(db, now)
    for flow_id, at_start in to_let_in:
        if at_start:
            await enrollments.let_in(db, workspace_id, flow_id, at_start, now)
        else:
            pokes.poke(db, flow_id, Work.ADVANCE)
    return entered


# One probe of the agenda for each step, whoever waits there.
_WAITED = text(
    """
    select p.arm, p.version_id, p.step
    from unnest(cast(:arms as int[]), cast(:versions as uuid[]), cast(:steps as text[]))
        p(arm, version_id, step)
    where (
        select 1 from agenda a
        where a.workspace_id = :workspace and a.version_id = p.version_id and a.step = p.step limit 1
    ) is not null
    """
)


async def _wake(db: Db, workspace_id: UUID, heard: _Heard, now: datetime) -> int:
    woken = 0
    flows = set(heard.flows)
    for piece in heard.listening.waking if flows else ():
        places = [
            (arm, *place)
            for arm, wait in enumerate(piece.waits)
            if wait.asked.event in heard.names and wait.asked.flow_id in flows
            for place in wait.places
        ]
        places = [*await db.execute(_WAITED, _columns(workspace_id, places))] if places else []
        if not places:
            continue
        names = {piece.waits[arm].asked.event for arm, *_ in places}
        values = _columns(workspace_id, places) | {"names": [*names], "flows": heard.flows, "now": now}
        for flow_id, members in await piece.statement.execute(db, values):
            pokes.poke(db, flow_id, Work.ADVANCE)
            woken += members
    return woken


def _columns(workspace_id: UUID, places: Sequence[tuple[int, UUID, str]]) -> dict[str, object]:
    arms, versions, steps = zip(*places, strict=True)
    return {"workspace": workspace_id, "arms": [*arms], "versions": [*versions], "steps": [*steps]}


# What an order was as an event. Money is text: numbers in JSON are binary fractions to most who read them.
_OF_ORDERS = text(
    f"""
    insert into happened (n, event_id, profile_id, name, properties, occurred_at, hops)
    select row_number() over (order by o.ordered_at, o.id), o.id,
        case when p.merged_into is null then p.id else p.merged_into end, 'order placed',
        jsonb_build_object('order', o.key, 'total', {amounts.shown("o.total")}, 'currency', o.currency),
        o.ordered_at, 0
    from orders o
    join profiles p on p.workspace_id = :workspace and p.id = o.profile_id
    where o.workspace_id = :workspace and o.id = any(cast(:orders as uuid[]))
    """
)


async def of_orders(db: Db, workspace_id: UUID, order_ids: Sequence[UUID], now: datetime) -> Happened:
    """What a file's live orders lead to, in the order in which they were placed."""
    await prepare(db)
    await db.execute(_OF_ORDERS, {"workspace": workspace_id, "orders": list(order_ids)})
    wanted = await announced.asked(db, *announced_people.HAPPENED)
    await announced_people.happened(db, wanted, now, in_a_file=True)
    return await work_in(db, workspace_id, now)

"""What the flows of a workspace listen to, ready to be asked of a batch of events.

Conditions are a marketer's and become statements of their own, each for up to twenty triggers or waits. They
are kept until a flow is published, goes live or is archived.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any
from uuid import UUID

import orjson
from pydantic import TypeAdapter
from sqlalchemy import TextualSelect, text

from domain.flows import EventTrigger, FlowState, Step, WaitForEvent
from models.base import Db
from models.batch import Batch, Prepared, prepare
from models.queries.hearing import Asked, Awaited, Place, Trigger, entering, waking

_PIECE = 20  # So many triggers or waits are asked about by one statement.
_MOST_WORKSPACES = 500  # Whose statements are kept.


@dataclass(frozen=True)
class Statement:
    """A statement that was built for a while, for a session and for a batch."""

    built: TextualSelect
    prepared: Prepared

    @classmethod
    def of(cls, built: TextualSelect) -> "Statement":
        return cls(built, prepare(built))

    async def execute(self, db: Db, values: Mapping[str, Any]) -> list[Any]:
        if isinstance(db, Batch):
            return (await db.execute(self.prepared, values)).all()
        return [*(await db.execute(self.built, values)).all()]


@dataclass(frozen=True)
class Entering:
    triggers: Sequence[Trigger]
    statement: Statement


@dataclass(frozen=True)
class Waking:
    waits: Sequence[Awaited]
    statement: Statement


@dataclass(frozen=True)
class Listening:
    """What the flows that are live or paused listen to."""

    token: str | None  # Of the flows that it was read from.
    versions: Mapping[UUID, UUID]  # Each flow's, which people enter now.
    entering: Sequence[Entering] = ()
    waking: Sequence[Waking] = ()
    flows: Mapping[str, frozenset[UUID]] = field(default_factory=dict)  # By the event's name.

    def concerned(self, names: Iterable[str]) -> set[UUID]:
        """The flows that listen to one of these events."""
        return {flow for name in names for flow in self.flows.get(name, ())}


_LOOK = text(
    f"""
    select
        (select md5(string_agg(cast(f.version_id as text), ' ' order by f.id)) from flows f
            where f.workspace_id = :workspace and f.state in ('{FlowState.LIVE}', '{FlowState.PAUSED}')
        ) as token,
        (select array_agg(h.name) from (select distinct name from happened) h) as names
    """
)


async def look(db: Db, workspace_id: UUID) -> tuple[Listening, Sequence[str]]:
    """What the flows listen to now, and the names of the events that happened."""
    row = (await db.execute(_LOOK, {"workspace": workspace_id})).one()
    known = _known.pop(workspace_id, None)
    if known is None or known.token != row.token:
        known = await _read(db, workspace_id, row.token)
    _known[workspace_id] = known  # At the end, so that the one that was asked for longest ago comes first.
    if len(_known) > _MOST_WORKSPACES:
        del _known[next(iter(_known))]
    return known, row.names or ()


_known: dict[UUID, Listening] = {}

_READ = text(
    f"""
    select f.id, v.id, v.id = f.version_id, v.definition ->> 'reentry', v.definition ->> 'first',
        cast(v.definition -> 'steps' -> (v.definition ->> 'first') as text),
        cast(v.definition -> 'trigger' as text),
        cast((
            select jsonb_object_agg(s.key, s.value) from jsonb_each(v.definition -> 'steps') s
            where s.value ->> 'kind' = 'wait_for_event'
        ) as text)
    from flows f
    join flow_versions v on v.workspace_id = :workspace and v.flow_id = f.id
    where f.workspace_id = :workspace and f.state in ('{FlowState.LIVE}', '{FlowState.PAUSED}')
    order by f.id, v.number
    """
)
_STEP: TypeAdapter[Step] = TypeAdapter(Step)
_WAITS: TypeAdapter[dict[str, WaitForEvent]] = TypeAdapter(dict[str, WaitForEvent])


async def _read(db: Db, workspace_id: UUID, token: str | None) -> Listening:
    if token is None:
        return Listening(token, {})
    triggers: list[Trigger] = []
    waits: dict[tuple[UUID, str], tuple[Asked, list[Place]]] = {}
    versions: dict[UUID, UUID] = {}
    found = await db.execute(_READ, {"workspace": workspace_id})
    for flow_id, version_id, entered, reentry, first, step, trigger, steps in found:
        if entered:
            versions[flow_id] = version_id
        if entered and trigger and orjson.loads(trigger).get("kind") == "event":
            begins = EventTrigger.model_validate_json(trigger)
            asked = Asked(flow_id, begins.event, begins.where)
            always = reentry == "always"
            triggers.append(Trigger(asked, version_id, always, first, _STEP.validate_json(step)))
        for name, wait in _WAITS.validate_json(steps).items() if steps else ():
            # By what it says: in Python 1 is the same as true.
            same = flow_id, wait.model_dump_json(include={"event", "where"})
            _, places = waits.setdefault(same, (Asked(flow_id, wait.event, wait.where), []))
            places.append((version_id, name))
    awaited = [Awaited(asked, tuple(places)) for asked, places in waits.values()]
    wanted = [trigger.asked for trigger in triggers] + [wait.asked for wait in awaited]
    by_name = sorted((asked.event, asked.flow_id) for asked in wanted)
    return Listening(
        token,
        versions,
        [Entering(piece, Statement.of(entering(piece))) for piece in _pieces(triggers)],
        [Waking(piece, Statement.of(waking(piece))) for piece in _pieces(awaited)],
        {name: frozenset(flow for _, flow in pairs) for name, pairs in groupby(by_name, lambda it: it[0])},
    )


def _pieces(wanted: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """What listens to one event stays together, so that few pieces are concerned by it."""
    ordered = sorted(wanted, key=lambda it: it.asked.event)
    for begin in range(0, len(ordered), _PIECE):
        yield ordered[begin : begin + _PIECE]

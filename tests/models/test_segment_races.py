"""Segments that are deleted while something comes to name them."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from domain.errors import Conflict, Invalid
from domain.flows import Flow as Graph
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Json, Sessions
from models.flows import Flow
from models.queries import flows, rows, segments_written
from models.segments import Segment
from tests.support import eventually

PRO = {"kind": "attribute", "name": "plan", "op": "is", "value": "pro"}


def asks(segment_id: UUID) -> Json:
    """A flow with a branch that asks about the segment."""
    condition = {"any": [PRO, {"kind": "segment", "segment_id": str(segment_id)}]}
    steps = {"fork": {"kind": "branch", "condition": condition}}
    return {"trigger": {"kind": "api"}, "first": "fork", "steps": steps}


def begins(segment_id: UUID) -> Json:
    """A flow that the segment's members enter."""
    trigger = {"kind": "segment", "segment_id": str(segment_id)}
    return {"trigger": trigger, "first": "nap", "steps": {"nap": {"kind": "wait", "duration": 60}}}


async def a_segment(sessions: Sessions, rule: dict[str, Any] | None = None) -> UUID:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return (await segments_written.create(db, DEFAULT_WORKSPACE, "Pros", rule or PRO)).id


async def delete(sessions: Sessions, segment_id: UUID) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await segments_written.delete(db, segment_id)


async def somebody_waits(sessions: Sessions) -> None:
    async def somebody_does() -> bool:
        async with sessions.engine() as db:
            return bool(await db.scalar(text("select exists (select from pg_locks where not granted)")))

    await eventually(somebody_does, what="the wait for the other")


@pytest.mark.parametrize("named", [asks, begins])
async def test_who_deletes_a_segment_waits_for_the_flow_that_comes_to_name_it(
    sessions: Sessions, named: Any
) -> None:
    segment = await a_segment(sessions)

    async with sessions(DEFAULT_WORKSPACE) as db:
        graph = named(segment)
        await flows.check_names(db, Graph.model_validate(graph))
        deleted = asyncio.create_task(delete(sessions, segment))
        await somebody_waits(sessions)
        await flows.create(db, DEFAULT_WORKSPACE, {"name": "f", "slug": "f", "definition": graph})

    with pytest.raises(Conflict, match='The flow "f" uses this segment'):
        await deleted


@pytest.mark.parametrize(
    ("named", "pointer"),
    [(asks, "/steps/fork/condition/any/1/segment_id"), (begins, "/trigger/segment_id")],
)
async def test_a_flow_waits_for_who_deletes_the_segment_that_it_names(
    sessions: Sessions, named: Any, pointer: str
) -> None:
    segment = await a_segment(sessions)

    async def checked() -> None:
        async with sessions(DEFAULT_WORKSPACE) as db:
            await flows.check_names(db, Graph.model_validate(named(segment)))

    async with sessions(DEFAULT_WORKSPACE) as db:
        await segments_written.delete(db, segment)
        flow = asyncio.create_task(checked())
        await somebody_waits(sessions)

    with pytest.raises(Invalid) as refused:
        await flow
    assert refused.value.field == pointer


async def test_a_segment_that_comes_to_name_another_keeps_it(sessions: Sessions) -> None:
    inner = await a_segment(sessions)

    async with sessions(DEFAULT_WORKSPACE) as db:
        naming = {"not": {"kind": "segment", "segment_id": str(inner)}}
        await segments_written.create(db, DEFAULT_WORKSPACE, "Others", naming)
        deleted = asyncio.create_task(delete(sessions, inner))
        await somebody_waits(sessions)

    with pytest.raises(Conflict, match='The segment "Others" uses this segment'):
        await deleted


async def test_a_segment_does_not_come_to_name_one_that_is_deleted(sessions: Sessions) -> None:
    inner, outer = await a_segment(sessions), await a_segment(sessions)

    async def edited() -> None:
        async with sessions(DEFAULT_WORKSPACE) as db:
            naming = {"kind": "segment", "segment_id": str(inner)}
            await segments_written.change(db, outer, {"rule": naming})

    async with sessions(DEFAULT_WORKSPACE) as db:
        await segments_written.delete(db, inner)
        edit = asyncio.create_task(edited())
        await somebody_waits(sessions)

    with pytest.raises(Invalid, match="was deleted"):
        await edit


async def test_neither_other_flows_nor_a_look_at_everybody_wait_for_a_flow(sessions: Sessions) -> None:
    segment = await a_segment(sessions)
    graph = Graph.model_validate(asks(segment))

    async with sessions(DEFAULT_WORKSPACE) as one, asyncio.timeout(10):
        await flows.check_names(one, graph)
        async with sessions(DEFAULT_WORKSPACE) as other:
            await flows.check_names(other, graph)
            (await rows.get(other, Segment, segment)).members = 3
            await other.flush()


async def test_a_changed_flow_keeps_the_segments_that_it_came_to_name(sessions: Sessions) -> None:
    first, second = await a_segment(sessions), await a_segment(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        values = {"name": "f", "slug": "f", "definition": asks(first)}
        flow: Flow = await flows.create(db, DEFAULT_WORKSPACE, values)

    async with sessions(DEFAULT_WORKSPACE) as db:
        await flows.check_names(db, Graph.model_validate(asks(second)))
        await flows.change(db, flow.id, {"definition": asks(second)})

    await delete(sessions, first)
    with pytest.raises(Conflict):
        await delete(sessions, second)

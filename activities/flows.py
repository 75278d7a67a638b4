"""What a flow does to the world, apart from sending: publish, move members on, change state."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, not_
from temporalio import activity

import models.flows
from activities.slices import Bell, Hourglass, Slice, Timing, heartbeating, rest
from domain.clock import Clock
from domain.flows import START, Branch, Flow, FlowState, Send, next_step
from domain.messages import SourceKind, Work
from domain.segments import parse
from models.base import Json, Sessions
from models.flows import Enrollment
from models.queries import enrollments, flows, ledger, pokes, rows, segments, workspaces
from models.queries.enrollments import Item, Move, Place
from models.queries.ledger import Queue
from models.segments import Segment

GROUP = 2000  # Members a statement.

Graphs = dict[UUID, tuple[Flow, Json]]  # Each version's graph, and its steps' pinned template versions.


@dataclass(frozen=True)
class FlowRef:
    """A flow. The workspace comes first in every input: it opens the wall."""

    workspace_id: UUID
    flow_id: UUID


@dataclass(frozen=True)
class Published:
    number: int
    entered: int
    name: str
    state: FlowState
    slices: int  # How many slices may send for it at a time.


class FlowActivities:
    def __init__(self, sessions: Sessions, bell: Bell, clock: Clock, timing: Timing, slices: int) -> None:
        self.sessions = sessions
        self.bell = bell
        self.clock = clock
        self.timing = timing
        self.slices = slices

    @activity.defn(name="publish_flow")
    async def publish(self, flow: FlowRef) -> Published:
        """Make a version of the flow as it was last edited; those whom its trigger names now enter."""
        now = self.clock.now()
        async with heartbeating(), self.sessions(flow.workspace_id) as db:
            row, version, graph = await flows.publish(db, flow.flow_id)
            entered = 0
            if graph.trigger.kind == "segment":
                workspace = await workspaces.get(db, flow.workspace_id)
                segment = await rows.get(db, Segment, graph.trigger.segment_id)
                members = segments.members(
                    parse(segment.rule), now=now, time_zone=workspace.time_zone, currency=workspace.currency
                )
                entered = await enrollments.enter_all(db, row, members, now)
            return Published(version.number, entered, row.name, FlowState(row.state), self.slices)

    @activity.defn(name="advance")
    async def advance(self, flow: FlowRef) -> Slice:
        """Move everyone who is due, in groups, and linger for more until the slice is over."""
        done, glass = Slice(), Hourglass(self.timing.slice)
        graphs: Graphs = {}
        async with heartbeating(), self.bell.listen(flow.flow_id, Work.ADVANCE) as rung:
            while not glass.over:
                rung.clear()
                now = self.clock.now()
                agenda = await self._agenda(flow, graphs, now)
                moved = 0
                for item in agenda:
                    if item.due and not glass.over:
                        moved += await self._move_on(flow, graphs[item.version_id], item, done, glass)
                done.moved += moved
                if not moved and not await self._linger(agenda, now, rung, glass):
                    break
            await self._look_ahead(flow, graphs, done)
        return done

    @activity.defn(name="pause_flow")
    async def pause(self, flow: FlowRef) -> bool:
        """Hold everyone where they are. Entries are kept."""
        return await self._change(flow, (FlowState.LIVE,), FlowState.PAUSED)

    @activity.defn(name="resume_flow")
    async def resume(self, flow: FlowRef) -> bool:
        return await self._change(flow, (FlowState.PAUSED,), FlowState.LIVE)

    @activity.defn(name="archive_flow")
    async def archive(self, flow: FlowRef) -> bool:
        return await self._change(flow, (FlowState.LIVE, FlowState.PAUSED), FlowState.ARCHIVED)

    @activity.defn(name="end_journeys")
    async def end_journeys(self, flow: FlowRef) -> Slice:
        """End the journeys of an archived flow, and skip what it had not sent."""
        done = Slice()
        queue = Queue(flow.workspace_id, flow.flow_id, SourceKind.FLOW)
        async with heartbeating():
            ended = skipped = 1
            while ended or skipped:
                now = self.clock.now()
                async with self.sessions(flow.workspace_id) as db:
                    await ledger.recover(db, queue, now, now + timedelta(seconds=self.timing.reconcile_after))
                    skipped = await ledger.cancel(db, queue, now)
                    ended = await enrollments.end_all(db, flow.workspace_id, flow.flow_id, now)
                done.skipped += skipped
                done.moved += ended
            async with self.sessions(flow.workspace_id) as db:
                done.open = (await ledger.ahead(db, queue)).open
        return done

    async def _agenda(self, flow: FlowRef, graphs: Graphs, now: datetime) -> list[Item]:
        """The agenda, with `graphs` brought up to date for every version on it."""
        async with self.sessions(flow.workspace_id) as db:
            await pokes.take(db, flow.flow_id, Work.ADVANCE)
            agenda = await enrollments.agenda(db, flow.workspace_id, flow.flow_id, now)
            if any(item.version_id not in graphs for item in agenda):
                for version in await flows.published(db, flow.flow_id):
                    graphs[version.id] = (Flow.model_validate(version.definition), version.templates)
        return agenda

    async def _move_on(
        self, flow: FlowRef, version: tuple[Flow, Json], item: Item, done: Slice, glass: Hourglass
    ) -> int:
        """Move those who are due at one step, group by group. Returns how many moved."""
        graph, templates = version
        moved = 0
        for to, why, condition in await self._ways(flow, graph, item.step):
            step = graph.steps[to] if to else None
            template = UUID(templates[to]) if isinstance(step, Send) and to else None
            move = Move(flow.workspace_id, flow.flow_id, item.version_id, item.step, to, step, template, why)
            group = GROUP
            while group == GROUP and not glass.over:
                async with self.sessions(flow.workspace_id) as db:
                    group = await enrollments.advance(db, move, self.clock.now(), GROUP, condition)
                    if group and template:
                        await pokes.poke(db, flow.flow_id, Work.SEND)
                moved += group
                if template:
                    done.queued += group
        return moved

    async def _ways(
        self, flow: FlowRef, graph: Flow, name: str
    ) -> list[tuple[str | None, str, ColumnElement[bool] | None]]:
        """The ways on from a step: where to, why, and for whom (None: for everyone)."""
        if name == START:
            return [(graph.first, "entered", None)]
        step = graph.steps[name]
        if not isinstance(step, Branch):
            return [(next_step(step), "the message was closed" if isinstance(step, Send) else "waited", None)]
        async with self.sessions(flow.workspace_id) as db:
            workspace = await workspaces.get(db, flow.workspace_id)
        met = segments.where(
            step.condition,
            profile_id=Enrollment.profile_id,
            now=self.clock.now(),
            time_zone=workspace.time_zone,
            currency=workspace.currency,
            enrollment=Enrollment.id,
        )
        return [
            (next_step(step, True), "the condition was met", met),
            (next_step(step, False), "the condition was not met", not_(met)),
        ]

    async def _linger(
        self, agenda: Sequence[Item], now: datetime, rung: asyncio.Event, glass: Hourglass
    ) -> bool:
        """Wait a little for a ring, or for those who are due soon. Whether there may be someone."""
        soon = min((item.next_due_at - now for item in agenda), default=timedelta.max).total_seconds()
        if soon <= 0:
            return False  # They are due and did not move: the flow is paused.
        patience = min(self.timing.linger, glass.left)
        return await rest(rung, min(patience, soon)) or soon <= patience

    async def _look_ahead(self, flow: FlowRef, graphs: Graphs, done: Slice) -> None:
        now = self.clock.now()
        agenda = await self._agenda(flow, graphs, now)
        async with self.sessions(flow.workspace_id) as db:
            places = await enrollments.places(db, flow.workspace_id, flow.flow_id)
        done.next_due_at = min((item.next_due_at for item in agenda), default=None)
        done.agenda = ", ".join(f"{item.step}: {item.due:,} due" for item in agenda if item.due)
        done.places = "\n".join(f"| {place.step} | {place.members:,} | {_until(place)} |" for place in places)

    async def _change(self, flow: FlowRef, origins: tuple[FlowState, ...], to: FlowState) -> bool:
        """Whether the flow is in the state now: asking twice is answered alike."""
        async with self.sessions(flow.workspace_id) as db:
            if await flows.move(db, flow.flow_id, origins, to):
                return True
            return (await rows.get(db, models.flows.Flow, flow.flow_id)).state == to


def _until(place: Place) -> str:
    return f"{place.next_due_at:%a %Y-%m-%d %H:%M:%S} UTC" if place.next_due_at else "their message is closed"

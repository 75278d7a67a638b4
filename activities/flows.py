"""What a flow does to the world, apart from sending: publish, move members on, change state."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, not_
from temporalio import activity

import models.flows
from activities.bell import Bell
from activities.calls import Caller
from activities.recovering import take_over
from activities.slices import Hourglass, Pace, Slice, Timing, heartbeating, rest
from domain.clock import Clock
from domain.flow_calls import MOST
from domain.flows import (
    START,
    Branch,
    Call,
    FlowState,
    Send,
    Wait,
    WaitForEvent,
    WaitingFor,
    next_step,
    takes_time,
)
from domain.messages import SourceKind, Work
from models.base import Db, Sessions
from models.flows import Enrollment
from models.queries import (
    announced_states,
    enrollments,
    enrollments_moved,
    flows,
    pokes,
    queued,
    rows,
    segments,
    workspaces,
)
from models.queries.enrollments import Item, Place
from models.queries.ledger import Queue
from models.queries.ways import Graph, Graphs, Move, graphs

GROUP = 2000  # Members a statement.
FEW = 200  # So many move in the transaction that found them: longer ones would hold the flow's poke.


@dataclass(frozen=True)
class FlowRef:
    """A flow. The workspace comes first in every input: it opens the wall."""

    workspace_id: UUID
    flow_id: UUID


class Way(NamedTuple):
    """One way on from a step, and for whom: everyone, if nothing else is said."""

    move: Move
    condition: ColumnElement[bool] | None = None
    came: bool | None = None  # Of a wait for an event: those to whom it came, or the others.
    waiting_for: WaitingFor | None = None  # Of a call: those who wait for this.
    call: tuple[Graph, Call] | None = None  # They are called about, and stay where they are.

    @property
    def group(self) -> int:
        """Members a statement."""
        return MOST if self.call else GROUP


class Round:
    """What one look at the agenda led to: how many moved on from each step, and when the next may."""

    def __init__(self) -> None:
        self.moved: Counter[tuple[UUID, str]] = Counter()
        self.next_due_at: datetime | None = None

    def add(self, move: Move, moved: int, now: datetime) -> None:
        self.moved[move.version_id, move.origin] += moved
        if moved and (due_at := move.due_on_arrival(now)):
            self.soonest(due_at)

    def soonest(self, due_at: datetime) -> None:
        self.next_due_at = min(self.next_due_at or due_at, due_at)


class FlowActivities:
    def __init__(self, sessions: Sessions, bell: Bell, clock: Clock, timing: Timing, caller: Caller) -> None:
        self.sessions = sessions
        self.caller = caller
        self.bell = bell
        self.clock = clock
        self.timing = timing

    @activity.defn(name="advance")
    async def advance(self, flow: FlowRef) -> Slice:
        """Move everyone who is due, in groups, and linger for more until the slice is over."""
        done, glass, pace = Slice(), Hourglass(self.timing.slice), Pace()
        known: Graphs = {}
        async with heartbeating():
            async with self.bell.listen(flow.flow_id, Work.ADVANCE) as rung:
                async with self.sessions.batch(flow.workspace_id) as db:
                    await pokes.take(db, flow.flow_id, Work.ADVANCE)
                while not glass.over:
                    pace.begin()
                    rung.clear()
                    now = self.clock.now()
                    round_ = await self._round(flow, known, now, done, glass)
                    if not await self._linger(round_, now, rung, glass, pace):
                        break
            done.lively = glass.over
            await self._look_ahead(flow, done)
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
        after, more = enrollments.FIRST, True
        async with heartbeating():
            while more:
                now = self.clock.now()
                async with self.sessions.batch(flow.workspace_id) as db:
                    await take_over(db, queue, now, now + timedelta(seconds=self.timing.reconcile_after))
                    skipped = await queued.cancel(db, queue, now)
                    ended = await enrollments.end_all(db, flow.workspace_id, flow.flow_id, after, now)
                done.skipped += skipped
                done.moved += ended.journeys
                # Once more after the last page: a member who was just moving on may have left a message.
                after, more = ended.last or after, bool(ended.last or skipped)
            async with self.sessions(flow.workspace_id) as db:
                done.open = (await queued.ahead(db, queue)).open
        return done

    async def _round(
        self, flow: FlowRef, known: Graphs, now: datetime, done: Slice, glass: Hourglass
    ) -> Round:
        """Look who is due and move them on: few in the transaction that looked, many group by group."""
        round_ = Round()
        later: list[Way] = []
        async with self.sessions.batch(flow.workspace_id) as db:
            agenda = await enrollments.agenda(db, flow.workspace_id, flow.flow_id, now)
            await self._read_missing(flow, known, agenda)
            few = sum(item.due for item in agenda) <= FEW
            for item in agenda:
                for way in await self._ways(item, known[item.version_id], now) if item.due else ():
                    if few and way.condition is None:
                        round_.add(way.move, await self._move(db, way, done), now)
                    else:
                        later.append(way)
        for way in later:
            round_.add(way.move, await self._move_all(way, done, glass), now)
        for item in agenda:
            # Where time makes members due, the next ones may be so any moment: look again.
            step = known[item.version_id].flow.steps.get(item.step)
            waits = step is not None and takes_time(step)
            if not item.due or waits or round_.moved[item.version_id, item.step] < item.due:
                round_.soonest(item.next_due_at)
        return round_

    async def _read_missing(self, flow: FlowRef, known: Graphs, agenda: Sequence[Item]) -> None:
        """Bring `known` up to date for every version on the agenda."""
        if any(item.version_id not in known for item in agenda):
            async with self.sessions(flow.workspace_id) as db:
                known |= await graphs(db, flow.flow_id)

    async def _move_all(self, way: Way, done: Slice, glass: Hourglass) -> int:
        """Group by group, each in its own transaction. Returns how many moved."""
        moved, group = 0, way.group
        open_ = self.sessions.batch if way.condition is None else self.sessions.pinned
        while group == way.group and not glass.over:
            async with open_(way.move.workspace_id) as db:
                group = await self._move(db, way, done)
            moved += group
        return moved

    async def _move(self, db: Db, way: Way, done: Slice) -> int:
        """Move one group at most, or call about it. Returns how many moved."""
        now = self.clock.now()
        if way.call:
            graph, step = way.call
            moved = await self.caller.call(db, graph, way.move.origin, step, now)
        else:
            moved = await enrollments_moved.advance(
                db, way.move, now, GROUP, way.condition, way.came, way.waiting_for
            )
        done.moved += moved
        if moved and way.move.template_version_id:
            done.queued += moved
            pokes.poke(db, way.move.flow_id, Work.SEND)
        return moved

    async def _ways(self, item: Item, graph: Graph, now: datetime) -> list[Way]:
        """The ways on from a step that members are due at."""
        if item.step == START:
            return [Way(graph.entrance)]
        step = graph.flow.steps[item.step]
        match step:
            case Send():
                return [Way(graph.way(item.step, next_step(step), "the message was closed"))]
            case Wait():
                return [Way(graph.way(item.step, next_step(step), "waited"))]
            case WaitForEvent():
                return [
                    Way(graph.way(item.step, next_step(step, True), "the event came"), came=True),
                    Way(graph.way(item.step, next_step(step, False), "the event did not come"), came=False),
                ]
            case Branch():
                return await self._parted(graph, item.step, step, now)
            case Call():
                return self._called(graph, item.step, step)

    def _called(self, graph: Graph, name: str, step: Call) -> list[Way]:
        """Call about those who came, and let those go on who were called about: by what was answered."""
        done, failed = next_step(step, True), next_step(step, False)
        ways = [Way(graph.way(name, name, "called"), call=(graph, step))]
        if step.callback is None:
            return [*ways, Way(graph.way(name, done, "called"), waiting_for=WaitingFor.DONE)]
        return [
            *ways,
            Way(graph.way(name, done, "the callback said done"), waiting_for=WaitingFor.DONE),
            Way(graph.way(name, failed, "the callback said failed"), waiting_for=WaitingFor.FAILED),
            Way(graph.way(name, failed, "no callback came in time"), waiting_for=WaitingFor.CALLBACK),
        ]

    async def _parted(self, graph: Graph, name: str, step: Branch, now: datetime) -> list[Way]:
        """The two ways on from a branch, each with who takes it."""
        async with self.sessions(graph.workspace_id) as db:
            workspace = await workspaces.get(db, graph.workspace_id)
        met = segments.where(
            step.condition,
            profile_id=Enrollment.profile_id,
            now=now,
            time_zone=workspace.time_zone,
            currency=workspace.currency,
            enrollment=Enrollment.id,
        )
        return [
            Way(graph.way(name, next_step(step, True), "the condition was met"), met),
            Way(graph.way(name, next_step(step, False), "the condition was not met"), not_(met)),
        ]

    async def _linger(
        self, round_: Round, now: datetime, rung: asyncio.Event, glass: Hourglass, pace: Pace
    ) -> bool:
        """Wait a little for a ring, or for those who are due soon. Whether there may be someone."""
        soon = (round_.next_due_at - now).total_seconds() if round_.next_due_at else inf
        if soon <= 0:
            return round_.moved.total() > 0  # They are due and nobody moved: the flow is paused.
        breath = pace.breath(round_.moved.total())
        if breath:
            glass.trickle()
        await asyncio.sleep(min(breath, soon, glass.left))
        patience = min(self.timing.linger, glass.left)
        return await rest(rung, min(patience, soon - breath)) or soon <= breath + patience or glass.over

    async def _look_ahead(self, flow: FlowRef, done: Slice) -> None:
        now = self.clock.now()
        async with self.sessions(flow.workspace_id) as db:
            await pokes.take(db, flow.flow_id, Work.ADVANCE)
            agenda = await enrollments.agenda(db, flow.workspace_id, flow.flow_id, now)
        async with self.sessions(flow.workspace_id) as db:
            places = await enrollments.places(db, flow.workspace_id, flow.flow_id)
        done.next_due_at = min((item.next_due_at for item in agenda), default=None)
        done.agenda = ", ".join(_due(item) for item in agenda if item.due)
        done.places = "\n".join(f"| {place.step} | {place.members:,} | {_until(place)} |" for place in places)

    async def _change(self, flow: FlowRef, origins: tuple[FlowState, ...], to: FlowState) -> bool:
        """Whether the flow is in the state now: asking twice is answered alike."""
        async with self.sessions(flow.workspace_id) as db:
            if await flows.move(db, flow.flow_id, origins, to):
                await announced_states.flow_moved(db, flow.flow_id, to, self.clock.now())
                return True
            return (await rows.get(db, models.flows.Flow, flow.flow_id)).state == to


def _due(item: Item) -> str:
    more = " or more" if item.due == enrollments.COUNTED else ""
    return f"{item.step}: {item.due:,}{more} due"


def _until(place: Place) -> str:
    return f"{place.next_due_at:%a %Y-%m-%d %H:%M:%S} UTC" if place.next_due_at else "their message is closed"

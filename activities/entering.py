"""How journeys begin: a version of a flow is published, and its segment's members enter, page by page."""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity

from activities.flows import FlowRef
from activities.slices import heartbeating
from domain.clock import Clock
from domain.flows import Flow as FlowGraph
from domain.flows import FlowState, SegmentTrigger, Trigger
from domain.messages import Work
from domain.segments import parse
from models.base import Sessions
from models.flows import FlowVersion
from models.queries import (
    announced_states,
    enrollments,
    flows,
    people_lock,
    pokes,
    rows,
    segments,
    segments_written,
    workspaces,
)
from models.queries.profiles_merged import MERGING
from models.segments import Segment

FIRST_PAGE, LARGEST_PAGE = 1_000, 50_000  # Members who enter in one transaction.
NOBODY = enrollments.Page(0, 0, None)


@dataclass(frozen=True)
class VersionRef:
    """A published version of a flow."""

    workspace_id: UUID
    flow_id: UUID
    version_id: UUID


@dataclass(frozen=True)
class Published:
    number: int
    entered: int
    name: str
    state: FlowState
    slices: int  # How many slices may send for it at a time.
    version_id: UUID | None = None  # None in histories of earlier releases.


class EntryActivities:
    def __init__(self, sessions: Sessions, clock: Clock, slices: int) -> None:
        self.sessions = sessions
        self.clock = clock
        self.slices = slices

    @activity.defn(name="publish_version")
    async def publish_version(self, flow: FlowRef) -> Published:
        """Make a version of the flow as it was last edited. Nobody enters yet."""
        now = self.clock.now()
        async with heartbeating(), self.sessions(flow.workspace_id) as db:
            row, version, graph = await flows.publish(db, flow.flow_id)
            await self._named_by(db, flow.workspace_id, graph.trigger, now)
            await announced_states.flow_published(db, row, version.number, now)
            state = FlowState(row.state)
            return Published(version.number, 0, row.name, state, self.slices, version.id)

    @activity.defn(name="enter_members")
    async def enter_members(self, version: VersionRef) -> int:
        """Let those enter whom the version's trigger names now, page by page, while the first move on.

        Nobody enters twice, so whoever does it again begins anew. Returns how many entered.
        """
        began, entered, after, size = self.clock.now(), 0, None, FIRST_PAGE
        async with heartbeating():
            while True:
                page = await self._enter(version, began, size, after)
                entered += page.entered
                if page.looked_at < size:
                    break
                after, size = page.last, min(3 * size, LARGEST_PAGE)
            late = await self._enter(version, began)
        return entered + late.entered

    @activity.defn(name="publish_flow")
    async def publish(self, flow: FlowRef) -> Published:
        """Both, for workflows that began with an earlier release."""
        published = await self.publish_version(flow)
        assert published.version_id
        version = VersionRef(flow.workspace_id, flow.flow_id, published.version_id)
        return replace(published, entered=await self.enter_members(version))

    async def _enter(
        self, version: VersionRef, began: datetime, size: int | None = None, after: UUID | None = None
    ) -> enrollments.Page:
        """Let the next page enter; without a `size`, those whom the pages may have missed."""
        async with self.sessions(version.workspace_id) as db:
            # Who is merged meanwhile would enter as both that they were: neither would see the other.
            await people_lock.take(db, version.workspace_id)
            row = await db.get_one(FlowVersion, (version.workspace_id, version.version_id))
            trigger = FlowGraph.model_validate(row.definition).trigger
            members = await self._named_by(db, version.workspace_id, trigger, began)
            if members is None:
                return NOBODY
            if size is None:
                members = members.where(enrollments.merged_since(began - MERGING))
            page = await enrollments.enter_page(db, row, members, self.clock.now(), size, after)
            # Not before: whoever pauses or archives the flow writes its row, and must not wait for a page.
            if page.entered and not await flows.is_open(db, version.flow_id):
                await db.rollback()
                return NOBODY
            if page.entered:
                pokes.poke(db, version.flow_id, Work.ADVANCE)
            return page

    async def _named_by(
        self, db: AsyncSession, here: UUID, trigger: Trigger, now: datetime
    ) -> Select[UUID] | None:
        """The ids of those with whom a flow begins that begins with a segment."""
        if not isinstance(trigger, SegmentTrigger):
            return None
        workspace = await workspaces.get(db, here)
        segment = await rows.get(db, Segment, trigger.segment_id)
        rule = await segments_written.resolved(db, parse(segment.rule))
        return segments.members(rule, now=now, time_zone=workspace.time_zone, currency=workspace.currency)

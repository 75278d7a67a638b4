"""Failures are told of: as digests, the first within a second or two, and never twice.

A digest is an announcement. It is written in the transaction that says that it was told, so a worker that
dies tells once, when somebody takes over.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.exc import DBAPIError
from temporalio import activity
from temporalio.client import Client, WorkflowExecution
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError

from activities.bell import Bell
from activities.slices import Hourglass, Timing, heartbeating, rest
from domain.announced import JobFailed, Sample, Source
from domain.announcements import Announcement, AnnouncementType
from domain.clock import Clock
from domain.failures import Category, Subject
from domain.messages import SourceKind
from domain.redacting import without_addresses
from domain.remedies import of_workflow
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import alerts, announcing, failures
from models.queries.alerts import Digest

LOOK_EVERY = 2.0  # Seconds, in case nobody rang.
BREATH = 0.3  # Seconds after a ring: failures seldom come alone, and a digest counts those that are there.
SLICES = 4  # So many slices' time at once: there is only one errand, and it never ends.
LOOK_BACK = timedelta(minutes=10)  # For workflows that ended: one that was noted before is not noted again.
MOST_WORKFLOWS = 200
PATIENCE = timedelta(seconds=5)

log = structlog.get_logger()


@dataclass
class Told:
    """What was told. Counts alone: history keeps everything we pass."""

    digests: int = 0
    failures: int = 0

    def add(self, other: "Told") -> None:
        self.digests += other.digests
        self.failures += other.failures


class FailureActivities:
    def __init__(
        self,
        sessions: Sessions,
        bell: Bell,
        clock: Clock,
        timing: Timing,
        public_url: str,
        client: Client,
        workspace: SearchAttributeKey[str],
    ) -> None:
        """`workspace` is the search attribute by which workflows say whose they are."""
        self.sessions, self.bell, self.clock, self.timing = sessions, bell, clock, timing
        self.public_url, self.client, self.workspace = public_url, client, workspace

    @activity.defn(name="tell_failures")
    async def tell(self) -> Told:
        """Tell of failures as they come until the slice is over."""
        done, glass = Told(), Hourglass(SLICES * self.timing.slice)
        async with heartbeating(), self.bell.failures() as rung:
            while not glass.over:
                rung.clear()
                wait = await self.round(done)
                if await rest(rung, max(min(wait, LOOK_EVERY, glass.left), 0)):
                    await asyncio.sleep(min(BREATH, max(glass.left, 0)))
        return done

    async def round(self, done: Told) -> float:
        """One look at every workspace that has something to tell. Returns in how many seconds the next digest
        is due, which may be never."""
        async with self.sessions.glance() as look:
            waiting = await alerts.due(look)
        now, soonest = self.clock.now(), float("inf")
        failed: DBAPIError | None = None
        for workspace_id, at in waiting:
            if at > now:
                soonest = min(soonest, (at - now).total_seconds())
                continue
            try:
                told, counted = await self._tell(workspace_id)
            except DBAPIError as error:  # Others go on.
                failed = failed or error
            else:
                done.add(told)
                soonest = 0 if counted else soonest  # There may be more of them.
        if failed is not None:
            raise failed
        return soonest

    async def _tell(self, workspace_id: UUID) -> tuple[Told, bool]:
        """What was told, and whether new failures were found."""
        now = self.clock.now()
        async with self.sessions(workspace_id) as db:
            if not await alerts.lock(db, workspace_id):
                return Told(), False
            counted = await alerts.count(db, workspace_id, now)
            found = await alerts.digests(db, workspace_id, now)
            for digest in found:
                said = Announcement(AnnouncementType.JOB_FAILED, self._said(digest))
                but = digest.source_id if digest.subject == Subject.WEBHOOK else None
                await announcing.announce(db, workspace_id, [said], now, but=but)
            await alerts.told(db, workspace_id, [digest.id for digest in found], now)
        for digest in found:
            log.warning(
                "Failures were told of",
                workspace=str(workspace_id),
                subject=digest.subject,
                category=digest.category,
                failures=digest.untold,
                alert=str(digest.id),
            )
        return Told(len(found), sum(digest.untold for digest in found)), counted

    def _said(self, digest: Digest) -> dict[str, Any]:
        source = None
        if digest.source_kind in tuple(SourceKind) and digest.source_id:
            source = Source(kind=SourceKind(digest.source_kind), id=digest.source_id, name=digest.source_name)
        said = JobFailed(
            alert_id=digest.id,
            subject=Subject(digest.subject),
            category=Category(digest.category),
            reason=digest.reason,
            remedy=digest.remedy,
            retryable=digest.retryable,
            count=digest.untold,
            total=digest.failures,
            first_at=digest.first_at,
            last_at=digest.last_at,
            source=source,
            provider_id=digest.provider_id,
            provider_name=digest.provider_name,
            samples=[_sample(each) for each in digest.samples],
            url=f"{self.public_url}/api/v1/failure-logs?alert_id={digest.id}",
        )
        return said.model_dump(mode="json")

    @activity.defn(name="look_at_workflows")
    async def look(self) -> int:
        """Note workflows that ended without having done what they are for. Returns how many are new.

        One request to Temporal's list, which allows few a second. What nobody's workspace has, such as the
        pumps, is noted where a new installation begins.
        """
        since = datetime.now(UTC) - LOOK_BACK  # Temporal's own time.
        query = (
            'ExecutionStatus in ("Failed", "Terminated", "TimedOut") '
            f'and CloseTime > "{since.isoformat(timespec="seconds")}"'
        )
        found: list[WorkflowExecution] = []
        try:
            listed = self.client.list_workflows(
                query, limit=MOST_WORKFLOWS, page_size=MOST_WORKFLOWS, rpc_timeout=PATIENCE
            )
            found = [each async for each in listed]
        except RPCError as error:
            log.warning("Temporal does not say which workflows ended", error=str(error))
        new: Counter[UUID] = Counter()
        for each in found:
            said = each.typed_search_attributes.get(self.workspace)
            here = UUID(said) if said else DEFAULT_WORKSPACE
            how = each.status.name.lower().replace("_", " ") if each.status else "ended"
            failure = of_workflow(each.id, each.run_id, _HOW.get(how, how), {"type": each.workflow_type})
            try:
                async with self.sessions(here) as db:
                    new[here] += await failures.note(db, here, [failure], self.clock.now())
            except DBAPIError as error:  # Its workspace is gone.
                log.warning("A workflow's end could not be noted", workflow=each.id, error=str(error.orig))
        return new.total()


_HOW = {"failed": "failed", "terminated": "was terminated", "timed out": "timed out"}


def _sample(said: dict[str, Any]) -> Sample:
    """What programs note may go by somebody's address, which no erasure looks for in what was told."""
    return Sample.model_validate(said | {"subject_id": without_addresses(said["subject_id"])})

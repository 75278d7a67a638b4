"""Looks at everybody, for the segments that are due: new and edited ones, and those that time alone changes.

The pump keeps everything else up to date, and moves whom these looks find on the wrong side of a border.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity

from activities.bell import Bell
from activities.slices import Hourglass, Timing, heartbeating, rest
from domain.clock import Clock
from domain.errors import Invalid
from domain.segments import Rule, reads
from models.base import Sessions
from models.queries import memberships, recalculations, workspaces
from models.queries.recalculations import Look, Ripe

SECONDS = 60.0  # What one look may take.
PAGE = 20_000  # So many at most are handed to the pump by one look, so that it has time for others.
SHARE = 100  # A segment that is looked at again and again takes one part of so many of a core's time.
SOONEST = timedelta(minutes=1)  # And not more often than this.
LATER = timedelta(minutes=10)  # After a look that failed.
BREATH = timedelta(seconds=5)  # For the pump, at least, when there is more than it was handed.
SLICES = 4  # A slice of this is so many of others: there is only one errand, and it never ends.
LOOK_EVERY = 5.0  # Seconds, in case nobody rang.
LEAST = 0.5

# What nobody tells the pump of, or not everybody who changes it.
UNTOLD = frozenset({"clock", "messages", "suppressions"})

log = structlog.get_logger()


@dataclass
class Looked:
    """What a slice did. Counts alone: history keeps everything we pass."""

    first: int = 0  # Segments whose members nobody knew.
    again: int = 0
    astray: int = 0  # People who were handed to the pump.
    failed: int = 0

    @property
    def any(self) -> bool:
        return bool(self.first or self.again or self.failed)

    def add(self, other: "Looked") -> None:
        self.first += other.first
        self.again += other.again
        self.astray += other.astray
        self.failed += other.failed


class Edited(Exception):
    """The rule means something else by now: what was found is of no use, and everybody is looked at anew."""


class Failed(Exception):
    """The members can't be found, and it is the rule's fault, or ours: not that of the database's moment."""

    def __init__(self, segment: Ripe, look: Look | None, problem: str) -> None:
        super().__init__(problem)
        self.segment, self.look, self.problem = segment, look, problem


class SegmentActivities:
    def __init__(
        self,
        sessions: Sessions,
        bell: Bell,
        clock: Clock,
        timing: Timing,
        seconds: float = SECONDS,
        page: int = PAGE,
    ) -> None:
        """`seconds` are what one look may take, and a `page` what it may hand to the pump."""
        self.sessions = sessions
        self.bell = bell
        self.clock = clock
        self.timing = timing
        self.seconds = seconds
        self.page = page

    @activity.defn(name="keep_segments")
    async def keep(self) -> Looked:
        """Look at everybody for one segment after the other, as they become due, until the slice is over."""
        done, glass = Looked(), Hourglass(SLICES * self.timing.slice)
        async with heartbeating(), self.bell.segments() as rung:
            while not glass.over:
                rung.clear()
                if not await self.round(done, glass):
                    await rest(rung, min(await self._patience(), glass.left))
        return done

    async def round(self, done: Looked, glass: Hourglass | None = None) -> int:
        """One look for each segment that is due now. Returns how many there were."""
        async with self.sessions.engine() as db:
            due = await recalculations.due(db, self.clock.now())
        looks = 0
        for workspace_id, segment_id in due:
            if glass and glass.over:
                break
            looked = await self.look(workspace_id, segment_id)
            looks += looked.any
            done.add(looked)
        return looks

    async def _patience(self) -> float:
        """How long to wait when nobody rings; another worker may be at what is due."""
        async with self.sessions.engine() as db:
            at = await recalculations.next_due(db)
        left = (at - self.clock.now()).total_seconds() if at else LOOK_EVERY
        return min(LOOK_EVERY, max(left, LEAST))

    async def look(self, workspace_id: UUID, segment_id: UUID) -> Looked:
        """Look at everybody for a segment, if it is due."""
        try:
            return await self._look(workspace_id, segment_id)
        except Edited:
            return Looked()
        except Failed as failed:
            return Looked(failed=int(await self._leave(workspace_id, failed)))

    async def _leave(self, workspace_id: UUID, failed: Failed) -> bool:
        """Look again later, and say why; False when its rule means something else by now."""
        why, problem = failed.__cause__, failed.problem
        async with self.sessions(workspace_id) as db:
            if failed.look and not await recalculations.still_means(db, failed.look):
                return False
            if not await recalculations.fail(db, failed.segment, problem, self.clock.now() + LATER):
                return False
        ours = None if isinstance(why, Invalid | DBAPIError) else why
        named = str(failed.segment.segment_id)
        log.warning("A segment's members can't be found", segment=named, problem=problem, exc_info=ours)
        return True

    def _in_words(self, error: Exception) -> str:
        if isinstance(error, Invalid):
            return error.message
        if isinstance(error, DBAPIError) and memberships.took_too_long(error):
            return (
                f"Finding its members took more than {self.seconds:g} seconds and was given up; those found "
                "before stay. Ask about a shorter time or with fewer conditions."
            )
        return memberships.PROBLEM

    async def _look(self, workspace_id: UUID, segment_id: UUID) -> Looked:
        await self._wait(workspace_id)
        async with self.sessions(workspace_id) as db:
            workspace = await workspaces.get(db, workspace_id)
            db.expunge(workspace)  # It is needed as it was also after what was done is taken back.
            segment = await recalculations.ripe(db, segment_id, self.clock.now())
            if segment is None:
                return Looked()
            look: Look | None = None
            try:
                look = await recalculations.begin(db, workspace, segment, self.clock.now(), self.seconds)
                return await self._find(db, look)
            except Edited:
                raise
            except Exception as error:
                if isinstance(error, DBAPIError) and not memberships.rules_fault(error):
                    raise
                raise Failed(segment, look, self._in_words(error)) from error

    async def _find(self, db: AsyncSession, look: Look) -> Looked:
        began = asyncio.get_running_loop().time()
        silently = look.first and not look.announce
        astray = 0
        if silently:
            await recalculations.write_down(db, look)
        elif not look.first:
            astray = await recalculations.doubt(db, look, self.page)
        took = timedelta(seconds=asyncio.get_running_loop().time() - began)
        if not await recalculations.still_means(db, look):
            raise Edited  # And take back what was written.
        # What changed during a first look was not followed by anybody: a second one finds it.
        more = look.first or astray == self.page
        next_at = self._soon(look, took) if more else self._later(look.rule, took)
        spared_until = self.clock.now() + max(SOONEST, SHARE * took)
        announce = look.announce or not more
        await recalculations.finish(db, look, took, next_at, announce=announce, spared_until=spared_until)
        return Looked(first=int(look.first), again=int(not look.first), astray=astray)

    async def _wait(self, workspace_id: UUID) -> None:
        """Until nobody is at work any more who began when nobody followed the segment yet."""
        await self.sessions.at_once(workspace_id, [recalculations.waiting_for_the_pump()])
        await self.sessions.at_once(workspace_id, [recalculations.waiting_for_others()])

    def _soon(self, look: Look, took: timedelta) -> datetime:
        return self.clock.now() + (timedelta() if look.first else max(BREATH, took))

    def _later(self, rule: Rule, took: timedelta) -> datetime | None:
        """When everybody is looked at again; None when whoever changes the people tells the pump."""
        words = reads(rule)
        if UNTOLD.isdisjoint(words) and not any(word.startswith("flow:") for word in words):
            return None
        return self.clock.now() + max(SOONEST, SHARE * took)

"""The pump: it turns what waits in the inbox into people, events, orders and everything that follows.

A batch is one transaction, of one workspace: what is taken out of the inbox is worked in, or is still there.
One pump at a time works for a workspace, so that each person's events keep the order of the inbox. What the
database refuses is found by halves and put aside, with the reason, so that it holds up nothing else.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from psycopg import Error
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity
from uuid_utils.compat import uuid7

from activities.bell import Bell
from activities.slices import Hourglass, Timing, heartbeating, rest
from domain.announcements import AnnouncementType
from domain.clock import Clock, time_zones
from domain.events import EventKind
from domain.identities import Resolved, resolve
from models.base import Sessions
from models.queries import (
    announced,
    announced_people,
    attributes,
    happenings,
    kept_events,
    memberships,
    news,
    orders,
    profiles_merged,
    taken,
    traits,
    workspaces,
)
from models.queries.memberships import News
from models.queries.news import Elsewhere
from models.workspaces import Workspace

BATCH = 5_000  # Arrivals of a transaction, at most.
SECONDS = 5.0  # What one segment's rule may take of each.
IN_A_ROW = 20  # Batches for one workspace before the next one has its turn.
FEW = 500  # A pump that finds fewer takes a breath, so that the next batch has more.
BREATH = 0.1  # Seconds, at most.
SLICES = 4  # A pump works so many slices' time at once: there is only one errand, and it never ends.
LOOK_EVERY = 5.0  # Seconds, in case nobody rang.
# Of SQLSTATE: the data is at fault, and not the database or the network.
POISON = ("21", "22", "23", "54")

ORDERS = frozenset({EventKind.ORDER.value, EventKind.ORDER_CHANGE.value})
EVENTS = frozenset(each.value for each in kept_events.EVENTS)
ZONES = frozenset({"time_zone", "timezone", "timeZone"})  # Traits by which somebody's time zone is known.
TOLD = (*announced_people.WRITTEN, *announced_people.HAPPENED)  # To webhooks.
NOTHING = Elsewhere([], anything=False, doubts=False)

log = structlog.get_logger()


@dataclass
class Pumped:
    """What a pump did, and what waits. Counts alone: history keeps everything we pass."""

    arrivals: int = 0
    events: int = 0
    repeated: int = 0  # Came in before, by their message ids.
    merged: int = 0  # People who turned out to be somebody else.
    crossed: int = 0  # Borders of segments.
    entered: int = 0  # Journeys that began.
    woken: int = 0  # Waits that ended.
    quarantined: int = 0
    lag: float = 0  # Seconds that the last batch's first arrival had waited.

    def add(self, other: "Pumped") -> None:
        self.arrivals += other.arrivals
        self.events += other.events
        self.repeated += other.repeated
        self.merged += other.merged
        self.crossed += other.crossed
        self.entered += other.entered
        self.woken += other.woken
        self.quarantined += other.quarantined
        self.lag = other.lag


class Spoilt(Exception):
    """The database refuses something of a batch: one arrival, if there was no other."""

    def __init__(self, arrival_id: UUID | None, reason: str) -> None:
        super().__init__(reason)
        self.arrival_id, self.reason = arrival_id, reason


class IngestActivities:
    def __init__(
        self,
        sessions: Sessions,
        bell: Bell,
        clock: Clock,
        timing: Timing,
        batch: int = BATCH,
        seconds: float = SECONDS,
    ) -> None:
        """`seconds` are what the rule of one segment may take for the people of a batch."""
        self.sessions = sessions
        self.bell = bell
        self.clock = clock
        self.timing = timing
        self.most = batch
        self.seconds = seconds

    @activity.defn(name="pump")
    async def pump(self) -> Pumped:
        """Work in what comes until the slice is over. A second pump takes other workspaces."""
        done, glass = Pumped(), Hourglass(SLICES * self.timing.slice)
        async with heartbeating(), self.bell.arrivals() as rung:
            while not glass.over:
                rung.clear()
                found = await self.round(done, glass)
                if found < FEW and not glass.over:
                    await asyncio.sleep(min(BREATH, glass.left) if found else 0)
                if not found:
                    await rest(rung, min(LOOK_EVERY, glass.left))
        return done

    async def round(self, done: Pumped, glass: Hourglass) -> int:
        """One look at every workspace for which something waits. Returns how many arrivals were taken."""
        async with self.sessions.engine() as db:
            waiting = await taken.workspaces(db)
        found = 0
        failed: DBAPIError | None = None
        for workspace_id in waiting:
            try:
                found += await self._work_for(workspace_id, done, glass)
            except DBAPIError as error:  # Others go on; who is retried does not begin with the same one.
                failed = failed or error
        if failed is not None:
            raise failed
        return found

    async def _work_for(self, workspace_id: UUID, done: Pumped, glass: Hourglass) -> int:
        found, most = 0, self.most
        for _ in range(IN_A_ROW):
            try:
                batch = await self.batch(workspace_id, most)
            except Spoilt as spoilt:
                found += 1
                if spoilt.arrival_id is not None:
                    await self._put_aside(workspace_id, spoilt.arrival_id, spoilt.reason, done)
                most = max(1, most // 8)
                continue
            done.add(batch)
            found += batch.arrivals
            if batch.arrivals < most or glass.over:
                break
            most = min(self.most, most * 8)
        return found

    async def batch(self, workspace_id: UUID, most: int) -> Pumped:
        """Take up to `most` arrivals of a workspace and let them take effect, in one transaction.

        Raises `Spoilt` when the database refuses one of them.
        """
        only: UUID | None = None
        try:
            async with self.sessions.pump(workspace_id) as db:
                if not await taken.lock(db, workspace_id):
                    return Pumped()
                if most == 1:
                    only = await taken.first(db, workspace_id)
                return await self._batch(db, workspace_id, most)
        except DBAPIError as error:
            if _is_poison(error):
                raise Spoilt(only, _in_words(error)) from error
            raise

    async def _batch(self, db: AsyncSession, workspace_id: UUID, most: int) -> Pumped:
        done, now = Pumped(), self.clock.now()
        workspace = await workspaces.get(db, workspace_id)
        done.arrivals = await taken.take(db, workspace_id, most)
        if not done.arrivals:
            return done
        await kept_events.hold(db)
        done.repeated = await taken.drop_repeated(db, workspace_id)
        came = await taken.kinds(db)
        done.lag = max(0.0, (now - came.oldest).total_seconds()) if came.oldest else 0.0
        resolved = await self._tell_who(db, workspace_id, now)
        done.merged = len(resolved.merged)
        # One after the other, so that what history did to somebody is never taken for what they do now.
        if came.historical and came.live:
            await taken.park(db)
        if came.historical:
            await self._take_effect(db, workspace, came.historical, resolved, done, now)
        if came.historical and came.live:
            await taken.unpark(db)
        if came.live:
            await self._take_effect(db, workspace, came.live, resolved, done, now, live=True)
        return done

    async def _take_effect(
        self,
        db: AsyncSession,
        workspace: Workspace,
        kinds: frozenset[str],
        resolved: Resolved,
        done: Pumped,
        now: datetime,
        *,
        live: bool = False,
    ) -> None:
        """What is in `taken`, all of it `live` or none, becomes attributes, events, orders and so on."""
        here = workspace.id
        reads: set[str] = set()
        wanted = await announced.asked(db, *TOLD) if live else frozenset()
        if EventKind.IDENTIFY in kinds:
            if AnnouncementType.PROFILE_UPDATED in wanted:
                await announced_people.remember(db)
            reads |= await self._told(db, here, now, live=live)
        done.events += await kept_events.keep(db, here)
        elsewhere = NOTHING
        if EventKind.CHANGE in kinds:
            elsewhere = await news.changed_elsewhere(db, here)
        people = {*resolved.new, *resolved.merged.values()}
        known = {each.person for each in resolved.given} - people
        if people or known:
            await news.changed_now(db, people | known)
        reads |= {*elsewhere.reads, *(("identities",) if known else ())}
        anything = bool(people) or elsewhere.anything
        if anything or any(word.startswith("attribute:") for word in reads):
            await attributes.keep_values(db, here, await news.all_changed(db))
        if ORDERS & kinds:
            await self._ordered(db, here, now)
            reads.add("orders")
        if EVENTS & kinds:
            reads |= await self._did(db, here)
        what = News(reads, anything, elsewhere.doubts)
        if what.any:
            done.crossed += await memberships.follow(db, workspace, what, now, self.seconds)
        if wanted:
            await announced_people.told_by_batch(db, wanted, {*resolved.new}, known, now)
        happened = await happenings.work_in(db, here, now)
        done.entered, done.woken = done.entered + happened.entered, done.woken + happened.woken

    async def _told(self, db: AsyncSession, workspace_id: UUID, now: datetime, *, live: bool) -> set[str]:
        """What identifies say. Returns what of people they changed, in words of `domain.segments.reads`."""
        told = await traits.apply(db, workspace_id, time_zones(), now, live=live)
        await attributes.note(db, workspace_id, "select name, value from told", now)
        reads = {f"attribute:{name}" for name in told}
        if not ZONES.isdisjoint(told):
            reads.add("time zone")
        if await traits.allow(db, workspace_id, now, live=live):
            reads.add("consents")
        return reads

    async def _did(self, db: AsyncSession, workspace_id: UUID) -> set[str]:
        """Whoever did what a segment asks about has changed by it."""
        asked = await memberships.reads(db, workspace_id)
        names = [word.removeprefix("event:") for word in asked if word.startswith("event:")]
        did = await news.names_in(db, names) if names else []
        if did:
            await news.changed_by(db, names=did)
        return {f"event:{name}" for name in did}

    async def _ordered(self, db: AsyncSession, workspace_id: UUID, now: datetime) -> None:
        new = await orders.place(db, workspace_id, now)
        if unknown := await orders.change(db, workspace_id, now):
            await taken.put_aside(db, unknown, "Nobody knows this order: send the order first.", now)
        await news.changed_by(db, kinds=ORDERS)
        await kept_events.happen(db, new)

    async def _tell_who(self, db: AsyncSession, workspace_id: UUID, now: datetime) -> Resolved:
        """Find out whose each of the batch is."""
        unsettled = await taken.unsettled(db, workspace_id)
        resolved = resolve(unsettled.said, unsettled.holders, uuid7)
        if resolved.merged:
            await profiles_merged.merge_all(db, resolved.merged, now)
        if unsettled.said:
            await taken.settle(db, workspace_id, resolved, now)
        return resolved

    async def _put_aside(self, workspace_id: UUID, arrival_id: UUID, reason: str, done: Pumped) -> None:
        async with self.sessions.pump(workspace_id) as db:
            if not await taken.lock(db, workspace_id):
                return
            if await taken.drop_if_kept(db, workspace_id, arrival_id):
                done.repeated += 1
            elif await taken.quarantine(db, workspace_id, arrival_id, reason, self.clock.now()):
                done.quarantined += 1
                log.warning("An arrival was put into quarantine", arrival=str(arrival_id), reason=reason)


def _is_poison(error: DBAPIError) -> bool:
    state = error.orig.sqlstate if isinstance(error.orig, Error) else None
    return state is not None and state.startswith(POISON)


def _in_words(error: DBAPIError) -> str:
    said = error.orig.diag.message_primary if isinstance(error.orig, Error) else None
    return f"PostgreSQL refused it: {said or 'it did not say why'}."

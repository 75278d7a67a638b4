"""The pump: it turns what waits in the inbox into people, events, orders and everything that follows.

A batch is one transaction, of one workspace: what is taken out of the inbox is worked in, or is still there.
One pump at a time works for a workspace, so that each person's events keep the order of the inbox. What the
database refuses is found by halves and put aside, with the reason, so that it holds up nothing else.
"""

import asyncio
from collections.abc import Sequence
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
from domain.clock import Clock, time_zones
from domain.events import EventKind
from domain.identities import Resolved, resolve
from models.base import Sessions
from models.queries import (
    attributes,
    happenings,
    kept_events,
    memberships,
    orders,
    profiles_merged,
    taken,
    traits,
    workspaces,
)
from models.queries.memberships import News

BATCH = 5_000  # Arrivals of a transaction, at most.
IN_A_ROW = 20  # Batches for one workspace before the next one has its turn.
FEW = 500  # A pump that finds fewer takes a breath, so that the next batch has more.
BREATH = 0.1  # Seconds, at most.
SLICES = 4  # A pump works so many slices' time at once: there is only one errand, and it never ends.
LOOK_EVERY = 5.0  # Seconds, in case nobody rang.
# Of SQLSTATE: the data is at fault, and not the database or the network.
POISON = ("21", "22", "23", "54")

ORDERS = frozenset({EventKind.ORDER.value, EventKind.ORDER_CHANGE.value})

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


class IngestActivities:
    def __init__(
        self, sessions: Sessions, bell: Bell, clock: Clock, timing: Timing, batch: int = BATCH
    ) -> None:
        self.sessions = sessions
        self.bell = bell
        self.clock = clock
        self.timing = timing
        self.most = batch

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
            unseen = await memberships.waiting(db)
        found = 0
        for workspace_id in dict.fromkeys((*waiting, *unseen)):
            found += await self._work_for(workspace_id, done, glass)
        return found

    async def _work_for(self, workspace_id: UUID, done: Pumped, glass: Hourglass) -> int:
        found, most = 0, self.most
        for _ in range(IN_A_ROW):
            try:
                batch = await self.batch(workspace_id, most)
            except DBAPIError as error:
                if not _is_poison(error):
                    raise
                if most == 1:
                    await self._put_aside(workspace_id, error, done)
                most = max(1, most // 8)
                continue
            done.add(batch)
            found += batch.arrivals
            if batch.arrivals < most or glass.over:
                break
            most = min(self.most, most * 8)
        return found

    async def batch(self, workspace_id: UUID, most: int) -> Pumped:
        """Take up to `most` arrivals of a workspace and let them take effect, in one transaction."""
        done, now = Pumped(), self.clock.now()
        async with self.sessions.pump(workspace_id) as db:
            if not await taken.lock(db, workspace_id):
                return done
            workspace = await workspaces.get(db, workspace_id)
            await memberships.materialize(db, workspace, now)
            done.arrivals = await taken.take(db, workspace_id, most)
            if not done.arrivals:
                return done
            done.repeated = await taken.drop_repeated(db, workspace_id)
            came = await taken.kinds(db)
            done.lag = max(0.0, (now - came.oldest).total_seconds()) if came.oldest else 0.0
            resolved = await self._tell_who(db, workspace_id, now)
            done.merged = len(resolved.merged)
            told = await self._told(db, workspace_id, now) if EventKind.IDENTIFY in came.counts else ()
            done.events = await kept_events.keep(db, workspace_id)
            ordered = ORDERS & came.counts.keys()
            if ordered:
                await self._ordered(db, workspace_id, now)
            others = EventKind.CHANGE in came.counts
            if others:
                await taken.find_changed(db, workspace_id)
                await taken.changed_by(db, [EventKind.CHANGE])
            people = bool(resolved.new or resolved.merged or others)
            news = News(told, orders=bool(ordered), people=people)
            if news.any:
                await attributes.keep_values(db, workspace_id, await taken.all_changed(db))
                done.crossed = await memberships.follow(db, workspace, news, now)
            done.entered, done.woken = await happenings.work_in(db, workspace_id, now)
        return done

    async def _told(self, db: AsyncSession, workspace_id: UUID, now: datetime) -> Sequence[str]:
        """What identifies say. Returns the names of the attributes that they speak of."""
        told = await traits.apply(db, workspace_id, time_zones(), now)
        await attributes.note(db, workspace_id, "select name, value from told", now)
        await traits.allow(db, workspace_id, now)
        return told

    async def _ordered(self, db: AsyncSession, workspace_id: UUID, now: datetime) -> None:
        new = await orders.place(db, workspace_id, now)
        if unknown := await orders.change(db, workspace_id, now):
            await taken.put_aside(db, unknown, "Nobody knows this order: send the order first.", now)
        await taken.changed_by(db, ORDERS)
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

    async def _put_aside(self, workspace_id: UUID, error: DBAPIError, done: Pumped) -> None:
        """The oldest arrival is the one that can't be worked in."""
        reason = _in_words(error)
        async with self.sessions.pump(workspace_id) as db:
            first = await taken.first(db, workspace_id) if await taken.lock(db, workspace_id) else None
            if first is None:
                return
            if await taken.drop_if_kept(db, workspace_id, first):
                done.repeated += 1
                return
            await taken.quarantine(db, workspace_id, first, reason, self.clock.now())
            done.quarantined += 1
        log.warning("An arrival was put into quarantine", arrival=str(first), reason=reason)


def _is_poison(error: DBAPIError) -> bool:
    state = error.orig.sqlstate if isinstance(error.orig, Error) else None
    return state is not None and state.startswith(POISON)


def _in_words(error: DBAPIError) -> str:
    said = error.orig.diag.message_primary if isinstance(error.orig, Error) else None
    return f"PostgreSQL refused it: {said or 'it did not say why'}."

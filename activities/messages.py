"""Send what is due: claim, mark, send, settle, for one queue at a time.

A slice claims; `activities/dispatch.py` has what follows.
"""

import asyncio

from temporalio import activity

from activities.bell import Bell
from activities.books import Source
from activities.claiming import Claiming
from activities.dispatch import Dispatch
from activities.lanes import Lanes
from activities.recovering import take_over
from activities.routing import Closed
from activities.slices import Hourglass, Pace, Slice, heartbeating, rest
from domain.messages import SourceKind, Work
from domain.outboxes import express
from models.base import Sessions
from models.queries import (
    campaigns,
    pokes,
    queued,
    workspaces,
)
from models.queries.ledger import Kind, Queue
from models.queries.ways import after_messages, graphs

PAGE_EVERY = 0.05  # Seconds between two looks for the next page of a freeze.


class MessageActivities:
    def __init__(self, sessions: Sessions, dispatch: Dispatch, bell: Bell) -> None:
        self.sessions = sessions
        self.dispatch = dispatch
        self.router = dispatch.router
        self.bell = bell
        self.clock = dispatch.clock
        self.timing = dispatch.timing

    @activity.defn(name="send")
    async def send(self, queue: Queue) -> Slice:
        """Send what is due for one queue until the slice is over or nothing is due.

        A flow's or an outbox's slice lingers for more; a campaign's is over when its audience is.
        """
        is_express = queue.id == express(queue.workspace_id)
        pace = Pace(Pace.SHORTEST if is_express else Pace.LONGEST)
        done = Slice()
        async with heartbeating():
            async with self.bell.listen(queue.id, Work.SEND) as rung:
                source = await self._begin(queue, done)
                glass = Hourglass(self.timing.slice)
                claiming = Claiming(self.dispatch.books, source, done, glass)
                lanes = Lanes(self.dispatch, done, glass, claiming.closed)
                async with claiming.closing(), lanes.closing():
                    while not glass.over or await lanes.hang():
                        pace.begin()
                        rung.clear()
                        if glass.turned():
                            await self._take_over(source, done)
                        taken = await claiming.take(lanes.leave_out())
                        claimed = taken.claim.claimed
                        if claimed and queue.kind is SourceKind.OUTBOX:
                            await lanes.begin(taken.attempt, claimed)
                        elif claimed:
                            await self.dispatch.deliver(taken.attempt, claimed, done, glass, claiming.closed)
                        if taken.full and queue.alone:
                            break  # There is more than one slice should send: the workflow is told at once.
                        breath = pace.breath(taken.claim.found)
                        if not taken.goes_on and not await self._linger(source, lanes, rung, glass, breath):
                            break
            done.lively = glass.over
            await self.router.tell(source.workspace)
            await self._look_ahead(queue, done, claiming.closed)
        return done

    async def _begin(self, queue: Queue, done: Slice) -> Source:
        """Read how this workspace writes to people, and take over from workers that died."""
        async with self.sessions(queue.workspace_id) as db:
            workspace = await workspaces.get(db, queue.workspace_id)
            flow = await graphs(db, queue.id) if queue.kind is SourceKind.FLOW else {}
            # Here, where nobody is poked: two transactions that take one poke and write the other's could
            # wait for each other.
            await pokes.take(db, queue.id, Work.SEND)
        source = Source(queue, workspace, after_messages(flow))
        await self._take_over(source, done)
        return source

    async def _take_over(self, source: Source, done: Slice) -> None:
        queue, now = source.queue, self.clock.now()
        async with self.sessions.batch(queue.workspace_id) as db:
            later = self.dispatch.books.reconcile_at(now, reported=True)
            unknown = await take_over(db, queue, now, later)
            await self.dispatch.books.freed(db, source, unknown)
        done.unknown += len(unknown)

    async def _linger(
        self, source: Source, lanes: Lanes, rung: asyncio.Event, glass: Hourglass, breath: float
    ) -> bool:
        """Wait for more: while something is under way, and a little longer. Whether there may be some."""
        queue = source.queue
        await self.router.tell(source.workspace, pausing=True)
        if queue.kind is SourceKind.CAMPAIGN:
            return await self._freezing(queue)
        if breath:
            glass.trickle()
        await asyncio.sleep(min(breath, glass.left))
        if await lanes.rest(rung, self.timing.linger):
            return True
        return await rest(rung, min(self.timing.linger, glass.left)) or glass.over

    async def _freezing(self, campaign: Queue) -> bool:
        """Whether some of the campaign's audience are still to be queued; if so, after a moment for them."""
        async with self.sessions.batch(campaign.workspace_id) as db:
            freezing = await campaigns.freezing(db, campaign.workspace_id, campaign.id)
        if freezing:
            await asyncio.sleep(PAGE_EVERY)
        return freezing

    async def _look_ahead(self, queue: Queue, done: Slice, closed: dict[Kind, Closed]) -> None:
        async with self.sessions.batch(queue.workspace_id) as db:
            ahead = await queued.ahead(db, queue, closed)
        done.open, done.next_due_at, done.lease_left = ahead
        if closed and done.open:
            opens = min(found.until for found in closed.values())
            done.next_due_at = min(done.next_due_at or opens, opens)
            done.agenda = next(iter(closed.values())).reason

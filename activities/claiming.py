"""A slice's claims, one after the other; where sending goes quickly, the next is made meanwhile.

A claim is the database's work, and sending is mostly the worker's: in turn, each would wait for the other.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import NamedTuple

from uuid_utils.compat import uuid7

from activities.books import Attempt, Books, Hand, Source
from activities.routing import Closed
from activities.slices import DATABASE_ERRORS, Hourglass, Slice, to_the_end
from domain.workspaces import Cap, period_start
from models.queries import announced_messages, claims
from models.queries.ledger import Kind
from models.workspaces import Workspace

CLAIM = 1000  # Rows a claim.
QUICK = 1.0  # Seconds. What takes longer to send is not to keep more people waiting under a lease.
PATIENCE = 5.0  # Seconds for a claim that is under way when the slice ends: the database may be away.


class Taken(NamedTuple):
    """A claim, and what to do after it."""

    attempt: Attempt
    claim: claims.Claim
    goes_on: bool  # Whether there may be more at once.

    @property
    def full(self) -> bool:
        return self.claim.found == CLAIM


class Claiming:
    """The claims of one slice."""

    def __init__(self, books: Books, source: Source, done: Slice, glass: Hourglass) -> None:
        self.closed: dict[Kind, Closed] = {}  # What no provider takes now.
        self._books, self._source, self._done, self._glass = books, source, done, glass
        self._after = claims.BEGINNING
        self._but: Collection[Kind] = ()
        self._given: float | None = None  # On the loop's clock.
        self._under_way: asyncio.Task[tuple[Attempt, claims.Claim]] | None = None

    @asynccontextmanager
    async def closing(self) -> AsyncIterator["Claiming"]:
        """What was claimed and not given out goes back at the end: the slice is over, or was cancelled."""
        try:
            yield self
        finally:
            if self._under_way:
                await to_the_end(self._let_go(self._under_way))

    async def take(self, but: Collection[Kind] = ()) -> Taken:
        """The next messages that are due, of all kinds but these.

        Of those that were taken before, all are on their way."""
        self._but = but
        self._reopen()
        quick = self._quickly()
        self._under_way = self._under_way or asyncio.create_task(self._claim())
        attempt, claim = await asyncio.shield(self._under_way)
        self._under_way = None
        full = claim.found == CLAIM
        goes_on = full or claim.undecided or self._after != claims.BEGINNING
        self._after = claim.cursor if full else claims.BEGINNING
        if full and quick and not self._source.queue.alone:
            self._under_way = asyncio.create_task(self._claim())
        self._given = asyncio.get_running_loop().time()
        return Taken(attempt, claim, goes_on)

    def _quickly(self) -> bool:
        """Whether the last ones were sent in a short time, of which there is as much left."""
        if self._given is None:
            return False
        took = asyncio.get_running_loop().time() - self._given
        return took < min(QUICK, self._glass.left)

    async def _claim(self) -> tuple[Attempt, claims.Claim]:
        queue, now = self._source.queue, self._books.clock.now()
        lease = self._books.timing.lease
        held_until = asyncio.get_running_loop().time() + lease
        attempt = Attempt(self._source, uuid7(), _caps(self._source.workspace, now), held_until)
        async with self._books.sessions.batch(queue.workspace_id) as db:
            claim = await claims.claim(
                db,
                queue,
                attempt.id,
                now,
                lease,
                CLAIM,
                attempt.caps,
                self._after,
                {*self.closed, *self._but},
            )
            await self._books.freed(db, self._source, claim.skipped)
            await announced_messages.skipped(db, claim.skipped, now)
        self._done.skipped += len(claim.skipped)
        return attempt, claim

    async def _let_go(self, under_way: asyncio.Task[tuple[Attempt, claims.Claim]]) -> None:
        if not (await asyncio.wait([under_way], timeout=PATIENCE))[0]:
            under_way.cancel()
            await asyncio.wait([under_way])
        if under_way.cancelled():
            return
        # While the database is away their lease ends by itself.
        with suppress(*DATABASE_ERRORS):
            attempt, claim = under_way.result()
            if claim.claimed:
                await self._books.let_go(attempt, Hand(), [each.id for each in claim.claimed], self._done)

    def _reopen(self) -> None:
        """Forget what was closed until now."""
        now = self._books.clock.now()
        for kind in [kind for kind, found in self.closed.items() if found.until <= now]:
            del self.closed[kind]


def _caps(workspace: Workspace, now: datetime) -> list[claims.Cap]:
    """The caps that are in force now, one a channel."""
    return [
        claims.Cap(cap.limit, cap.period, period_start(cap.period, now, workspace.time_zone), cap.channel)
        for cap in map(Cap.model_validate, workspace.caps)
    ]

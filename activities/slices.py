"""A slice: a short piece of group work, what it reports, and how it stays alive."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import psycopg
import structlog
from temporalio import activity

log = structlog.get_logger()

# Times as long lasts a slice to which people come one by one: who comes while one has ended and the next has
# not begun waits for that, with both cores busy for a second or two.
TRICKLING = 4
HEARTBEAT_EVERY = 2.0  # Seconds; the time-out is five, and the SDK tells Temporal every four.


@dataclass(frozen=True)
class Timing:
    """How long things last, in seconds. Tests shorten them."""

    slice: float = 15
    linger: float = 5
    lease: float = 60
    reconcile_after: float = 900


@dataclass
class Slice:
    """What a slice did and what it left. Counts and times only: history keeps everything we pass."""

    accepted: int = 0
    failed: int = 0
    skipped: int = 0
    unknown: int = 0
    again: int = 0  # Back in the queue: refused before acceptance, or put back by a pause.
    moved: int = 0  # Members who went on to another step.
    queued: int = 0  # Messages that moving them wrote into the ledger.
    open: int = 0  # Messages of the queue that are not closed yet.
    next_due_at: datetime | None = None  # When the first of what is left may move; in the past: now.
    lease_left: float | None = None  # Seconds until another worker's lease ends.
    lively: bool = False  # Its time was over before it had waited in vain: the next one follows at once.
    agenda: str = ""  # What comes next, in words.
    places: str = ""  # Where everyone is, as a table in Markdown.

    @property
    def closed(self) -> int:
        return self.accepted + self.failed + self.skipped + self.unknown

    @property
    def idle(self) -> bool:
        return not (self.closed or self.again or self.moved)


class Hourglass:
    """Tells a slice when it is over. Monotonic time: this is about work, not about business."""

    def __init__(self, seconds: float) -> None:
        self._began, self._seconds = asyncio.get_running_loop().time(), seconds
        self._end = self._turns_at = self._began + seconds

    def turned(self) -> bool:
        """Whether as long as a slice usually lasts went by since it began, or since this last said so."""
        now = asyncio.get_running_loop().time()
        if now < self._turns_at:
            return False
        self._turns_at = now + self._seconds
        return True

    def trickle(self) -> None:
        """Last longer, unless it is over: people come one by one."""
        if not self.over:
            self._end = self._began + TRICKLING * self._seconds

    @property
    def left(self) -> float:
        return self._end - asyncio.get_running_loop().time()

    @property
    def over(self) -> bool:
        return self.left <= 0 or activity.is_worker_shutdown()


class Pace:
    """Keeps a slice from looking again for each of many rings that come one by one.

    Looking costs the same for one as for a hundred. So after a round that found few, a slice takes a breath,
    the longer the more that round took; the busier a worker is, the more its rounds find.
    """

    FEW = 200
    SHARE = 20  # Of its time, a slice that finds few works one part and breathes so many.
    LONGEST = 1.2  # Seconds: what an entry may wait for its neighbours.
    SHORTEST = 0.02  # The same for who waits for nobody.

    def __init__(self, longest: float = LONGEST) -> None:
        self._longest = longest
        self.begin()

    def begin(self) -> None:
        """A round begins."""
        self._began = asyncio.get_running_loop().time()

    def breath(self, found: int) -> float:
        """Seconds to wait before the next round, after this one found so many."""
        if not 0 < found < self.FEW:
            return 0
        took = asyncio.get_running_loop().time() - self._began
        return min(self.SHARE * took, self._longest)


@asynccontextmanager
async def heartbeating() -> AsyncIterator[None]:
    """Heartbeat in the background, so that a long statement is not taken for a dead worker."""

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(HEARTBEAT_EVERY)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating


async def rest(rung: asyncio.Event, seconds: float) -> bool:
    """Wait for a ring, so many seconds at most. Whether it rang."""
    if seconds <= 0:
        return rung.is_set()
    with suppress(TimeoutError):
        await asyncio.wait_for(rung.wait(), seconds)
    return rung.is_set()


T = TypeVar("T")


class Interrupted(Exception):
    """What should have come to its end was cancelled itself, and nobody knows how far it came."""


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Finish this even when the activity is cancelled meanwhile; the cancellation follows afterwards.

    Raises Interrupted when the loop is closed, which cancels everything.
    """
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    if task.cancelled():
        raise Interrupted
    if cancelled and not task.exception():
        raise asyncio.CancelledError
    return task.result()


# What a batch may raise when the database is away: see `is_away`.
DATABASE_ERRORS = (psycopg.Error, OSError)


def is_away(error: Exception) -> bool:
    """Whether the database could not be reached or was lost on the way, rather than having said no."""
    return not isinstance(error, psycopg.Error) or isinstance(error, psycopg.OperationalError)

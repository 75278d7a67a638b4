"""A slice of a workspace's announcements: a line for each webhook that is told something, and books for all.

What came of posts is settled in groups, whichever webhooks they were for. How a webhook fares is counted in
the same transaction, where it also ends: a webhook rests or is disabled, a delivery is given up.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from temporalio import activity

from activities.slices import DATABASE_ERRORS, Hourglass, Timing, is_away, rest
from activities.webhook_calls import Outside
from activities.webhook_ends import Delivered, closed_without_a_try, disabled_now, given_up
from activities.webhook_lines import LARGEST_BYTES, Line
from domain.clock import Clock
from domain.deliveries import DISABLED_AFTER, FAILED_FOR_DAYS, GONE, HELD_AT_MOST, Health, Try, health
from models.base import Db, Sessions
from models.queries import webhook_deliveries as deliveries
from models.queries import webhook_health
from models.queries.webhook_deliveries import PAGE, Claimed, Cursor, Settled
from models.queries.webhook_health import Disabled, Fared

BREATH = 0.02  # Seconds between two looks.
LOOK_EVERY = 0.5  # Seconds, while posts are under way, for what became due in the meantime.
GATHER = 0.005  # Seconds that a post waits for others to be settled with.
LARGEST_GROUP = 500
MOST_UNSETTLED = 1_000
LONGEST_END = 30.0  # Seconds for which others are served while a slice that is over waits for somebody slow.
RETRY = 0.5  # Seconds between two tries to settle while the database is away.

log = structlog.get_logger()


class _Entry(NamedTuple):
    line: Line
    settled: Settled
    delivery: Claimed
    done: "asyncio.Future[None]"


class Round:
    """One slice's work."""

    def __init__(
        self,
        sessions: Sessions,
        outside: Outside,
        clock: Clock,
        timing: Timing,
        workspace_id: UUID,
        glass: Hourglass,
    ) -> None:
        self.sessions, self.outside, self.clock = sessions, outside, clock
        self.lease, self.linger = timing.lease, timing.linger
        self.workspace_id, self.glass = workspace_id, glass
        self.done = Delivered()
        self._lines: dict[UUID, Line] = {}
        self._working: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()  # Some worker of a line.
        self._leaving = False
        self._failed: BaseException | None = None
        self._entries: list[_Entry] = []
        self._entered = asyncio.Event()

    async def run(self, rung: asyncio.Event) -> None:
        """Deliver until the slice is over, or nothing was due for a while."""
        await self._close_what_is_not_tried()
        settling = asyncio.create_task(self._settle_what_comes())
        settling.add_done_callback(self._note_that_books_are_closed)
        try:
            while True:
                rung.clear()
                self._ended.clear()
                await self._look()
                if self._failed:
                    raise self._failed
                if self._working:
                    await self._until_something_happens(rung)
                elif self.glass.over or not await rest(rung, min(self.linger, self.glass.left)):
                    break
            self.done.lively = self.glass.over
        finally:
            self._leaving = True
            await asyncio.gather(*self._working, return_exceptions=True)
            await self._all_is_settled()
            settling.cancel()
            await asyncio.wait([settling])
            for line in self._lines.values():
                line.close()
            for line in self._lines.values():
                await line.empty()
        if self._failed:
            raise self._failed

    async def _look(self) -> None:
        async with self.sessions.batch(self.workspace_id) as db:
            ready = await deliveries.ready(db, self.workspace_id, self.clock.now())
        for webhook in ready:
            line = self._lines.get(webhook.id)
            if line is None:
                line = self._lines[webhook.id] = Line(self, self.outside, webhook)
            line.fill(webhook)

    async def _until_something_happens(self, rung: asyncio.Event) -> None:
        await asyncio.sleep(BREATH)
        waiting = [asyncio.ensure_future(event.wait()) for event in (rung, self._ended)]
        await asyncio.wait(waiting, timeout=LOOK_EVERY, return_when=asyncio.FIRST_COMPLETED)
        for each in waiting:
            each.cancel()

    # What lines ask for.

    @property
    def stopping(self) -> bool:
        return self._leaving or self._failed is not None or activity.is_worker_shutdown()

    def may_claim(self, line: Line) -> bool:
        """When the slice is over, lines come to their end; but as long as one webhook does not answer, those
        that do must not wait for it."""
        if self.stopping:
            return False
        if not self.glass.over:
            return True
        if line.slow or line.failures or self.glass.left < -LONGEST_END:
            return False
        return any(other.slow for other in self._lines.values())

    def begin(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._note_the_end)
        return task

    def _note_the_end(self, task: "asyncio.Task[None]") -> None:
        self._working.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._failed = self._failed or error
        self._ended.set()

    async def claim(self, line: Line, attempt: UUID, most: int) -> tuple[list[Claimed], Cursor]:
        async with self.sessions.batch(self.workspace_id) as db:
            return await deliveries.claim(
                db,
                self.workspace_id,
                line.id,
                attempt,
                self.clock.now(),
                lease=self.lease,
                most=most,
                most_bytes=LARGEST_BYTES,
                after=line.cursor,
            )

    async def let_go(self, claimed: list[tuple[UUID, UUID]]) -> None:
        async with self.sessions.batch(self.workspace_id) as db:
            await deliveries.let_go(db, self.workspace_id, claimed)

    async def enter(self, line: Line, settled: Settled, delivery: Claimed, *, wait: bool) -> None:
        """Have it settled soon; `wait` until it is."""
        if self._failed is not None:  # Its lease ends, and it is told once more.
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._entries.append(_Entry(line, settled, delivery, done))
        self._entered.set()
        if wait or len(self._entries) > MOST_UNSETTLED:
            await done

    # The books.

    async def _settle_what_comes(self) -> None:
        while True:
            await self._entered.wait()
            await asyncio.sleep(GATHER)
            group = self._entries[:LARGEST_GROUP]
            try:
                await self._settle_for_sure(group)
            finally:  # Also where that could not be done: nobody may wait for it for ever.
                del self._entries[: len(group)]
                for each in group:
                    if not each.done.done():
                        each.done.set_result(None)
            if not self._entries:
                self._entered.clear()

    def _note_that_books_are_closed(self, settling: "asyncio.Task[None]") -> None:
        """Nothing is settled any more: those who would wait for it end."""
        if not settling.cancelled():
            self._failed = self._failed or settling.exception()
        self._ended.set()
        for each in self._entries:
            if not each.done.done():
                each.done.set_result(None)
        self._entries.clear()

    async def _all_is_settled(self) -> None:
        if self._entries:
            await asyncio.wait([each.done for each in self._entries])

    async def _settle_for_sure(self, group: Sequence[_Entry]) -> None:
        """Try until the database is back, as long as these can be ours."""
        latest = asyncio.get_running_loop().time() + self.lease
        while True:
            try:
                return await self._settle(group)
            except DATABASE_ERRORS as error:
                if not is_away(error) or asyncio.get_running_loop().time() > latest:
                    raise
            await asyncio.sleep(RETRY)

    async def _settle(self, group: Sequence[_Entry]) -> None:
        now = self.clock.now()
        lines = {each.line.id: each.line for each in group}
        off: list[Disabled] = []
        async with self.sessions.batch(self.workspace_id) as db:
            ours = await deliveries.settle(db, self.workspace_id, [each.settled for each in group], now)
            # The others were closed by whoever disabled the webhook: what it holds besides is looked at anew.
            for entry in group:
                if entry.settled.id not in ours:
                    entry.line.doubtful = True
            entries = [each for each in group if each.settled.id in ours]
            healths = _healths(entries)
            fared: dict[UUID, Fared] = {}
            if any(each.failures or lines[id_].unwell for id_, each in healths.items()):
                fared = await webhook_health.fared(db, self.workspace_id, [*healths.values()], now)
                reasons = {
                    id_: why for id_, each in healths.items() if (why := _end(each, fared.get(id_), now))
                }
                off = await webhook_health.disable(db, self.workspace_id, reasons, now) if reasons else []
            lost = [each for each in entries if not each.settled.tried.delivered and not each.settled.due_at]
            await given_up(
                db,
                self.workspace_id,
                [(each.delivery, each.line.webhook, each.settled.tried) for each in lost],
                now,
            )
            await disabled_now(db, self.workspace_id, off, now)
        self.done.count([each.settled for each in entries], len(off))
        gone = {each.id for each in off}
        for each in off:
            log.warning("A webhook is disabled", webhook=str(each.id), why=each.reason)
        for id_ in healths:
            lines[id_].learn(fared.get(id_), disabled=id_ in gone)
        if off:
            await self._close_what_is_not_tried()

    async def _close_what_is_not_tried(self) -> None:
        """What disabled webhooks would have got, and what failing ones held up for too long."""
        now, more = self.clock.now(), True
        while more:
            async with self.sessions.batch(self.workspace_id) as db:
                more = await self._close_some(db, now - HELD_AT_MOST)

    async def _close_some(self, db: Db, before: datetime) -> bool:
        now = self.clock.now()
        stranded = await webhook_health.close_stranded(db, self.workspace_id, now)
        expired = await webhook_health.close_expired(db, self.workspace_id, now, before)
        await closed_without_a_try(db, self.workspace_id, stranded, expired, now)
        self.done.failed += len(stranded) + len(expired)
        return max(len(stranded), len(expired)) >= PAGE


def _healths(entries: Sequence[_Entry]) -> dict[UUID, Health]:
    tries: dict[UUID, list[Try]] = {}
    for each in entries:
        tries.setdefault(each.line.id, []).append(each.settled.tried)
    found = ((id_, health(id_, of_it)) for id_, of_it in tries.items())
    return {id_: each for id_, each in found if each}


def _end(found: Health, fared: Fared | None, now: datetime) -> str | None:
    """Why the webhook is disabled now, if it is."""
    if found.gone:
        return GONE
    since = fared.failing_since if fared else None
    if since is not None and not found.good and now - since >= DISABLED_AFTER:
        return FAILED_FOR_DAYS
    return None

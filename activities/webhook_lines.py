"""The line of one webhook within a slice: it claims what is due, posts a few side by side, and hands on what
came of them.

Each webhook has slots of its own, so that one that hangs keeps nobody else waiting. One that fails has fewer,
and knows what became of a try before it makes the next; one that rested is tried with a single delivery.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from uuid_utils.compat import uuid7

from activities.webhook_calls import Caller, Outside
from channels.posts import crowded
from domain.clock import Clock
from domain.deliveries import Try, next_due
from models.queries import webhook_deliveries
from models.queries.webhook_deliveries import BEGINNING, Claimed, Ready, Settled
from models.queries.webhook_health import Fared

SLOTS = 16  # Posts at a time to a webhook that works,
SLOTS_AT_FIRST = 4  # to one that has not answered yet: a hundred that hang would take all sockets,
SLOTS_FAILING = 2  # and to one whose last post failed.
LARGEST_CLAIM = 200  # Deliveries,
LARGEST_BYTES = 4_000_000  # and bytes of their bodies.
AHEAD = 1.0  # Seconds of work that are claimed at a time.
SLOW = 0.5  # Seconds after which a post keeps others waiting who wait for it.


class Books(Protocol):
    """Where a line finds its work, and leaves what came of it."""

    clock: Clock
    lease: float  # Seconds.

    @property
    def stopping(self) -> bool:
        """Whether nothing more is posted, even of what is held."""
        ...

    def may_claim(self, line: "Line") -> bool: ...

    async def claim(
        self, line: "Line", attempt: UUID, most: int
    ) -> tuple[list[Claimed], webhook_deliveries.Cursor]: ...

    async def enter(self, line: "Line", settled: Settled, delivery: Claimed, *, wait: bool) -> None: ...

    async def let_go(self, claimed: list[tuple[UUID, UUID]]) -> None: ...

    def begin(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]": ...


class _Held(NamedTuple):
    delivery: Claimed
    attempt: UUID
    until: float  # By the loop's clock: not posted any more after that.


class Line:
    def __init__(self, books: Books, outside: Outside, webhook: Ready) -> None:
        self._books, self._outside = books, outside
        self.webhook = webhook
        self.caller = Caller(outside, webhook)
        self.cursor = BEGINNING
        self.failures = webhook.failures
        self.trial = webhook.resting
        self.unwell = True  # Whether its row says that it fails, as far as we know.
        self.stopped = False  # It rests or is disabled.
        self.heard = False  # Whether it answered anything.
        self.doubtful = False  # Whether what it holds may be nobody's to post any more.
        self._held: deque[_Held] = deque()
        self._posting: dict[UUID, float] = {}  # When each that is on the wire began, the oldest first.
        self._workers: set[asyncio.Task[None]] = set()
        self._claiming = asyncio.Lock()
        self._typical = AHEAD  # Seconds of a post, lately.

    @property
    def id(self) -> UUID:
        return self.webhook.id

    @property
    def idle(self) -> bool:
        return not self._workers

    @property
    def slots(self) -> int:
        if self.stopped:
            return 0
        if self.trial or crowded():
            return 1
        return SLOTS_FAILING if self.failures else SLOTS if self.heard else SLOTS_AT_FIRST

    @property
    def slow(self) -> bool:
        """Whether somebody there has not answered for a while."""
        oldest = next(iter(self._posting.values()), None)
        return oldest is not None and _now() - oldest > SLOW

    def fill(self, webhook: Ready) -> None:
        """There is something due for the webhook, which is set up so now: have it worked on."""
        if self.stopped or self.idle:
            self.stopped, self.trial, self.failures = False, webhook.resting, webhook.failures
            self.unwell = webhook.resting or webhook.failures > 0
        if webhook[:4] != self.webhook[:4]:
            self.caller.close()
            self.caller = Caller(self._outside, webhook)
        self.webhook = webhook
        self._grow()

    def _grow(self) -> None:
        while len(self._workers) < self.slots and self._books.may_claim(self):
            worker = self._books.begin(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    def learn(self, fared: Fared | None, *, disabled: bool) -> None:
        """What the books say of the webhook, after tries were counted; None: it is well."""
        self.failures = fared.failures if fared else 0
        self.unwell = self.failures > 0
        self.trial = False
        self.stopped = disabled or (fared is not None and fared.rests_until is not None)

    async def _work(self) -> None:
        while (held := await self._next()) is not None:
            fewer = self.slots
            await self._enter(held, await self._post(held))
            if self.slots > fewer:
                self._grow()
        if not self._posting and self._held and self.stopped:
            await self.empty()

    async def _next(self) -> _Held | None:
        if len(self._workers) > max(self.slots, 1):
            return None
        async with self._claiming:
            while self.slots and not self._books.stopping:
                if self.doubtful:
                    self.doubtful = False
                    await self.empty()
                # At the end of a slice nobody waits for what a line still holds.
                while self._held and self._books.may_claim(self):
                    held = self._held.popleft()
                    if held.until > _now():
                        return held
                    await self._books.let_go([(held.delivery.id, held.attempt)])
                if not self._books.may_claim(self) or not await self._claim():
                    return None
        return None

    async def _claim(self) -> bool:
        attempt = uuid7()
        # The database's lease begins after this, and a post ends within ten seconds.
        until = _now() + self._books.lease / 2
        most = (
            1 if self.trial else int(min(max(self.slots, self.slots * AHEAD / self._typical), LARGEST_CLAIM))
        )
        while True:
            began = self.cursor
            claimed, self.cursor = await self._books.claim(self, attempt, most)
            if claimed or began == BEGINNING:
                break
        self._held.extend(_Held(each, attempt, until) for each in claimed)
        return bool(claimed)

    async def _post(self, held: _Held) -> Try:
        self._posting[held.delivery.id] = _now()
        try:
            tried = await self.caller.call(held.delivery, self._books.clock)
        finally:
            del self._posting[held.delivery.id]
        self.heard = self.heard or tried.status is not None
        self._typical += (max(tried.seconds, 0.001) - self._typical) / 8
        if not tried.blameless:
            self.failures = 0 if tried.delivered else self.failures + 1
        return tried

    async def _enter(self, held: _Held, tried: Try) -> None:
        one = held.delivery
        due_at = next_due(one.id, one.attempts + 1, one.began, tried, self._books.clock.now())
        wait = self.trial or self.failures > 0
        await self._books.enter(self, Settled(one.id, held.attempt, tried, due_at), one, wait=wait)

    async def empty(self) -> None:
        """Give back what is held and was not tried."""
        held, self._held = self._held, deque()
        if held:
            await self._books.let_go([(each.delivery.id, each.attempt) for each in held])

    def close(self) -> None:
        self.caller.close()


def _now() -> float:
    return asyncio.get_running_loop().time()

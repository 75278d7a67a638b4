"""How what an outbox's slice has claimed is seen through: side by side, so that a single message waits for
nobody else's provider.

Each kind of message, and each provider that was asked for by name, has lanes of its own. While some of them
hang, the slice claims for the others.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import chain
from typing import NamedTuple
from uuid import UUID

from temporalio import activity

from activities.books import Attempt, Hand
from activities.dispatch import Dispatch
from activities.routing import Closed
from activities.slices import Hourglass, Slice, to_the_end
from domain.channels import Channel
from domain.messages import MessageClass
from models.queries.claims import Claimed
from models.queries.ledger import Kind

LANES = 4  # A road. If its provider hangs, what is in them is what nobody can tell of.
OVERTIME = 20.0  # Seconds for which a slice that is over goes on at most, while others hang.
STUCK = 1.0  # Seconds. Who has no answer for longer keeps nobody waiting who goes by another road.


class _Road(NamedTuple):
    """What messages have in common that may wait for each other."""

    kind: Kind
    only: UUID | None


class Lanes:
    """The deliveries of one slice that are under way."""

    def __init__(self, dispatch: Dispatch, done: Slice, glass: Hourglass, closed: dict[Kind, Closed]) -> None:
        """`closed` is where deliveries note what no provider takes."""
        self._dispatch, self._done, self._glass, self._closed = dispatch, done, glass, closed
        self._roads: dict[asyncio.Task[None], _Road] = {}
        self._hands: dict[asyncio.Task[None], Hand] = {}
        self._left_out = set[Kind]()  # At the last claim.
        self._slow = set[Kind]()  # Of which some hung when the slice was over.
        self._over_at: float | None = None  # On the loop's clock.
        self._failure: BaseException | None = None

    @asynccontextmanager
    async def closing(self) -> AsyncIterator["Lanes"]:
        """At the end all are seen through; of a slice that fails or is cancelled, the batches in hand."""
        try:
            yield self
            while self._roads:
                await asyncio.wait(self._roads)
        finally:
            for task in self._roads:
                task.cancel()
            if self._roads:
                await to_the_end(asyncio.wait([*self._roads]))
        self._raise()

    def leave_out(self) -> Collection[Kind]:
        """Kinds of which no more are to be claimed now."""
        self._left_out = self._full()
        return self._left_out

    def _full(self) -> set[Kind]:
        roads = {road for road in self._roads.values() if not road.only}
        return {road.kind for road in roads if not self._room_on(road)} | self._slow

    async def begin(self, attempt: Attempt, claimed: Sequence[Claimed]) -> None:
        """Deliver these, those with the same content together.

        Returns when there is room again on every road, or after a moment: others want to go elsewhere.
        """
        if self._failure:  # None of these need wait for their lease to end.
            ids = [message.id for message in claimed]
            await to_the_end(self._dispatch.books.let_go(attempt, Hand(), ids, self._done))
            self._raise()
        lanes: list[tuple[_Road, Sequence[Claimed]]] = []
        left_over: list[UUID] = []
        for road, messages in _by_road(claimed).items():
            if room := self._room_on(road):
                lanes += [(road, lane) for lane in _dealt(messages, room)]
            else:
                left_over += [message.id for message in messages]
        attempt.deliveries = len(lanes) + bool(left_over)
        # What is over would let one batch go and give the rest back, again and again.
        glass = Hourglass(STUCK) if self._glass.over else self._glass
        for road, lane in lanes:
            hand = Hand(moved_at=asyncio.get_running_loop().time())
            work = self._dispatch.deliver(attempt, lane, self._done, glass, self._closed, hand)
            task = asyncio.create_task(work)
            self._roads[task], self._hands[task] = road, hand
            task.add_done_callback(self._ended)
        if left_over:
            await to_the_end(self._put_off(attempt, left_over))
        await self._room()

    async def hang(self) -> bool:
        """Whether some hang for whom nobody else should wait, although the slice is over. Their kinds take no
        more in, so that it comes to its end."""
        now = asyncio.get_running_loop().time()
        self._over_at = self._over_at or now
        if activity.is_worker_shutdown() or now - self._over_at > OVERTIME:
            return False
        if young := self._young():
            await asyncio.wait(young, timeout=STUCK)
        self._raise()
        young = self._young()
        self._slow |= {road.kind for task, road in self._roads.items() if task not in young}
        return bool(self._roads)

    async def rest(self, rung: asyncio.Event, linger: float) -> bool:
        """While something is under way, wait for a ring, or for room where there was none. Whether to look
        again; if not, nothing is under way.

        `linger`, in seconds, is how long that may take."""
        self._raise()
        if not self._roads:
            return self._left_out != self._full()
        ring = asyncio.create_task(rung.wait())
        try:
            until = asyncio.get_running_loop().time() + max(linger, STUCK)
            while self._left_out == self._full():
                left = until - asyncio.get_running_loop().time()
                if rung.is_set() or left <= 0:
                    return True
                if not self._roads:
                    return False
                ends = [*self._roads]
                await asyncio.wait([ring, *ends], timeout=left, return_when=asyncio.FIRST_COMPLETED)
                self._raise()
                if self._glass.over and any(task.done() for task in ends):
                    return True  # It may have given something back.
            return True
        finally:
            ring.cancel()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        del self._roads[task], self._hands[task]
        failure = None if task.cancelled() else task.exception()
        if failure and self._failure:  # The first one fails the slice.
            activity.logger.error("Another delivery failed, too", exc_info=failure)
        self._failure = self._failure or failure

    def _raise(self) -> None:
        if self._failure:
            raise self._failure

    def _under_way(self, road: _Road) -> int:
        return sum(other == road for other in self._roads.values())

    def _room_on(self, road: _Road) -> int:
        return 0 if road.kind in self._slow else max(LANES - self._under_way(road), 0)

    def _young(self) -> "list[asyncio.Task[None]]":
        """Those of which nobody can say that they hang: a moment ago they began, or had an answer."""
        late = asyncio.get_running_loop().time() - STUCK
        return [task for task, hand in self._hands.items() if hand.moved_at > late]

    async def _room(self) -> None:
        self._raise()
        until = asyncio.get_running_loop().time() + STUCK
        while young := [task for task in self._young() if self._under_way(self._roads[task]) >= LANES]:
            left = until - asyncio.get_running_loop().time()
            if left <= 0:
                break
            await asyncio.wait(young, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            self._raise()

    async def _put_off(self, attempt: Attempt, ids: Sequence[UUID]) -> None:
        books = self._dispatch.books
        await books.put_off(attempt, ids, books.clock.now() + timedelta(seconds=STUCK), self._done)
        await books.let_go(attempt, Hand(), [], self._done)


def _by_road(claimed: Sequence[Claimed]) -> dict[_Road, list[Claimed]]:
    roads = defaultdict[_Road, list[Claimed]](list)
    for message in claimed:
        kind = Channel(message.channel), MessageClass(message.message_class)
        roads[_Road(kind, message.only)].append(message)
    return roads


def _dealt(messages: Sequence[Claimed], lanes: int) -> list[list[Claimed]]:
    """Into so many parts at most, each content in one of them."""
    contents = defaultdict[UUID, list[Claimed]](list)
    for message in messages:
        contents[message.template_version_id].append(message)
    apart = [*contents.values()]
    return [[*chain(*apart[nth::lanes])] for nth in range(min(lanes, len(apart)))]

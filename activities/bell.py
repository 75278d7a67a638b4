"""The bell: how a slice under way hears at once that its queue was poked."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from itertools import chain
from uuid import UUID

import psycopg
import structlog

from domain.messages import Work
from models.base import Sessions
from models.listener import heard
from models.queries import failures, pokes
from models.queries.pokes import Heard, Key

log = structlog.get_logger()


class Bell:
    """Hears which queues were poked, over one connection that listens for the whole process.

    A poke that a slice of this process listens for is taken here, those of many queues at once, before the
    slice looks: what is poked from then on is a new one.
    """

    def __init__(self, url: str) -> None:
        """`url` is the engine's, which serves every workspace."""
        self._url = url.replace("postgresql+psycopg://", "postgresql://")
        self._ears: dict[Key, list[asyncio.Event]] = {}
        self._heard: dict[Key, int] = {}
        self._arrivals: list[asyncio.Event] = []
        self._segments: list[asyncio.Event] = []
        self._hooks: list[asyncio.Event] = []
        self._failures: list[asyncio.Event] = []
        self._by_channel = {
            "campanile_inbox": self._arrivals,
            "campanile_segments": self._segments,
            "campanile_hooks": self._hooks,
        }
        self._listening: asyncio.Task[None] | None = None
        self._taking: asyncio.Task[None] | None = None

    async def start(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._listening = asyncio.create_task(self._listen())

    async def close(self) -> None:
        for task in (self._listening, self._taking):
            if task:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    @asynccontextmanager
    async def listen(self, queue_id: UUID, work: Work) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever the queue is poked for this work; clear it before looking.

        Look once more when this has ended: the last poke may have been taken, and not been heard any more.
        """
        rung = asyncio.Event()
        key = (queue_id, work)
        self._ears.setdefault(key, []).append(rung)
        try:
            yield rung
        finally:
            ears = self._ears[key]
            ears.remove(rung)
            if not ears:
                del self._ears[key]

    @asynccontextmanager
    async def arrivals(self) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever something came into the inbox; clear it before looking."""
        async with _ear(self._arrivals) as rung:
            yield rung

    @asynccontextmanager
    async def segments(self) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever a segment is to be looked at sooner; clear it before looking."""
        async with _ear(self._segments) as rung:
            yield rung

    @asynccontextmanager
    async def hooks(self) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever a provider reported something; clear it before looking."""
        async with _ear(self._hooks) as rung:
            yield rung

    @asynccontextmanager
    async def failures(self) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever a failure was noted; clear it before looking."""
        async with _ear(self._failures) as rung:
            yield rung

    async def _listen(self) -> None:
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
                    await connection.execute("listen campanile")
                    for channel in self._by_channel:
                        await connection.execute(f"listen {channel}")
                    self._ring(list(self._ears))  # Whatever was missed while nobody listened.
                    _ring_all([*chain(*self._by_channel.values()), *self._failures])
                    while True:
                        for notice in await heard(connection):
                            self._tell(notice)
            except psycopg.Error as error:
                log.warning("The bell lost its connection and tries again", error=str(error))
                await asyncio.sleep(1)

    def _tell(self, notice: psycopg.Notify) -> None:
        if notice.channel in self._by_channel:
            _ring_all(self._by_channel[notice.channel])
        elif notice.payload == failures.BELL:
            _ring_all(self._failures)
        elif (poke := Heard.of(notice.payload)) and poke.key in self._ears:
            self._heard[poke.key] = poke.seq
            self._take_soon()

    def _take_soon(self) -> None:
        if self._taking is None or self._taking.done():
            self._taking = asyncio.create_task(self._take())

    async def _take(self) -> None:
        """What is heard meanwhile is taken together."""
        while self._heard:
            told, self._heard = self._heard, {}
            try:
                async with self._sessions.engine_batch() as db:
                    await pokes.take_heard(db, [Heard(*key, seq) for key, seq in told.items()])
            except (psycopg.Error, OSError) as error:
                log.warning("Pokes were heard and could not be taken", error=str(error))
            self._ring(told)

    def _ring(self, keys: Iterable[Key]) -> None:
        for key in keys:
            for rung in self._ears.get(key, ()):
                rung.set()


@asynccontextmanager
async def _ear(ears: list[asyncio.Event]) -> AsyncIterator[asyncio.Event]:
    rung = asyncio.Event()
    ears.append(rung)
    try:
        yield rung
    finally:
        ears.remove(rung)


def _ring_all(ears: Iterable[asyncio.Event]) -> None:
    for rung in ears:
        rung.set()

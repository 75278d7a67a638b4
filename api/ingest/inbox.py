"""Events on their way into the inbox: whatever arrives during one commit forms the group of the next."""

import asyncio
from collections.abc import Sequence
from enum import IntEnum

import psycopg
import structlog
from psycopg.errors import ProgramLimitExceeded, UniqueViolation

from api.tracking.groups import Full
from api.tracking.storage import Away, Storage
from models.base import Sessions
from models.queries import inbox

log = structlog.get_logger("ingest")

LARGEST = 10_000  # Events that one commit makes durable.
TRIES = 3  # For a group whose rows are said to be there and are not.

_POISON = (psycopg.DataError, psycopg.IntegrityError, ProgramLimitExceeded)


class Fate(IntEnum):
    STORED = 0
    REFUSED = 1  # By PostgreSQL, whatever we try.
    AWAY = 2  # It is not known to be stored.


class _Piece:
    """The events of one request."""

    __slots__ = ("bytes", "done", "rows")

    def __init__(self, rows: Sequence[bytes], size: int, done: "asyncio.Future[Sequence[Fate]]") -> None:
        self.rows, self.bytes, self.done = rows, size, done


class Inbox:
    """Writes events by the group, each request's with a future of its own: who hangs up harms nobody."""

    def __init__(
        self, sessions: Sessions, storage: Storage, *, room: int = 20_000, room_bytes: int = 48_000_000
    ) -> None:
        """`room` is how many events may wait for their turn, and `room_bytes` how large they may be."""
        self._sessions, self._storage = sessions, storage
        self._room, self._room_bytes = room, room_bytes
        self._waiting: list[_Piece] = []
        self._events = self._bytes = 0  # That wait.
        self._running: asyncio.Task[None] | None = None

    async def put(self, rows: Sequence[bytes]) -> Sequence[Fate]:
        """What became of each row, once it is known; empty if all are stored.

        Those of one call are written in their order. Raises `Full`.
        """
        size = len(rows[0]) if len(rows) == 1 else sum(map(len, rows))
        if self._events + len(rows) > self._room or self._bytes + size > self._room_bytes:
            raise Full
        piece = _Piece(rows, size, asyncio.get_running_loop().create_future())
        self._waiting.append(piece)
        self._events += len(rows)
        self._bytes += size
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await piece.done

    async def close(self) -> None:
        """Wait until everything is written."""
        while self._running is not None:
            await asyncio.wait((self._running,))

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._serve(self._next_group())
        finally:
            self._running = None

    def _next_group(self) -> list[_Piece]:
        events = taken = 0
        for piece in self._waiting:
            if taken and events + len(piece.rows) > LARGEST:
                break
            events += len(piece.rows)
            self._bytes -= piece.bytes
            taken += 1
        self._events -= events
        group = self._waiting[:taken]
        del self._waiting[:taken]
        return group

    async def _serve(self, group: Sequence[_Piece]) -> None:
        rows = [row for piece in group for row in piece.rows]
        fates = await self._store(rows)
        if not any(fates):
            for piece in group:
                if not piece.done.done():  # Cancelled: its client hung up.
                    piece.done.set_result(())
            return
        at = 0
        for piece in group:
            of_piece = fates[at : at + len(piece.rows)]
            at += len(piece.rows)
            if not piece.done.done():
                piece.done.set_result(of_piece if any(of_piece) else ())

    async def _store(self, rows: Sequence[bytes], tries: int = TRIES) -> list[Fate]:
        """Write all of them in one commit; or, where one is poison, all others in smaller ones."""
        try:
            await self._storage.do(lambda: self._write(rows))
        except UniqueViolation:  # A commit of before was not answered: these ids are nobody else's.
            return await self._store_the_others(rows, tries - 1)
        except _POISON as error:
            if len(rows) == 1:
                log.error("An event was refused by PostgreSQL", why=str(error))
                return [Fate.REFUSED]
            half = len(rows) // 2
            return await self._store(rows[:half]) + await self._store(rows[half:])
        except Away as error:
            log.warning("Events can't be stored now", events=len(rows), why=str(error))
            return [Fate.AWAY] * len(rows)
        except Exception as error:
            log.error("Events could not be stored", events=len(rows), exc_info=error)
            return [Fate.AWAY] * len(rows)
        return [Fate.STORED] * len(rows)

    async def _store_the_others(self, rows: Sequence[bytes], tries: int) -> list[Fate]:
        if not tries:
            log.error("Events are called stored and can't be found", events=len(rows))
            return [Fate.AWAY] * len(rows)
        try:
            there = await self._storage.do(lambda: self._there(rows))
        except Away:
            return [Fate.AWAY] * len(rows)
        others = [row for row in rows if row not in there]
        fates = dict(zip(others, await self._store(others, tries) if others else (), strict=True))
        return [fates.get(row, Fate.STORED) for row in rows]

    async def _write(self, rows: Sequence[bytes]) -> None:
        async with self._sessions.glance() as db:
            await inbox.write(db, rows)

    async def _there(self, rows: Sequence[bytes]) -> set[bytes]:
        async with self._sessions.glance() as db:
            return await inbox.there(db, rows)

"""Gives the server back the connections that a pool no longer needs.

An idle one costs PostgreSQL 4 to 20 MB, as much as its statements ever took, and SQLAlchemy's pool keeps each
that was ever needed.
"""

import asyncio
from asyncio import Task, TimerHandle

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool
from sqlalchemy.util import greenlet_spawn

SECONDS = 60.0  # For which a connection stays that nobody needs.
AGAIN = 1 / 60  # Of that time, until the next look where some are in use.


def let_go(engine: AsyncEngine, but: int = 0) -> None:
    """From now on, have the engine's pool close what nobody needed for a minute, `but` so many.

    It closes all at once, at a moment at which none is in use; those that are needed come again.
    """
    Idle(engine, but)


class Idle:
    """Looks after one engine, by a timer that runs while any connection is open."""

    def __init__(self, engine: AsyncEngine, but: int) -> None:
        self._engine, self._but = engine.sync_engine, but
        self._most = but  # Connections that were needed at once, since the last look.
        self._timer: TimerHandle | None = None
        self._closing: Task[None] | None = None
        event.listen(self._engine, "checkout", self._taken)
        event.listen(self._engine, "checkin", self._given_back)
        event.listen(self._engine, "engine_disposed", self._stop)

    @property
    def _pool(self) -> QueuePool:
        pool = self._engine.pool
        assert isinstance(pool, QueuePool)
        return pool

    def _taken(self, *_: object) -> None:
        self._most = max(self._most, self._pool.checkedout())

    def _given_back(self, *_: object) -> None:
        if self._timer is None:
            self._wait(SECONDS)

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _stop(self, *_: object) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None

    def _look(self) -> None:
        self._timer = None
        pool = self._pool
        used, unused = pool.checkedout(), pool.checkedin()
        if used + unused > self._most:
            if used:
                self._wait(AGAIN * SECONDS)
                return
            # Nothing is awaited here, so that nobody has one of a pool that is given up.
            self._engine.dispose(close=False)
            self._closing = asyncio.create_task(greenlet_spawn(pool.dispose))
        elif used + unused:
            self._wait(SECONDS)
        self._most = max(used, self._but)

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


def let_go(engine: AsyncEngine) -> None:
    """From now on, have the engine's pool close what nobody needed for a minute."""
    Idle(engine)


class Idle:
    """Looks after one engine, by a timer that runs while there is anything to close."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine.sync_engine
        self._most = 0  # Connections that were needed at once, since the last look.
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
            self._wait()

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SECONDS, self._look)

    def _stop(self, *_: object) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None

    def _look(self) -> None:
        """Close all where more are open than were needed: those that are needed come again."""
        pool, most = self._pool, self._most
        self._most = pool.checkedout()
        if pool.checkedin() <= most or pool.checkedout():
            self._wait()
            return
        # Nothing is awaited here, so that nobody has one of a pool that is given up.
        self._engine.dispose(close=False)
        self._closing = asyncio.create_task(greenlet_spawn(pool.dispose))

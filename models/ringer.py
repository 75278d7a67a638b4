"""Rings the bell: tells everyone who listens that a queue was poked, once the poke is committed."""

import asyncio
from collections.abc import Iterable
from contextvars import Context

import psycopg
import structlog

log = structlog.get_logger()


class Ringer:
    """NOTIFY over a connection of its own, what rings during one going out with the next.

    A NOTIFY within the transaction that it speaks of would hold a lock of the whole server until that
    commit has reached the disk: no two pokes could be committed at once, and a disk that takes 2 ms would
    allow 500 a second.
    """

    def __init__(self, url: str) -> None:
        self._url = url.replace("postgresql+psycopg://", "postgresql://")
        self._waiting: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._connection: psycopg.AsyncConnection | None = None

    def ring(self, what: Iterable[str]) -> None:
        """Tell soon. What is lost on the way costs ten seconds, after which the poker looks by itself."""
        self._waiting.update(what)
        if self._waiting and (self._task is None or self._task.done()):
            # Not in the context of whoever rang first, whose name its log lines would bear.
            self._task = asyncio.create_task(self._ring(), context=Context())

    async def close(self) -> None:
        if self._task:
            await self._task
        if self._connection:
            await self._connection.close()

    async def _ring(self) -> None:
        while self._waiting:
            rung, self._waiting = sorted(self._waiting), set()
            for last in (False, True):  # The server may have been away since the connection was last used.
                try:
                    connection = await self._connected()
                    await connection.execute(
                        "select pg_notify('campanile', what) from unnest(%s::text[]) what", [rung]
                    )
                    break
                except psycopg.Error as error:
                    if last:
                        log.warning("Nobody could be told what is due; the poker will see", error=str(error))

    async def _connected(self) -> psycopg.AsyncConnection:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._url, autocommit=True, options="-c synchronous_commit=off"
            )
        return self._connection

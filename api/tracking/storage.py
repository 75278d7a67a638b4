"""Working with a database that may be away for a moment."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import psycopg
from psycopg.errors import ProgramLimitExceeded
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

Result = TypeVar("Result")

# Deadlocks are among PostgreSQL's operational errors, and are over when tried again.
_AWAY = (OperationalError, InterfaceError, PoolTimeout, OSError, TimeoutError)
_AWAY_BARE = (psycopg.OperationalError, psycopg.InterfaceError)  # The same by the bare driver.


class Away(Exception):
    """The database could not be reached, however often we tried."""


class Storage:
    """Tries again while the database is away: for some seconds, or once while it has been away for long."""

    def __init__(self, patience: float = 5.0) -> None:
        """`patience` is for how many seconds a piece of work is begun again, and how long it may take."""
        self._patience = patience
        self._away = False

    async def do(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """The work's result. It may be done twice, if its commit was not answered. Raises Away."""
        now = asyncio.get_running_loop().time
        end = now() + (0 if self._away else self._patience)
        pause = 0.02
        while True:
            try:
                async with asyncio.timeout(self._patience):
                    result = await work()
            except (*_AWAY, *_AWAY_BARE, DBAPIError) as error:
                if not _is_away(error):
                    raise
                if now() + pause >= end:
                    self._away = True
                    raise Away(f"{type(error).__name__}: {error}".strip(": ")) from error
                await asyncio.sleep(pause)
                pause = min(2 * pause, 0.5)
            else:
                self._away = False
                return result


def _is_away(error: Exception) -> bool:
    if isinstance(error, DBAPIError):
        return isinstance(error, _AWAY) or error.connection_invalidated
    return not isinstance(error, ProgramLimitExceeded)  # It is the row's fault, however often we try.

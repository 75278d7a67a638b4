"""An activity that raises is noted as a failure, once an hour for a workflow, and tried again as ever."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg
import structlog
from sqlalchemy.exc import DBAPIError
from temporalio import activity
from temporalio import worker as workers
from temporalio.exceptions import ApplicationError, CancelledError

from activities.slices import DATABASE_ERRORS, is_away
from domain.clock import Clock
from domain.errors import CampanileError
from domain.remedies import of_slice
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import failures

PATIENCE = 2.0  # Seconds: the activity's own error is what counts, and waits for this.

log = structlog.get_logger()


class Noticing(workers.Interceptor):
    """For `Worker`."""

    def __init__(self, sessions: Sessions, clock: Clock) -> None:
        self.sessions, self.clock = sessions, clock

    def intercept_activity(
        self,
        next: workers.ActivityInboundInterceptor,  # noqa: A002
    ) -> workers.ActivityInboundInterceptor:
        return _Noticing(next, self.sessions, self.clock)


class _Noticing(workers.ActivityInboundInterceptor):
    def __init__(self, next_: workers.ActivityInboundInterceptor, sessions: Sessions, clock: Clock) -> None:
        super().__init__(next_)
        self.sessions, self.clock = sessions, clock

    async def execute_activity(self, input: workers.ExecuteActivityInput) -> Any:  # noqa: A002
        try:
            return await super().execute_activity(input)
        except Exception as error:
            if not _is_an_answer(error) and not _has_no_database(error):
                await self._note(error, input.args)
            raise

    async def _note(self, error: Exception, args: Sequence[Any]) -> None:
        """Whatever goes wrong here, the activity's own error goes on."""
        info, now = activity.info(), self.clock.now()
        here = of_workspace(args)
        failure = of_slice(
            info.workflow_id or info.activity_id,
            info.activity_type,
            now.strftime("%Y-%m-%dT%H"),
            f"{info.activity_type} raised {_in_words(error)}.",
            {"activity": info.activity_type, "attempt": info.attempt, "run_id": info.workflow_run_id},
        )
        try:
            async with asyncio.timeout(PATIENCE), self.sessions(here) as db:
                await failures.note(db, here, [failure], now)
        except Exception as other:  # noqa: BLE001 - it must not hide what it is about
            log.warning("A failure could not be noted", error=type(other).__name__)


def _is_an_answer(error: Exception) -> bool:
    """A refusal in words, or the end that somebody asked for."""
    return isinstance(error, (CampanileError, CancelledError, asyncio.CancelledError)) or (
        isinstance(error, ApplicationError) and error.non_retryable
    )


def _has_no_database(error: Exception) -> bool:
    """Then there is nothing to write to; those who watch the database see that it is away."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or isinstance(error.orig, psycopg.OperationalError)
    return isinstance(error, DATABASE_ERRORS) and is_away(error)


def of_workspace(args: Sequence[Any]) -> UUID:
    """The workspace comes first in every input; what spans them is noted where an installation begins."""
    found = getattr(args[0], "workspace_id", args[0]) if args else None
    return found if isinstance(found, UUID) else DEFAULT_WORKSPACE


def _in_words(error: Exception) -> str:
    """Its kind alone: what others say in their errors may name people. Temporal keeps the rest."""
    state = getattr(getattr(error, "orig", error), "sqlstate", None)
    return f"{type(error).__name__} ({state})" if state else type(error).__name__

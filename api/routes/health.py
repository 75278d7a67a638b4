"""Is it up, and can it work?"""

import asyncio
from datetime import timedelta
from typing import Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError
from temporalio.service import RPCError

from api.errors import FieldError, Unavailable, problem
from api.stack import Opened, Stack
from domain.errors import NotFound
from domain.workspaces import DEFAULT_WORKSPACE
from models.migrations.head import head
from models.queries import readiness

router = APIRouter(tags=["health"])

PATIENCE = 3.0  # Seconds that one part has to answer.


class Health(BaseModel):
    """The process is up."""

    status: Literal["up"]

    model_config = ConfigDict(json_schema_extra={"example": {"status": "up"}})


class Ready(BaseModel):
    """Everything that the API needs is there."""

    status: Literal["ready"]
    migration: str

    model_config = ConfigDict(json_schema_extra={"example": {"status": "ready", "migration": "0001"}})


@router.get("/health")
async def health() -> Health:
    """Whether the process is up. It asks nobody else."""
    return Health(status="up")


@router.get("/ready", response_model=Ready)
async def ready(opened: Opened) -> Ready | JSONResponse:
    """Whether the database, its migrations and Temporal are there; 503 says what is not, and the remedy."""
    newest = await asyncio.to_thread(head)
    database, temporal = await asyncio.gather(_database(opened, newest), _temporal(opened))
    wrong = [
        FieldError(pointer=f"/{part}", part="stack", detail=detail)
        for part, detail in (database, ("temporal", temporal))
        if detail
    ]
    if wrong:
        return problem(503, "not-ready", "Not ready", " ".join(each.detail for each in wrong), wrong)
    return Ready(status="ready", migration=str(newest))


@router.get("/mailbox", include_in_schema=False)
async def mailbox(opened: Opened) -> RedirectResponse:
    """Where the mails of the development stack are shown."""
    if opened.settings.environment != "development":
        raise NotFound("There is a mailbox in development only.")
    return RedirectResponse(opened.settings.mailbox_url)


async def _database(opened: Stack, newest: str | None) -> tuple[str, str | None]:
    """The part that is at fault (the database or its migrations), and what is wrong, if anything is."""
    try:
        async with asyncio.timeout(PATIENCE), opened.sessions(DEFAULT_WORKSPACE) as db:
            found = await readiness.migrated_to(db)
    except ProgrammingError:
        return "migrations", "The database does not let us see its migrations: run `campanile migrate`."
    except (SQLAlchemyError, OSError, TimeoutError):
        return "database", "The database can't be reached: start it, or set DATABASE_URL to where it is."
    if found != newest:
        at = f"is at migration {found}" if found else "has no tables"
        return "migrations", f"The database {at}, this code needs {newest}: run `campanile migrate`."
    return "migrations", None


async def _temporal(opened: Stack) -> str | None:
    try:
        async with asyncio.timeout(PATIENCE):
            client = await opened.temporal.client()
            if await client.service_client.check_health(timeout=timedelta(seconds=PATIENCE)):
                return None
    except (RPCError, Unavailable, TimeoutError):
        pass
    return "Temporal can't be reached: start it, or set TEMPORAL_ADDRESS to where it is."

"""What endpoints are handed: who asks, a transaction behind their wall, and Temporal."""

import asyncio
import base64
import binascii
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Request, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.ext.asyncio import AsyncSession
from temporalio.client import Client

from api.errors import Unauthorized, Unavailable
from domain.clock import Clock, SystemClock
from domain.errors import Invalid
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from settings import Settings
from workflows.temporal import connect

CONNECT_TIMEOUT = 5.0  # Seconds that a request waits for a Temporal that is away.


class TemporalLink:
    """A connection to Temporal that is made when it is first needed, so that the API starts without."""

    def __init__(self, address: str, namespace: str) -> None:
        self._address, self._namespace = address, namespace
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    async def client(self) -> Client:
        """The client. Raises `Unavailable` while Temporal can't be reached."""
        async with self._connecting:
            if self._client is None:
                try:
                    async with asyncio.timeout(CONNECT_TIMEOUT):
                        self._client = await connect(self._address, self._namespace)
                except (RuntimeError, TimeoutError) as error:  # RuntimeError is what the SDK's core raises.
                    raise Unavailable(
                        f"Temporal can't be reached at {self._address}, so nothing can be started or changed "
                        "that is under way. Start it, or set TEMPORAL_ADDRESS, and try again."
                    ) from error
            return self._client


@dataclass
class Stack:
    """What one process of the API works with, opened once when it starts."""

    settings: Settings
    sessions: Sessions
    temporal: TemporalLink
    clock: Clock = field(default_factory=SystemClock)


def stack(request: Request) -> Stack:
    found = request.app.state.stack
    assert isinstance(found, Stack)
    return found


Opened = Annotated[Stack, Depends(stack)]
_bearer = HTTPBearer(auto_error=False, description="The one key: API_KEY in the settings.")


def workspace(
    opened: Opened, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> UUID:
    """The workspace that the key speaks for."""
    key = opened.settings.api_key.encode()
    if given is None or not secrets.compare_digest(given.credentials.encode(), key):
        raise Unauthorized("Send the API key: Authorization: Bearer <the setting API_KEY>.")
    return DEFAULT_WORKSPACE


WorkspaceId = Annotated[UUID, Depends(workspace)]


def known_parameters(request: Request, _: WorkspaceId) -> None:
    """Refuses what the route does not ask for in the query, so that no typing error goes unseen."""
    if not request.query_params:
        return
    fields = get_flat_params(request.scope["route"].dependant)
    asked = {field.alias for field in fields if isinstance(field.field_info, params.Query)}
    for name in request.query_params:
        if name not in asked:
            raise Invalid(f"There is no parameter {name} here; take it out.", f"?{name}")


async def database(opened: Opened, workspace_id: WorkspaceId) -> AsyncIterator[AsyncSession]:
    """A transaction in which only the asker's rows exist."""
    async with opened.sessions(workspace_id) as db:
        yield db


Db = Annotated[AsyncSession, Depends(database, scope="function")]  # Commits before we answer.


async def temporal_client(opened: Opened, _: WorkspaceId) -> Client:
    return await opened.temporal.client()


Temporal = Annotated[Client, Depends(temporal_client)]


def sessions(opened: Opened, _: WorkspaceId) -> Sessions:
    return opened.sessions


# For endpoints that answer or read in a stream and so open transactions of their own.
Transactions = Annotated[Sessions, Depends(sessions)]


@dataclass(frozen=True)
class Paging:
    """Which part of a list is asked for: up to `limit` items beyond the item `after`."""

    after: UUID | None
    limit: int


def paging(
    cursor: Annotated[str | None, Query(description="The `next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="The most items to answer.")] = 50,
) -> Paging:
    return Paging(None if cursor is None else _read(cursor), limit)


Pages = Annotated[Paging, Depends(paging)]


def cursor_of(last: UUID) -> str:
    """An opaque place in a list: after the item with this id."""
    return base64.urlsafe_b64encode(last.bytes).rstrip(b"=").decode()


def _read(cursor: str) -> UUID:
    try:
        place = UUID(bytes=base64.b64decode(cursor.encode() + b"==", altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        place = None
    if place is None or cursor_of(place) != cursor:
        raise Invalid("This cursor is none of ours; pass a next_cursor as it was answered.", "?cursor")
    return place

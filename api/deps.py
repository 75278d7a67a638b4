"""What endpoints are handed: a transaction behind the asker's wall, Temporal, and the part of a list."""

import base64
import binascii
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Request, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from sqlalchemy.ext.asyncio import AsyncSession
from temporalio.client import Client

from api.callers import Asker, workspace, workspace_of
from api.stack import stack_of
from domain.errors import Invalid
from models.base import Sessions
from models.queries import audit

# A route's `openapi_extra`: others send browsers there, with whatever they add.
ANY_PARAMETER = {"x-any-parameter": True}
# A route's `openapi_extra`: it reads parameters whose names begin with this word, and checks them itself.
PREFIX = "x-parameters-that-begin-with"


async def known_parameters(request: Request) -> None:
    """Refuses what the route does not ask for in the query, so that no typing error goes unseen, and a NUL.

    Here and in no route: what answers in a stream meets the database when its status is already sent.
    """
    if not request.query_params or (request.scope["route"].openapi_extra or {}).get("x-any-parameter"):
        return
    asked = _asked_for(request.scope["route"])
    prefix = (request.scope["route"].openapi_extra or {}).get(PREFIX)
    for name, value in request.query_params.multi_items():
        if name not in asked and not (prefix and name.startswith(prefix)):
            raise Invalid(f"There is no parameter {name} here; take it out.", f"?{name}")
        if "\0" in value:
            raise Invalid("This holds a NUL, which can't be stored: take it out.", f"?{name}")


@dataclass(frozen=True)
class Held:
    """The transaction in which a request's Idempotency-Key was taken: `api.once`."""

    db: AsyncSession
    workspace_id: UUID


def _asked_for(route: APIRoute) -> frozenset[str]:
    """Remembered, since to gather them takes longer than most of a request."""
    if (known := _QUERIES.get(route.endpoint)) is None:
        fields = get_flat_params(route.dependant)
        asked = (field.alias for field in fields if isinstance(field.field_info, params.Query))
        known = _QUERIES[route.endpoint] = frozenset(asked)
    return known


_QUERIES: dict[Callable[..., Any], frozenset[str]] = {}


async def database(request: Request, asker: Asker) -> AsyncIterator[AsyncSession]:
    """A transaction in which only the asker's rows exist, and the audit log knows who changes them."""
    workspace_id = workspace_of(asker)
    held: Held | None = getattr(request.state, "held", None)
    if held is not None and held.workspace_id == workspace_id:
        yield held.db
        return
    async with stack_of(request).sessions(workspace_id, asker.actor) as db:
        yield db


Db = Annotated[AsyncSession, Depends(database, scope="function")]  # Commits before we answer.


async def temporal_client(request: Request, asker: Asker) -> Client:
    workspace_of(asker)  # Raises for who named none.
    return await stack_of(request).temporal.client()


Temporal = Annotated[Client, Depends(temporal_client)]


async def sessions(request: Request, asker: Asker) -> Sessions:
    workspace_of(asker)  # Raises for who named none.
    return stack_of(request).sessions


# For endpoints that answer or read in a stream and so open transactions of their own.
Transactions = Annotated[Sessions, Depends(sessions)]


# What cannot be asked for without a workspace.
OF_WORKSPACE = (workspace, database, temporal_client, sessions)


def noted(action: str, kind: str) -> params.Depends:
    """For a route's `dependencies`: what it asks of a workflow is in the audit log when it is done.

    What is written into a row needs none, since triggers see to that.
    """

    async def note(request: Request, asker: Asker) -> AsyncIterator[None]:
        workspace_id = workspace_of(asker)
        yield
        about = UUID(request.path_params[f"{kind}_id"])
        async with stack_of(request).sessions(workspace_id, asker.actor) as db:
            await audit.note(db, workspace_id, action, kind, about)

    return params.Depends(note, scope="function")


@dataclass(frozen=True)
class Paging:
    """Which part of a list is asked for: up to `limit` items beyond the item `after`."""

    after: UUID | None
    limit: int


async def paging(
    cursor: Annotated[str | None, Query(description="The `next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="The most items to answer.")] = 50,
) -> Paging:
    return Paging(None if cursor is None else read_cursor(cursor), limit)


Pages = Annotated[Paging, Depends(paging)]


def cursor_of(last: UUID) -> str:
    """An opaque place in a list: after the item with this id."""
    return base64.urlsafe_b64encode(last.bytes).rstrip(b"=").decode()


def read_cursor(cursor: str, field: str = "?cursor") -> UUID:
    """The id in it. Raises `Invalid` about this field."""
    try:
        place = UUID(bytes=base64.b64decode(cursor.encode() + b"==", altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        place = None
    if place is None or cursor_of(place) != cursor:
        raise Invalid("This cursor is none of ours; pass a next_cursor as it was answered.", field)
    return place

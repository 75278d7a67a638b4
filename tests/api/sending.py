"""What the tests of the tracking API begin with: keys, a client, and what is in the inbox afterwards."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from httpx2 import ASGITransport, AsyncClient, Response
from sqlalchemy import text

from api.ingest import Ingest
from domain.keys import new_key
from domain.roles import PUBLIC, KeyKind, Permission
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import keys
from models.workspaces import Workspace
from tests.databases import Database
from tests.people import NOON
from tests.support import GivenClock

SHOP = "https://shop.example"
ADA = {"email": "ada@shop.example"}


async def a_key(sessions: Sessions, kind: KeyKind = KeyKind.PUBLIC, *permissions: Permission) -> str:
    """A new key of the default workspace."""
    secret = new_key(kind)
    granted = permissions or (PUBLIC if kind is KeyKind.PUBLIC else (Permission.EVENTS_WRITE,))
    async with sessions(DEFAULT_WORKSPACE) as db:
        await keys.create(db, DEFAULT_WORKSPACE, secret, "Of a test", [*granted])
    return secret


async def list_origins(sessions: Sessions, *origins: str) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        workspace = await db.get_one(Workspace, DEFAULT_WORKSPACE)
        workspace.origins = [*origins]


@asynccontextmanager
async def served(
    sessions: Sessions, key: str | None = None, **values: Any
) -> AsyncIterator[tuple[AsyncClient, GivenClock, Ingest]]:
    """A client with this key, the clock of what it talks to, and that."""
    clock = GivenClock(NOON)
    app = Ingest(sessions, "https://events.shop.example/in", clock, **values)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with AsyncClient(
        transport=ASGITransport(app=app), base_url="http://events", headers=headers
    ) as client:
        try:
            yield client, clock, app
        finally:
            await app.settle()


def arrivals(database: Database, columns: str = "kind, name, email") -> list[Any]:
    """What these columns of the inbox hold, in the order in which it is taken out."""
    with psycopg.connect(database.engine_url.replace("+psycopg", "")) as db:
        rows = db.execute(f"select {columns} from inbox order by workspace_id, id").fetchall()
    return [row[0] for row in rows] if "," not in columns else rows


def let_postgresql_refuse(database: Database, name: str) -> None:
    """From now on an event of this name is one that only PostgreSQL knows to be bad."""
    with psycopg.connect(database.admin_url.replace("+psycopg", "")) as db:
        db.execute(f"alter table inbox add constraint never check (name <> '{name}')")


async def refusals(sessions: Sessions, columns: str = "stage, kind, pointer") -> list[Any]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return [tuple(row) for row in await db.execute(text(f"select {columns} from refusals order by id"))]


async def close(sessions: Sessions, name: str, table: str = "event_names") -> None:
    """Mark an event or an attribute as server-only."""
    kind = {"event_names": ("kind", "track"), "attributes": ("type", "string")}[table]
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(
            text(
                f"insert into {table} (workspace_id, name, {kind[0]}, first_seen_at, last_seen_at, "
                f"server_only) values (:workspace, :name, '{kind[1]}', :now, :now, true)"
            ),
            {"workspace": DEFAULT_WORKSPACE, "name": name, "now": NOON},
        )


def refused(answer: Response, status: int = 422) -> list[tuple[int, str]]:
    """Which events this answer refuses, and for which field."""
    assert answer.status_code == status, answer.text
    return [(each["index"], each["pointer"]) for each in answer.json()["refused"]]

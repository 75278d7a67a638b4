"""The inbox, as the API writes it for what comes in few at a time; as the engine.

The tracking API has a faster way of its own.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from domain.events import EventKind
from models.base import Json


@dataclass(frozen=True)
class Coming:
    """One row of the inbox, `models.events.Arrival`."""

    workspace_id: UUID
    received_at: datetime
    kind: str
    occurred_at: datetime
    properties: Json | None
    trusted: bool = True
    historical: bool = False
    message_id: str | None = None
    name: str | None = None
    email: str | None = None
    phone: str | None = None
    user_id: str | None = None
    anonymous_id: str | None = None
    context: Json | None = None
    consents: Json | None = None
    id: UUID = field(default_factory=uuid7)


@dataclass(frozen=True)
class Lag:
    """What waits in the inbox."""

    waiting: int
    exact: bool  # Otherwise there are more.
    oldest_at: datetime | None  # When the first in line came in.


COUNTED = 10_000  # Of the inbox, at most.
_COLUMNS = (
    "workspace_id, id, received_at, kind, trusted, historical, message_id, occurred_at, name, email, phone, "
    "user_id, anonymous_id, properties, context, consents"
)
_PUT = text(
    f"""
    insert into inbox ({_COLUMNS})
    select {_COLUMNS} from jsonb_populate_recordset(null::inbox, cast(:rows as jsonb))
    """
)


async def put(db: AsyncSession, rows: Sequence[Coming]) -> None:
    """Write rows into the inbox, in their order. They are safe when the transaction has committed."""
    if rows:
        await db.execute(_PUT, {"rows": orjson.dumps([asdict(row) for row in rows]).decode()})


_LAG = text(
    """
    select (select count(*) from (select from inbox where workspace_id = :workspace limit :most) waiting),
        (select received_at from inbox where workspace_id = :workspace order by id limit 1)
    """
)


async def lag(db: AsyncSession, workspace_id: UUID) -> Lag:
    """How much waits for the pump, counted up to `COUNTED`, and since when."""
    found = await db.execute(_LAG, {"workspace": workspace_id, "most": COUNTED + 1})
    waiting, oldest_at = found.one()
    return Lag(min(waiting, COUNTED), waiting <= COUNTED, oldest_at)


_ORDER = text(
    f"""
    select properties from inbox
    where workspace_id = :workspace and kind = '{EventKind.ORDER}' and properties ->> 'key' = :key
    order by id limit 1
    """
)


async def order(db: AsyncSession, workspace_id: UUID, key: str) -> Json | None:
    """What the first order that waits under this key says, if one does. It reads all that waits."""
    found: Json | None = await db.scalar(_ORDER, {"workspace": workspace_id, "key": key})
    return found

"""Things that come in: rows of the inbox as the tracking API writes them, and a pump that works them in."""

from datetime import datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text
from uuid_utils.compat import uuid7

from activities.bell import Bell
from activities.ingest import BATCH, IngestActivities, Pumped
from activities.ingest import SECONDS as PUMP_SECONDS
from activities.segments import PAGE, SECONDS, Looked, SegmentActivities
from activities.slices import Timing
from domain.clock import Clock
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from tests.sending import NOW

_PUT = text(
    """
    insert into inbox (workspace_id, id, received_at, kind, trusted, historical, message_id, occurred_at,
        name, email, phone, user_id, anonymous_id, properties, context, consents)
    select (jsonb_populate_record(null::inbox, each)).*
    from jsonb_array_elements(cast(:rows as jsonb)) each
    """.replace(
        """(workspace_id, id, received_at, kind, trusted, historical, message_id, occurred_at,
        name, email, phone, user_id, anonymous_id, properties, context, consents)""",
        "",
    )
)
_NAMES = {"email", "phone", "user_id", "anonymous_id"}
_seconds = count()


def arrival(kind: str = "track", name: str | None = None, **said: Any) -> dict[str, Any]:
    """An arrival a moment after the last one, by a secret key; `said` are its columns, or properties."""
    at = said.pop("at", NOW + timedelta(milliseconds=next(_seconds)))
    columns = {
        "workspace_id": DEFAULT_WORKSPACE,
        "id": uuid7(),
        "received_at": at,
        "occurred_at": at,
        "kind": kind,
        "name": name or ("tried" if kind == "track" else None),
        "trusted": True,
        "historical": False,
        "properties": {},
    }
    return columns | said


async def put(sessions: Sessions, *arrivals: dict[str, Any]) -> list[UUID]:
    """Have them in the inbox, committed. Returns their ids."""
    async with sessions.engine() as db:
        await db.execute(_PUT, {"rows": orjson.dumps(arrivals).decode()})
    return [each["id"] for each in arrivals]


def a_pump(
    sessions: Sessions, clock: Clock, batch: int = BATCH, seconds: float = PUMP_SECONDS
) -> IngestActivities:
    """The pump, with a bell that nobody rings."""
    return IngestActivities(sessions, Bell(""), clock, Timing(slice=1), batch, seconds)


async def pump(
    sessions: Sessions, clock: Clock, workspace_id: UUID = DEFAULT_WORKSPACE, batch: int = BATCH
) -> Pumped:
    """Work in what waits for a workspace, in one batch."""
    return await a_pump(sessions, clock).batch(workspace_id, batch)


def a_keeper(
    sessions: Sessions, clock: Clock, seconds: float = SECONDS, page: int = PAGE
) -> SegmentActivities:
    """Who looks at everybody, with a bell that nobody rings."""
    return SegmentActivities(sessions, Bell(""), clock, Timing(slice=1), seconds, page)


async def look(sessions: Sessions, clock: Clock, seconds: float = SECONDS) -> Looked:
    """Look at everybody for the segments that are due, until none is: who is astray waits in the inbox."""
    done, keeper = Looked(), a_keeper(sessions, clock, seconds)
    while await keeper.round(done):
        pass
    return done


def the(moment: datetime, seconds: float) -> datetime:
    return moment + timedelta(seconds=seconds)

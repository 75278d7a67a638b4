"""What senders were told, kept for a while for whoever debugs a site."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson
from sqlalchemy import text

from domain.events import RefusalStage
from models.base import Db, changed


@dataclass(frozen=True, slots=True)
class Told:
    """One refusal. None of its texts may hold a NUL."""

    workspace_id: UUID
    at: datetime
    stage: RefusalStage
    kind: str | None
    name: str | None  # Of the event.
    message_id: str | None
    pointer: str
    reason: str
    body: str | None  # The beginning of what was sent.


_KEEP = text(
    """
    insert into refusals (workspace_id, at, stage, kind, name, message_id, pointer, reason, body)
    select r.workspace_id, r.at, r.stage, r.kind, r.name, r.message_id, r.pointer, r.reason, r.body
    from jsonb_to_recordset(cast(:told as jsonb)) as r(workspace_id uuid, at timestamptz, stage text,
        kind text, name text, message_id text, pointer text, reason text, body text)
    join workspaces w on w.id = r.workspace_id
    """
)


async def keep(db: Db, told: Sequence[Told]) -> int:
    """Write refusals down, of any workspaces, as the engine. Those of one that is gone are left out."""
    return await changed(db, _KEEP, {"told": orjson.dumps(told).decode()})

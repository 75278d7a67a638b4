"""What senders were told, kept for a while for whoever debugs a site."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import orjson
from sqlalchemy import text

from domain.events import RefusalStage
from domain.keys import without_keys
from domain.spelling import spelt_out
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
    """Write refusals down, of any workspaces, as the engine. Those of one that is gone are left out.

    Keys are struck out of every text: many people read refusals, and a body may hold its sender's key. JSON's
    escapes are written out before, so that keys are found, and a person's names when they are erased.
    """
    kept = [
        replace(
            each,
            name=each.name and _fit(each.name),
            message_id=each.message_id and _fit(each.message_id),
            pointer=_fit(each.pointer),
            reason=_fit(each.reason),
            body=each.body and _fit(each.body),
        )
        for each in told
    ]
    return await changed(db, _KEEP, {"told": orjson.dumps(kept).decode()})


def _fit(said: str) -> str:
    return without_keys(spelt_out(said))

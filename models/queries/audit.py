"""The audit log: read, and written where a change is asked of a workflow instead of made in a row."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from models.members import AuditLine

_NOTE = text(
    """
    insert into audit_log (workspace_id, actor, action, object_kind, object_id, after)
    select :workspace, current_setting('app.actor')::jsonb, :action, :kind, :id, cast(:after as jsonb)
    where current_setting('app.actor', true) <> ''
    """
)


async def note(
    db: AsyncSession,
    workspace_id: UUID,
    action: str,
    kind: str,
    object_id: UUID,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Somebody asked for something that a workflow does, such as to start a campaign."""
    values = {"workspace": workspace_id, "action": action, "kind": kind, "id": object_id}
    await db.execute(_NOTE, values | {"after": orjson.dumps(after).decode() if after else None})


async def page(
    db: AsyncSession, after: UUID | None, limit: int, object_id: UUID | None = None
) -> Sequence[AuditLine]:
    """The newest first; of one thing only, if one is named."""
    asked = select(AuditLine).order_by(AuditLine.id.desc()).limit(limit)
    if object_id is not None:
        asked = asked.where(AuditLine.object_id == object_id)
    if after is not None:
        asked = asked.where(AuditLine.id < after)
    return list(await db.scalars(asked))

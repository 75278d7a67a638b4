"""A workspace's integrations, and what of its own tells how they are doing."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import NotFound
from domain.integrations import IntegrationKind, leads_to
from models.integrations import Integration
from models.queries import workspaces
from models.webhooks import Webhook

_LOOKED_AT = 1_000  # Lines of the audit log, the newest: it has no index by who made a change.


async def find(
    db: AsyncSession, workspace_id: UUID, kind: IntegrationKind, *, lock: bool = False
) -> Integration | None:
    """Locked, with the workspace, when it is about to be written: two at once would both make one."""
    if lock:
        await workspaces.get(db, workspace_id, lock=True)
    asked = select(Integration).where(Integration.workspace_id == workspace_id, Integration.kind == kind)
    found: Integration | None = await db.scalar(asked.with_for_update() if lock else asked)
    return found


async def get(db: AsyncSession, workspace_id: UUID, kind: IntegrationKind) -> Integration:
    """Raises `NotFound`, with the way out."""
    found = await find(db, workspace_id, kind)
    if found is None:
        raise NotFound(f"There is no {kind} here yet: PUT /api/v1/integrations/{kind} with its address.")
    return found


async def put(
    db: AsyncSession, workspace_id: UUID, row: Integration | None, values: dict[str, Any]
) -> Integration:
    """Write these columns of the one that `find` locked, or of a new one."""
    if row is None:
        row = Integration(workspace_id=workspace_id)
        db.add(row)
    for name, value in values.items():
        setattr(row, name, value)
    row.updated_at = func.clock_timestamp()
    await db.flush()
    await db.refresh(row)
    return row


async def delete(db: AsyncSession, workspace_id: UUID, kind: IntegrationKind) -> None:
    """Raises `NotFound`."""
    await db.delete(await get(db, workspace_id, kind))
    await db.flush()


class Call(NamedTuple):
    """A change that was made by a key."""

    at: datetime
    action: str
    object_kind: str
    object_id: UUID | None


_CALLS = text(
    f"""
    select l.at, l.action, l.object_kind, l.object_id from (
        select a.id, a.at, a.action, a.object_kind, a.object_id, a.actor from audit_log a
        where a.workspace_id = :workspace order by a.id desc limit {_LOOKED_AT}
    ) l
    where l.actor ->> 'kind' = 'key' and l.actor ->> 'id' = :key
    order by l.id desc limit :limit
    """
)


async def calls(db: AsyncSession, workspace_id: UUID, key_id: UUID, limit: int = 5) -> list[Call]:
    """The last changes that a key made, the newest first, as far as the newest of the audit log go."""
    found = await db.execute(_CALLS, {"workspace": workspace_id, "key": str(key_id), "limit": limit})
    return [Call(*row) for row in found]


class Told(NamedTuple):
    """A webhook, and the last that was on its way to it."""

    webhook_id: UUID
    name: str
    state: str
    failing_since: datetime | None
    event_type: str | None
    delivery_state: str | None
    delivered_at: datetime | None
    status: int | None
    reason: str | None


_LAST = text(
    """
    select a.id, d.event_type, d.state, d.closed_at, d.status, d.reason
    from unnest(cast(:webhooks as uuid[])) a(id), lateral (
        select e.event_type, e.state, e.closed_at, e.status, e.reason from webhook_deliveries e
        where e.workspace_id = :workspace and e.webhook_id = a.id order by e.id desc limit 1
    ) d
    """
)


async def told(db: AsyncSession, workspace_id: UUID, base: str) -> list[Told]:
    """The webhooks that lead to this address, with what was told them last."""
    asked = select(Webhook).where(Webhook.workspace_id == workspace_id).order_by(Webhook.id)
    there = [each for each in await db.scalars(asked) if leads_to(each.url, base)]
    last = await _last(db, workspace_id, [each.id for each in there])
    nothing = (None,) * 5
    return [Told(w.id, w.name, w.state, w.failing_since, *last.get(w.id, nothing)) for w in there]


async def _last(db: AsyncSession, workspace_id: UUID, webhooks: Sequence[UUID]) -> dict[UUID, Any]:
    found = await db.execute(_LAST, {"workspace": workspace_id, "webhooks": [*webhooks]})
    return {row[0]: tuple(row[1:]) for row in found}

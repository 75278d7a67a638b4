"""What tests of announcements begin with: a webhook that asks for something, and what it is told."""

from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.announcements import LARGEST, AnnouncementType
from domain.catalogue import CATALOGUE
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.webhooks import Webhook

Told = tuple[str, dict[str, Any]]


async def a_webhook(
    db: AsyncSession, *types: str, state: str = "enabled", workspace_id: UUID = DEFAULT_WORKSPACE
) -> UUID:
    """It asks for these, or for everything."""
    webhook = Webhook(
        workspace_id=workspace_id,
        name="n8n",
        url="https://n8n.example/x",
        event_types=list(types) or ["*"],
        state=state,
        secret="sealed",
    )
    db.add(webhook)
    await db.flush()
    return webhook.id


async def listening(sessions: Sessions, *types: str, workspace_id: UUID = DEFAULT_WORKSPACE) -> UUID:
    """A webhook that asks for these, or for everything, committed."""
    async with sessions(workspace_id) as db:
        return await a_webhook(db, *types, workspace_id=workspace_id)


async def told(db: AsyncSession) -> list[Told]:
    """What webhooks were told since the last look, each type and data; the catalogue has its like."""
    rows = await db.execute(text("select event_type, body from webhook_deliveries order by id"))
    found = []
    for type_, body in [*rows]:
        said = orjson.loads(body)
        assert len(body.encode()) <= LARGEST
        assert said.keys() == {"type", "timestamp", "data"}
        assert said["type"] == type_
        CATALOGUE[AnnouncementType(type_)].model_validate_json(orjson.dumps(said["data"]), strict=True)
        found.append((type_, said["data"]))
    await db.execute(text("delete from webhook_deliveries"))
    return found


async def were_told(sessions: Sessions, workspace_id: UUID = DEFAULT_WORKSPACE) -> list[Told]:
    async with sessions(workspace_id) as db:
        return await told(db)


def types(found: list[Told]) -> list[str]:
    return [type_ for type_, _ in found]

"""Test sends by one provider: a line of the ledger that goes by it alone."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from domain import trials
from domain.channels import Channel
from domain.messages import PROVIDER_TEST, MessageClass, SourceKind, Work
from models.messages import Message, Queued
from models.queries import bodies, pokes


async def queue(
    db: AsyncSession,
    workspace_id: UUID,
    provider_id: UUID,
    channel: Channel,
    address: str,
    holes: Sequence[str],
    now: datetime,
) -> UUID:
    """Queue the channel's words to one address, by this provider and no other, and wake the outbox.

    Returns the message's id.
    """
    version = await bodies.version(db, workspace_id, trials.SAID[channel])
    line = insert(Message).values(
        workspace_id=workspace_id,
        queue_id=workspace_id,
        source_id=workspace_id,
        source_kind=SourceKind.OUTBOX,
        step=PROVIDER_TEST,
        occasion=uuid7(),
        channel=channel,
        message_class=MessageClass.TEST,
        template_version_id=version,
        bare=address,
        holes=list(holes),
        provider=provider_id,
        due_at=now,
    )
    message_id = (await db.scalars(line.returning(Message.id))).one()
    turn = {"workspace_id": workspace_id, "queue_id": workspace_id, "due_at": now, "message_id": message_id}
    await db.execute(insert(Queued).values(turn))
    pokes.poke(db, workspace_id, Work.SEND)
    return message_id

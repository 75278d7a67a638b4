"""Test sends by one provider: a line of the ledger that goes by it alone."""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from domain import trials
from domain.channels import Channel
from domain.messages import PROVIDER_TEST, MessageClass, SourceKind, Work
from domain.short_templates import ShortTemplate
from models.messages import Message, Queued
from models.queries import pokes, workspaces
from models.templates import Template, TemplateVersion


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
    version = await _version(db, workspace_id, channel)
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


async def _version(db: AsyncSession, workspace_id: UUID, channel: Channel) -> UUID:
    """The version that says so, of the channel's hidden template; both are made when first needed."""
    await workspaces.get(db, workspace_id, lock=True)  # Two at once would both make one.
    hidden = select(Template.id).where(Template.channel == channel, Template.hidden).order_by(Template.id)
    template_id = await db.scalar(hidden.limit(1))
    if template_id is None:
        template = Template(workspace_id=workspace_id, name="Single messages", channel=channel, hidden=True)
        db.add(template)
        await db.flush()
        template_id = template.id
    said = _said(channel)
    digest = sha256(orjson.dumps([PROVIDER_TEST, channel, said], option=orjson.OPT_SORT_KEYS)).digest()
    known = select(TemplateVersion.id).where(
        TemplateVersion.template_id == template_id, TemplateVersion.hash == digest
    )
    if (found := await db.scalar(known)) is not None:
        return found
    made = TemplateVersion(
        workspace_id=workspace_id,
        template_id=template_id,
        number=int.from_bytes(digest[:4]) >> 1,  # It only tells versions apart.
        hash=digest,
        **said,
    )
    db.add(made)
    await db.flush()
    return made.id


def _said(channel: Channel) -> dict[str, Any]:
    """The columns of a version."""
    said = trials.SAID[channel]
    if isinstance(said, ShortTemplate):
        return {"subject": "", "html": "", "content": dict(said.content)}
    return {"subject": said.subject, "html": said.html, "text": said.text, "preheader": said.preheader}

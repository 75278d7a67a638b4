"""What single messages say in words of their own: versions of a template that nobody sees, one for the same.

A workspace has one hidden template for each channel. Whoever sends the same words again, with other values
for what differs, sends the same version.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain import singles
from domain.channels import Channel
from domain.short_templates import ShortTemplate
from models.base import act_as
from models.queries.templates import Said
from models.templates import Template, TemplateVersion

_NAME = "Single messages"
_ACTOR = text("select current_setting('app.actor', true)")


async def version(db: AsyncSession, workspace_id: UUID, said: Said) -> UUID:
    """The id of the version that says this; it is made if there is none yet, once, whoever asks meanwhile."""
    channel = said.channel if isinstance(said, ShortTemplate) else Channel.EMAIL
    columns = _columns(said)
    digest = singles.same(channel, columns)
    known = (
        select(TemplateVersion.id)
        .join(
            Template,
            (Template.workspace_id == TemplateVersion.workspace_id)
            & (Template.id == TemplateVersion.template_id),
        )
        .where(
            Template.workspace_id == workspace_id,
            Template.channel == channel,
            Template.hidden,
            TemplateVersion.hash == digest,
        )
    )
    if (found := await db.scalar(known)) is not None:
        return found
    async with _unlogged(db):
        row = {"workspace_id": workspace_id, "template_id": await _template(db, workspace_id, channel)}
        # Its number only tells versions apart. Counting up would let nobody else in before we commit.
        for at in range(0, len(digest), 4):
            number = int.from_bytes(digest[at : at + 4]) >> 1
            new = row | columns | {"number": number, "hash": digest}
            await db.execute(insert(TemplateVersion).values(new).on_conflict_do_nothing())
            if (found := await db.scalar(known)) is not None:
                return found
    raise AssertionError("eight numbers of 31 bits were all taken")


@asynccontextmanager
async def _unlogged(db: AsyncSession) -> AsyncIterator[None]:
    """The message says who asked for it: the audit log is about what stays."""
    actor = await db.scalar(_ACTOR)
    await act_as(db, "")
    yield
    await act_as(db, actor or "")


async def _template(db: AsyncSession, workspace_id: UUID, channel: Channel) -> UUID:
    known = select(Template.id).where(
        Template.workspace_id == workspace_id, Template.channel == channel, Template.hidden
    )
    if (found := await db.scalar(known)) is not None:
        return found
    row = {"workspace_id": workspace_id, "name": _NAME, "channel": channel, "hidden": True}
    await db.execute(insert(Template).values(row).on_conflict_do_nothing())
    return (await db.scalars(known)).one()


def _columns(said: Said) -> dict[str, Any]:
    if isinstance(said, ShortTemplate):
        return {"subject": "", "html": "", "content": dict(said.content)}
    return {name: getattr(said, name) for name in ("subject", "html", "text", "preheader")}

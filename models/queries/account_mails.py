"""Mail about accounts: lines of the system workspace's ledger, in the transaction that they are about."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from domain import templates as domain
from domain.account_mails import MAILS
from domain.messages import MessageClass
from domain.workspaces import SYSTEM_WORKSPACE
from models.queries import messages, templates
from models.templates import Template, TemplateVersion

_SENDER = text(
    """
    update workspaces set sender_email = :sender, sending_email = :sender, sender_name = 'Campanile',
        updated_at = now()
    where id = :workspace and sending_email is distinct from :sender
    """
)


async def queue(
    db: AsyncSession,
    kind: str,
    address: str,
    variables: Mapping[str, str],
    *,
    public_url: str,
    sender: str,
    now: datetime,
) -> None:
    """Queue one of `domain.account_mails.MAILS`, within `Sessions.accounts`."""
    await db.execute(_SENDER, {"sender": sender, "workspace": SYSTEM_WORKSPACE})
    version = await _version(db, kind)
    holes = domain.render(_compiled(kind, public_url), {"name": "", "email": address, **variables})
    await messages.queue_letters(
        db,
        SYSTEM_WORKSPACE,
        [(address, holes)],
        step=kind,
        message_class=MessageClass.TRANSACTIONAL,
        template_version_id=version.id,
        request_id=uuid7(),
        now=now,
    )


async def _version(db: AsyncSession, kind: str) -> TemplateVersion:
    """The template as this release has it: a release that changed it makes a new version."""
    of_system = select(Template.id).where(Template.workspace_id == SYSTEM_WORKSPACE, Template.name == kind)
    known = await db.scalar(of_system.order_by(Template.id).limit(1))
    if known is None:
        return (await templates.create(db, SYSTEM_WORKSPACE, kind, MAILS[kind]))[1]
    newest = await templates.newest(db, known)
    if templates.content_of(newest) == MAILS[kind]:
        return newest
    return (await templates.change(db, known, kind, MAILS[kind]))[1]


@cache
def _compiled(kind: str, public_url: str) -> domain.Compiled:
    return domain.compile(
        MAILS[kind], workspace_name="Campanile", postal_address="", public_url=public_url, way_out=False
    )

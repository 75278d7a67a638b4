"""Coming on a list by a form: asked for, confirmed by mail, and done."""

from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from domain import sign_ups
from domain import templates as domain
from domain.errors import Invalid, NotFound, Refused
from domain.lists import MemberState, OptIn
from domain.messages import MessageClass
from domain.profiles import ConsentSource, ConsentState, IdentityKind, Purpose
from models.lists import List, ListMember
from models.queries import (
    lists,
    messages,
    people_lock,
    profiles,
    profiles_written,
    rows,
    templates,
    workspaces,
)
from models.queries.profiles import HERE
from models.queries.profiles_written import Item
from models.templates import Template, TemplateVersion
from models.workspaces import Workspace


class Form(NamedTuple):
    """What the form says of its list."""

    list_name: str
    description: str | None
    double: bool
    sender: str  # By which name people know who asks.


async def form(db: AsyncSession, workspace_id: UUID, list_id: UUID) -> Form:
    """Raises `NotFound`, also where the workspace was closed."""
    if not await workspaces.is_open(db):
        raise NotFound("This workspace was closed.")
    found = await rows.get(db, List, list_id)
    sender = _sender(await workspaces.get(db, workspace_id))
    return Form(found.name, found.description, found.opt_in == OptIn.DOUBLE, sender)


def _sender(workspace: Workspace) -> str:
    return workspace.sender_name or workspace.name


_PENDING = text(
    f"""
    insert into list_members as l (workspace_id, list_id, profile_id, state, source, at)
    values ({HERE}, :list, :profile, '{MemberState.PENDING}', '{sign_ups.FORM}', :now)
    on conflict (workspace_id, list_id, profile_id) do update
        set state = excluded.state, source = excluded.source, at = excluded.at
        where l.state <> '{MemberState.MEMBER}'
    returning state
    """
)


async def ask(
    db: AsyncSession, workspace_id: UUID, list_id: UUID, email: str, now: datetime
) -> tuple[Literal["pending", "member"], UUID]:
    """Somebody filled in the form with this address, in its normal form; and whose profile that is.

    `pending`: they are to be asked by mail. `member`: they are on the list, now or since long. On a list
    without that mail nobody knows whose word it was: so it lifts no denial. Raises `NotFound`.
    """
    asked = await form(db, workspace_id, list_id)
    await people_lock.take_here(db)
    item = Item(names={IdentityKind.EMAIL: email})
    known = await profiles.find(db, IdentityKind.EMAIL, email)  # Whose primary address stays what it is.
    if known is None:
        [written] = await profiles_written.write(db, workspace_id, [item], now)
        assert written.profile_id is not None
        known = written.profile_id
    who = await profiles.alive(db, known)
    if not asked.double:
        await lists.add(db, list_id, [who], sign_ups.FORM, now)
        await profiles.consent(db, who, Purpose.EMAIL, ConsentState.GRANTED, sign_ups.FORM, now)
        return "member", who
    values = {"list": list_id, "profile": who, "now": now}
    pending = (await db.execute(_PENDING, values)).first() is not None
    return ("pending" if pending else "member"), who


async def write_to(
    db: AsyncSession,
    workspace_id: UUID,
    list_id: UUID,
    email: str,
    link: str,
    *,
    public_url: str,
    now: datetime,
) -> None:
    """Queue the mail that asks whether it was them.

    Raises `Refused` where the workspace has no sender or address yet, and `Invalid` where its own template
    for this can't be used.
    """
    workspace = await workspaces.get(db, workspace_id)
    if not workspace.sending_email or not workspace.postal_address:
        raise Refused(
            "The workspace has no verified sender or no postal address: set them by PATCH /api/v1/workspace."
        )
    form_of = await rows.get(db, List, list_id)
    version = await _version(db, workspace_id)
    compiled = domain.compile(
        templates.content_of(version),
        workspace_name=workspace.name,
        postal_address=workspace.postal_address or "",
        public_url=public_url,
    )
    try:
        said = {"list": form_of.name, "link": link, "sender": _sender(workspace), "email": email}
        holes = domain.render(compiled, said)
    except domain.TemplateError as error:
        raise Invalid(error.message) from error
    await messages.queue_letters(
        db,
        workspace_id,
        [(email, holes)],
        step=sign_ups.STEP,
        message_class=MessageClass.TRANSACTIONAL,
        template_version_id=version.id,
        request_id=uuid7(),
        now=now,
    )


async def _version(db: AsyncSession, workspace_id: UUID) -> TemplateVersion:
    """The newest version of the workspace's template, which is made if it has none."""
    named = select(Template.id).where(Template.name == sign_ups.NAME).order_by(Template.id).limit(1)
    known = await db.scalar(named)
    if known is None:
        return (await templates.create(db, workspace_id, sign_ups.NAME, sign_ups.MAIL))[1]
    return await templates.newest(db, known)


async def confirm(db: AsyncSession, list_id: UUID, profile_id: UUID, now: datetime) -> bool:
    """The person followed the link and said yes. Returns False when nobody asks them any more.

    From then on they are on the list, and allow marketing by email by their own word.
    """
    await people_lock.take_here(db)
    who = await profiles.alive(db, profile_id)
    where = (ListMember.list_id == list_id, ListMember.profile_id == who)
    member = await db.scalar(select(ListMember).where(*where).with_for_update())
    if member is None or member.state == MemberState.LEFT:
        return False
    if member.state == MemberState.PENDING:
        await lists.add(db, list_id, [who], ConsentSource.PERSON, now)
        await profiles.consent(db, who, Purpose.EMAIL, ConsentState.GRANTED, ConsentSource.PERSON, now)
    return True


async def is_asked(db: AsyncSession, list_id: UUID, profile_id: UUID) -> bool:
    """Whether a yes of this person would put them on the list, or has done so."""
    who = await profiles.survivor(db, profile_id)
    where = (ListMember.list_id == list_id, ListMember.profile_id == who)
    state = await db.scalar(select(ListMember.state).where(*where))
    return state in (MemberState.PENDING, MemberState.MEMBER)

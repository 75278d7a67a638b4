"""Members of a workspace, and who is asked to become one."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from fastapi import Request, status
from pydantic import Field

from api.callers import Asker, Caller, Person, WorkspaceId, actor, as_now, needs, permitted
from api.deps import Db, Pages
from api.errors import Forbidden
from api.limits import guess
from api.manners import Feature
from api.routes.auth import Email, Token, link_to, mail
from api.shapes import In, Out, Page, example, page_of
from api.stack import Opened
from domain.errors import Conflict, Invalid
from domain.roles import MAY, Permission, Role, may_give
from models.members import Invitation
from models.queries import accounts, invitations, members, workspaces

router = Feature(tags=["members"])

_ID = "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f"


class MemberOut(Out):
    user_id: UUID
    email: str
    name: str
    role: Role
    second_factor: bool = Field(description="Whether they sign in with one.")
    joined_at: datetime

    model_config = example(
        {
            "user_id": _ID,
            "email": "ada@example.com",
            "name": "Ada Lovelace",
            "role": "marketer",
            "second_factor": True,
            "joined_at": "2026-11-21T09:00:00Z",
        }
    )


class RoleIn(In):
    role: Role

    model_config = example({"role": "admin"})


class InvitationIn(In):
    email: Email
    role: Role

    model_config = example({"email": "grace@example.com", "role": "marketer"})


class InvitationOut(Out):
    id: UUID
    email: str
    role: Role
    state: Literal["open", "accepted", "revoked", "expired"]
    invited_by: str
    created_at: datetime
    expires_at: datetime

    model_config = example(
        {
            "id": _ID,
            "email": "grace@example.com",
            "role": "marketer",
            "state": "open",
            "invited_by": "ada@example.com",
            "created_at": "2026-11-21T09:00:00Z",
            "expires_at": "2026-11-28T09:00:00Z",
        }
    )


class AcceptIn(In):
    token: Token = Field(description="From the link in the mail.")

    model_config = example({"token": "6Jv2Jm3b0u8n3o1rT5QkqkVt0bJx8m5m2r7s1w9e4yA"})


class Joined(Out):
    workspace_id: UUID
    role: Role

    model_config = example({"workspace_id": _ID, "role": "marketer"})


class HandOverIn(In):
    user_id: UUID = Field(description="The member who shall own the workspace.")

    model_config = example({"user_id": _ID})


@router.get("/members", dependencies=[needs(Permission.MEMBERS_READ)])
@router.get("/users", dependencies=[needs(Permission.MEMBERS_READ)], name="list_users")
async def list_members(opened: Opened, workspace_id: WorkspaceId, pages: Pages) -> Page[MemberOut]:
    """The people of the workspace, who joined last first."""
    async with opened.sessions.accounts() as db:
        found = await members.page(db, workspace_id, pages.after, pages.limit)
    return page_of(
        [MemberOut.model_validate(each) for each in found], [each.user_id for each in found], pages.limit
    )


@router.patch(
    "/members/{user_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[needs(Permission.MEMBERS_WRITE)],
)
async def change_role(
    user_id: UUID, body: RoleIn, opened: Opened, asker: Asker, workspace_id: WorkspaceId
) -> None:
    """Give a member another role. Owners alone make and unmake owners. Invitations that they made end."""
    now = opened.clock.now()
    async with opened.sessions(workspace_id, asker.actor) as db:
        await members.one_change_at_a_time(db)
        giver = await as_now(db, asker, Permission.MEMBERS_WRITE, now)
        before = Role((await members.get(db, user_id)).role)
        _refuse_beyond(giver, before, body.role)
        await members.change_role(db, user_id, body.role)
    opened.visitors.forget()
    if before is not body.role:
        async with opened.sessions.accounts(asker.actor) as db:
            await invitations.revoke_made_by(db, workspace_id, user_id, now)


@router.delete("/members/{user_id}", status_code=status.HTTP_204_NO_CONTENT)
async def remove_member(user_id: UUID, opened: Opened, asker: Asker, workspace_id: WorkspaceId) -> None:
    """Remove a member, or leave, which everybody may but the last owner.

    Invitations that they made, or have, end with that. Who came by an issuer of the workspace, which an admin
    may have made, leaves as an admin could remove them.
    """
    now = opened.clock.now()
    leaves = asker.kind == "user" and asker.id == user_id
    if not leaves:
        permitted(asker, Permission.MEMBERS_WRITE)
    async with opened.sessions(workspace_id, asker.actor) as db:
        await members.one_change_at_a_time(db)
        role = Role((await members.get(db, user_id)).role)
        if not leaves:
            _refuse_beyond(await as_now(db, asker, Permission.MEMBERS_WRITE, now), role)
        elif asker.limited_to is not None and role is Role.OWNER:
            raise Forbidden("You came by an issuer: to leave, an owner signs in by POST /api/v1/auth/login.")
        await members.remove(db, user_id)
    opened.visitors.forget()
    async with opened.sessions.accounts(asker.actor) as db:
        await invitations.revoke_made_by(db, workspace_id, user_id, now)
        await invitations.revoke_made_to(db, workspace_id, user_id, now)


@router.post(
    "/workspace/hand-over",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[needs(Permission.OWNERSHIP_WRITE)],
)
async def hand_over(body: HandOverIn, opened: Opened, asker: Person, db: Db) -> None:
    """Let another member own the workspace, and be an admin."""
    await members.one_change_at_a_time(db)
    await as_now(db, asker, Permission.OWNERSHIP_WRITE, opened.clock.now())
    await members.hand_over(db, asker.id, body.user_id)
    opened.visitors.forget()


@router.post(
    "/invitations", status_code=status.HTTP_201_CREATED, dependencies=[needs(Permission.MEMBERS_WRITE)]
)
async def invite(
    body: InvitationIn, request: Request, opened: Opened, asker: Asker, workspace_id: WorkspaceId
) -> InvitationOut:
    """Invite somebody by mail. An open invitation to the same address is replaced."""
    _refuse_beyond(asker, body.role)
    await guess(opened, request, "invite", body.email)
    now, token = opened.clock.now(), accounts.new_token()
    async with opened.sessions.accounts() as db:
        if await members.is_member(db, workspace_id, body.email):
            raise Conflict("They are a member already: change their role by PATCH /api/v1/members/{user_id}.")
    async with opened.sessions(workspace_id, asker.actor) as db:
        _refuse_beyond(await as_now(db, asker, Permission.MEMBERS_WRITE, now), body.role)
        workspace = await workspaces.get(db, workspace_id)
        made = await invitations.create(db, workspace_id, body.email, body.role, token, asker.name, now)
    async with opened.sessions.accounts() as db:
        await mail(
            opened,
            db,
            "invitation",
            body.email,
            link=link_to(opened, "join", token),
            workspace_name=workspace.name,
            inviter=asker.name,
            role=body.role.value,
        )
    return shown(made, now)


@router.get("/invitations", dependencies=[needs(Permission.MEMBERS_READ)])
async def list_invitations(opened: Opened, db: Db, pages: Pages) -> Page[InvitationOut]:
    """Invitations, the newest first, whatever became of them."""
    found = await invitations.page(db, pages.after, pages.limit)
    now = opened.clock.now()
    return page_of([shown(each, now) for each in found], [each.id for each in found], pages.limit)


@router.delete(
    "/invitations/{invitation_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[needs(Permission.MEMBERS_WRITE)],
)
async def revoke_invitation(invitation_id: UUID, opened: Opened, db: Db) -> None:
    """Revoke an invitation: its link works no more."""
    await invitations.revoke(db, invitation_id, opened.clock.now())


@router.post("/invitations/accept")
async def accept_invitation(body: AcceptIn, opened: Opened, asker: Person) -> Joined:
    """Join a workspace, signed in with the address that was invited."""
    async with opened.sessions.accounts(actor("user", asker.id, asker.name)) as db:
        invitation = await invitations.by_token(db, body.token, opened.clock.now())
        if invitation is None:
            raise Invalid("This invitation is unknown, was used or revoked, or is too old.", "/token")
        if invitation.email != asker.name:
            raise Forbidden(f"This invitation is for another address, and you are signed in as {asker.name}.")
        await invitations.accept(db, invitation, asker.id, opened.clock.now())
        joined = Joined(workspace_id=invitation.workspace_id, role=Role(invitation.role))
    opened.visitors.forget()
    return joined


def _refuse_beyond(asker: Caller, *roles: Role) -> None:
    """A key counts as an admin: a program makes no owners. And nobody gives or takes more than they have."""
    giver = asker.role or Role.ADMIN
    if not all(may_give(giver, role) for role in roles):
        raise Forbidden("Only an owner can make somebody an owner, or change somebody who is.")
    for role in roles:
        if lacking := sorted(MAY[role] - asker.permissions):
            raise Forbidden(f"The role {role} may do more than you, who lack {', '.join(lacking)}.")


def shown(row: Invitation, now: datetime) -> InvitationOut:
    match row:
        case Invitation(accepted_at=at) if at is not None:
            state = "accepted"
        case Invitation(revoked_at=at) if at is not None:
            state = "revoked"
        case _:
            state = "open" if row.expires_at > now else "expired"
    return InvitationOut.model_validate({**vars(row), "state": state})

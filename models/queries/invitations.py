"""Invitations: asked by mail, accepted by who reads it. Made behind the wall, accepted across workspaces."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain.accounts import INVITATION_LIFETIME
from domain.errors import Conflict, NotFound
from domain.keys import hash_of
from models.accounts import User
from models.members import Invitation, Membership
from models.workspaces import Workspace


async def create(
    db: AsyncSession, workspace_id: UUID, email: str, role: str, token: str, invited_by: str, now: datetime
) -> Invitation:
    """One invitation for an address at a time: those from before are revoked."""
    open_ones = select(Invitation).where(
        Invitation.email == email, Invitation.accepted_at.is_(None), Invitation.revoked_at.is_(None)
    )
    for before in await db.scalars(open_ones):
        before.revoked_at = now
    invitation = Invitation(
        workspace_id=workspace_id,
        email=email,
        role=role,
        hash=hash_of(token),
        invited_by=invited_by,
        expires_at=now + INVITATION_LIFETIME,
    )
    db.add(invitation)
    await db.flush()
    await db.refresh(invitation)
    return invitation


async def page(db: AsyncSession, after: UUID | None, limit: int) -> Sequence[Invitation]:
    """The newest first, whatever became of them."""
    asked = select(Invitation).order_by(Invitation.id.desc()).limit(limit)
    if after is not None:
        asked = asked.where(Invitation.id < after)
    return list(await db.scalars(asked))


async def revoke(db: AsyncSession, invitation_id: UUID, now: datetime) -> None:
    """Raises `NotFound`; `Conflict` for one that was accepted."""
    invitation = await db.scalar(select(Invitation).where(Invitation.id == invitation_id).with_for_update())
    if invitation is None:
        raise NotFound(f"There is no invitation {invitation_id}.")
    if invitation.accepted_at is not None:
        raise Conflict("This invitation was accepted: remove the member instead.")
    invitation.revoked_at = invitation.revoked_at or now
    await db.flush()


# As the engine, who looks across workspaces.


async def by_token(db: AsyncSession, token: str, now: datetime) -> Invitation | None:
    """The invitation whose token this is, if it is still good; locked, so that it is accepted once."""
    found = (
        select(Invitation)
        .join(Workspace, Workspace.id == Invitation.workspace_id)
        .where(
            Invitation.hash == hash_of(token),
            Invitation.accepted_at.is_(None),
            Invitation.revoked_at.is_(None),
            Invitation.expires_at > now,
            Workspace.deleted_at.is_(None),
        )
        .with_for_update(of=Invitation)
    )
    return await db.scalar(found)


async def revoke_made_by(db: AsyncSession, workspace_id: UUID, user_id: UUID, now: datetime) -> None:
    """What this user asked of others in the workspace holds no more, since their rights are others by now."""
    await _revoke(db, workspace_id, Invitation.invited_by == _address(user_id), now)


async def revoke_made_to(db: AsyncSession, workspace_id: UUID, user_id: UUID, now: datetime) -> None:
    """This user was removed, and does not come back by what was asked of them before."""
    await _revoke(db, workspace_id, Invitation.email == _address(user_id), now)


def _address(user_id: UUID) -> ScalarSelect[str]:
    return select(User.email).where(User.id == user_id).scalar_subquery()


async def _revoke(db: AsyncSession, workspace_id: UUID, whose: ColumnElement[bool], now: datetime) -> None:
    open_ones = (
        Invitation.workspace_id == workspace_id,
        Invitation.accepted_at.is_(None),
        Invitation.revoked_at.is_(None),
    )
    await db.execute(update(Invitation).where(*open_ones, whose).values(revoked_at=now))


async def accept(db: AsyncSession, invitation: Invitation, user_id: UUID, now: datetime) -> None:
    """The user becomes a member; who is one already keeps the role that they have."""
    invitation.accepted_at = now
    member = insert(Membership).values(
        workspace_id=invitation.workspace_id, user_id=user_id, role=invitation.role
    )
    await db.execute(member.on_conflict_do_nothing())
    await db.flush()

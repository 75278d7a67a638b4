"""Sign-ins at issuers, as the engine: those under way, and to whose account an identity there leads."""

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain.keys import hash_of
from models.accounts import ExternalIdentity, RecoveryCode, Session, SignIn, User, UserToken
from models.members import Invitation, Membership
from models.workspaces import Workspace

LIFETIME = timedelta(minutes=10)


class Secrets(NamedTuple):
    """What a sign-in hands out, each once: of the first two, we keep only hashes."""

    state: str  # Through the issuer and back.
    browser: str  # In a cookie of the browser that began.
    nonce: str  # Into the id token.
    verifier: str  # With the code.


async def begin(
    db: AsyncSession, given: Secrets, workspace_id: UUID | None, issuer_id: UUID | None, now: datetime
) -> None:
    """Note a sign-in. Those that nobody finished in time are forgotten."""
    await db.execute(delete(SignIn).where(SignIn.expires_at <= now))
    db.add(
        SignIn(
            hash=hash_of(given.state),
            workspace_id=workspace_id,
            issuer_id=issuer_id,
            browser_hash=hash_of(given.browser),
            nonce=given.nonce,
            verifier=given.verifier,
            expires_at=now + LIFETIME,
        )
    )
    await db.flush()


async def take(db: AsyncSession, state: str, now: datetime) -> SignIn | None:
    """The sign-in with this state, which is gone with this; None when it is unknown, used, or too old."""
    taken = delete(SignIn).where(SignIn.hash == hash_of(state)).returning(SignIn)
    found = (await db.scalars(taken)).one_or_none()
    return found if found and found.expires_at > now else None


async def known(db: AsyncSession, issuer: str, subject: str) -> User | None:
    """Whose identity at the issuer this is."""
    asked = select(User).join(ExternalIdentity, ExternalIdentity.user_id == User.id)
    return await db.scalar(
        asked.where(ExternalIdentity.issuer == issuer, ExternalIdentity.subject == subject)
    )


async def link(db: AsyncSession, issuer: str, subject: str, user_id: UUID, now: datetime) -> None:
    """From now on this identity leads to this account; where it leads somewhere already, it stays so."""
    values = {"issuer": issuer, "subject": subject, "user_id": user_id, "created_at": now}
    await db.execute(insert(ExternalIdentity).values(**values).on_conflict_do_nothing())


async def hand_to_its_owner(db: AsyncSession, user_id: UUID, now: datetime) -> None:
    """Somebody has proved the address of an account whose address nobody had proved.

    Whoever made it may have been somebody else, so nothing that they set opens it any more.
    """
    nothing = {"password_hash": None, "totp_secret": None, "totp_since": None, "verified_at": now}
    await db.execute(update(User).where(User.id == user_id).values(**nothing))
    for kind in (UserToken, RecoveryCode):
        await db.execute(delete(kind).where(kind.user_id == user_id))
    open_ones = update(Session).where(Session.user_id == user_id, Session.ended_at.is_(None))
    await db.execute(open_ones.values(ended_at=now))


async def is_member(db: AsyncSession, workspace_id: UUID, user_id: UUID) -> bool:
    mine = select(Membership.user_id).where(
        Membership.workspace_id == workspace_id, Membership.user_id == user_id
    )
    return await db.scalar(mine) is not None


async def invitation(
    db: AsyncSession, email: str, now: datetime, workspace_id: UUID | None = None
) -> Invitation | None:
    """An invitation to this address that is still good: to this workspace, or to any; locked."""
    good = (
        select(Invitation)
        .join(Workspace, Workspace.id == Invitation.workspace_id)
        .where(
            Invitation.email == email,
            Invitation.accepted_at.is_(None),
            Invitation.revoked_at.is_(None),
            Invitation.expires_at > now,
            Workspace.deleted_at.is_(None),
        )
    )
    if workspace_id is not None:
        good = good.where(Invitation.workspace_id == workspace_id)
    return await db.scalar(good.limit(1).with_for_update(of=Invitation))


async def forget(db: AsyncSession, workspace_id: UUID, issuer: str, now: datetime) -> None:
    """Nobody is known by this issuer of the workspace any more; whoever came by one of its issuers goes."""
    await db.execute(delete(ExternalIdentity).where(ExternalIdentity.issuer == issuer))
    open_ones = update(Session).where(Session.workspace_id == workspace_id, Session.ended_at.is_(None))
    await db.execute(open_ones.values(ended_at=now))

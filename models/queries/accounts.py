"""Accounts and their sessions, within `Sessions.accounts`. Of every token, only the hash is kept."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import delete, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain.accounts import LIFETIME, SESSION_LIFETIME, Purpose
from domain.keys import hash_of
from domain.second_factor import plain
from models.accounts import RecoveryCode, RefreshToken, Session, SignIn, User, UserToken
from models.base import Db, changed


def new_token() -> str:
    """256 random bits in 43 characters."""
    return secrets.token_urlsafe(32)


# Who there is.


async def by_email(db: AsyncSession, email: str, *, lock: bool = False) -> User | None:
    asked = select(User).where(User.email == email)
    return await db.scalar(asked.with_for_update() if lock else asked)


async def get(db: AsyncSession, user_id: UUID, *, lock: bool = False) -> User:
    """The user of a session that was just found good."""
    asked = select(User).where(User.id == user_id)
    return (await db.scalars(asked.with_for_update() if lock else asked)).one()


class Account(NamedTuple):
    """A user as they see themselves."""

    id: UUID
    email: str
    name: str
    has_password: bool
    second_factor: bool
    created_at: datetime
    updated_at: datetime


_ACCOUNT = text(
    """
    select id, email, name, password_hash is not null as has_password,
        totp_since is not null as second_factor, created_at, updated_at
    from users where id = :user
    """
)


async def show(db: Db, user_id: UUID) -> Account:
    """The user of a session that was just found good."""
    [row] = await db.execute(_ACCOUNT, {"user": user_id})
    return Account(*row)


async def create(
    db: AsyncSession,
    email: str,
    name: str,
    password_hash: str | None,
    verified_at: datetime | None = None,
) -> User | None:
    """A new user, or None where the address has an account already."""
    added = (
        insert(User)
        .values(email=email, name=name, password_hash=password_hash, verified_at=verified_at)
        .on_conflict_do_nothing()
        .returning(User)
    )
    return (await db.scalars(added)).one_or_none()


async def change(db: AsyncSession, user_id: UUID, values: dict[str, Any]) -> User:
    """Write these columns of `models.accounts.User`, and return the row as it is then."""
    changing = (
        update(User)
        .where(User.id == user_id)
        .values(**values, updated_at=func.clock_timestamp())
        .returning(User)
        .execution_options(populate_existing=True)
    )
    return (await db.scalars(changing)).one()


# What is mailed.


async def issue(
    db: AsyncSession,
    user_id: UUID,
    purpose: Purpose,
    email: str,
    now: datetime,
    password_hash: str | None = None,
    name: str | None = None,
) -> str:
    """A token that proves whoever has it reads `email`. Those of the same purpose from before are dead.

    One of a registration brings its password and name along, and leaves those of other registrations alive:
    whose is answered, theirs is the account.
    """
    before = delete(UserToken).where(UserToken.user_id == user_id, UserToken.purpose == purpose)
    if password_hash is not None:
        before = before.where(UserToken.password_hash == password_hash)
    await db.execute(before)
    token = new_token()
    db.add(
        UserToken(
            hash=hash_of(token),
            user_id=user_id,
            purpose=purpose,
            email=email,
            expires_at=now + LIFETIME[purpose],
            password_hash=password_hash,
            name=name,
        )
    )
    await db.flush()
    return token


class Redeemed(NamedTuple):
    user_id: UUID
    purpose: Purpose
    email: str
    password_hash: str | None
    name: str | None


async def redeem(db: AsyncSession, token: str, purposes: Sequence[Purpose], now: datetime) -> Redeemed | None:
    """Use a mailed token up. None when it is unknown, for something else, used, or too old."""
    used = (
        update(UserToken)
        .where(
            UserToken.hash == hash_of(token),
            UserToken.purpose.in_(purposes),
            UserToken.used_at.is_(None),
            UserToken.expires_at > now,
        )
        .values(used_at=now)
        .returning(
            UserToken.user_id, UserToken.purpose, UserToken.email, UserToken.password_hash, UserToken.name
        )
    )
    row = (await db.execute(used)).one_or_none()
    return Redeemed(row[0], Purpose(row[1]), *row[2:]) if row else None


async def prove(
    db: AsyncSession, user_id: UUID, password_hash: str | None, name: str | None, now: datetime
) -> None:
    """The address was proved by who gave this password: who held the account before has nothing of it."""
    for kind in (UserToken, RecoveryCode):
        await db.execute(delete(kind).where(kind.user_id == user_id))
    await end_sessions(db, user_id, now)
    nothing = {"totp_secret": None, "totp_since": None, "totp_step": None}
    mine: dict[str, Any] = {"password_hash": password_hash, "verified_at": now, **nothing}
    await change(db, user_id, mine | ({"name": name} if name is not None else {}))


async def meant_for(db: AsyncSession, token: str, now: datetime) -> tuple[str, str] | None:
    """Address and name of whose mailed token this is, which stays unused; None when it is not good."""
    good = UserToken.hash == hash_of(token), UserToken.used_at.is_(None), UserToken.expires_at > now
    asked = select(User.email, User.name).join(UserToken, UserToken.user_id == User.id).where(*good)
    row = (await db.execute(asked)).one_or_none()
    return (row.email, row.name) if row else None


async def forget_tokens(db: AsyncSession, user_id: UUID) -> None:
    """No link that was mailed before works any more."""
    await db.execute(delete(UserToken).where(UserToken.user_id == user_id))


# Sessions.


async def open_session(
    db: AsyncSession, user_id: UUID, user_agent: str, now: datetime, limited_to: UUID | None = None
) -> tuple[UUID, str]:
    """A new session: its id and its first refresh token. `limited_to` is the only workspace it can enter."""
    session = Session(
        user_id=user_id,
        workspace_id=limited_to,
        user_agent=user_agent[:200],
        created_at=now,
        used_at=now,
        expires_at=now + SESSION_LIFETIME,
    )
    db.add(session)
    await db.flush()
    return session.id, await _issue_refresh(db, session.id, now)


async def _issue_refresh(db: AsyncSession, session_id: UUID, now: datetime) -> str:
    token = new_token()
    db.add(RefreshToken(hash=hash_of(token), session_id=session_id, issued_at=now))
    await db.flush()
    return token


class Refreshed(NamedTuple):
    user_id: UUID
    session_id: UUID
    token: str | None  # None when the old one came back: the session was ended for it.


_REFRESH = text(
    """
    select r.used_at, s.id as session_id, s.user_id
    from refresh_tokens r join sessions s on s.id = r.session_id
    where r.hash = :hash and s.ended_at is null and s.expires_at > :now
    for update
    """
)


async def refresh(db: AsyncSession, token: str, now: datetime) -> Refreshed | None:
    """Change a refresh token for a new one. None when it belongs to no session that is good.

    One that was used before ends the whole session (RFC 9700, section 4.14.2): commit it, and refuse.
    """
    hash_ = hash_of(token)
    found = (await db.execute(_REFRESH, {"hash": hash_, "now": now})).one_or_none()
    if found is None:
        return None
    if found.used_at is not None:
        await end_session(db, found.user_id, found.session_id, now)
        return Refreshed(found.user_id, found.session_id, None)
    await db.execute(update(RefreshToken).where(RefreshToken.hash == hash_).values(used_at=now))
    prolonged = update(Session).where(Session.id == found.session_id)
    await db.execute(prolonged.values(used_at=now, expires_at=now + SESSION_LIFETIME))
    return Refreshed(found.user_id, found.session_id, await _issue_refresh(db, found.session_id, now))


async def sessions_of(db: AsyncSession, user_id: UUID, now: datetime) -> Sequence[Session]:
    """Those that are good, the one that was used last first."""
    good = select(Session).where(Session.user_id == user_id, Session.ended_at.is_(None))
    return list(await db.scalars(good.where(Session.expires_at > now).order_by(Session.used_at.desc())))


async def end_session(db: AsyncSession, user_id: UUID, session_id: UUID, now: datetime) -> bool:
    """Whether there was one of this user's to end."""
    mine = (Session.id == session_id, Session.user_id == user_id, Session.ended_at.is_(None))
    return await changed(db, update(Session).where(*mine).values(ended_at=now)) > 0


async def end_sessions(db: AsyncSession, user_id: UUID, now: datetime, but: UUID | None = None) -> None:
    """End all sessions of a user, but this one."""
    mine = update(Session).where(Session.user_id == user_id, Session.ended_at.is_(None))
    if but is not None:
        mine = mine.where(Session.id != but)
    await db.execute(mine.values(ended_at=now))


# The second factor.


async def keep_recovery_codes(db: AsyncSession, user_id: UUID, codes: Sequence[str]) -> None:
    """These, and no others, stand in for the second factor from now on, each once."""
    await db.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user_id))
    if codes:
        rows = [{"user_id": user_id, "hash": hash_of(plain(code))} for code in codes]
        await db.execute(insert(RecoveryCode), rows)


async def use_recovery_code(db: AsyncSession, user_id: UUID, code: str, now: datetime) -> bool:
    mine = update(RecoveryCode).where(
        RecoveryCode.user_id == user_id, RecoveryCode.hash == hash_of(plain(code))
    )
    return await changed(db, mine.where(RecoveryCode.used_at.is_(None)).values(used_at=now)) > 0


async def use_totp_step(db: AsyncSession, user_id: UUID, step: int) -> bool:
    """Note that the code of this time step was used. False when it, or a later one, was used before."""
    unused = update(User).where(User.id == user_id, func.coalesce(User.totp_step, -1) < step)
    return await changed(db, unused.values(totp_step=step)) > 0


# What is of no use to anybody any more.

_KEPT = timedelta(days=30)  # Ended sessions, for questions.
_USED_KEPT = timedelta(days=7)  # Used refresh tokens: so long does their reuse end the session.


async def drop_old(db: AsyncSession, now: datetime) -> None:
    """Remove, as the engine, sessions that ended long ago, used tokens, and links that work no more."""
    over = Session.ended_at < now - _KEPT, Session.expires_at < now - _KEPT
    await db.execute(delete(Session).where(or_(*over)))
    await db.execute(delete(RefreshToken).where(RefreshToken.used_at < now - _USED_KEPT))
    await db.execute(delete(UserToken).where(UserToken.expires_at < now))
    await db.execute(delete(SignIn).where(SignIn.expires_at < now))

"""The people who use Campanile, and how they prove who they are.

These tables belong to no workspace: the application's role has no right here, and the engine's alone reaches
them (`Sessions.accounts`). Of tokens, only hashes are kept.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from domain.accounts import Purpose
from models.base import Base, CreatedAt, Id, one_of


def of_user() -> ForeignKey:
    return ForeignKey("users.id", ondelete="CASCADE")


class User(Base):
    """A person with an account."""

    __tablename__ = "users"

    id: Mapped[Id]
    email: Mapped[str] = mapped_column(unique=True)  # Normalised: `domain.addresses`.
    name: Mapped[str]
    password_hash: Mapped[str | None]  # None for those who come by an issuer alone.
    verified_at: Mapped[datetime | None]
    totp_secret: Mapped[str | None]  # Sealed for `totp:<user id>`.
    totp_since: Mapped[datetime | None]  # When the second factor was confirmed; None while it is not on.
    totp_step: Mapped[int | None] = mapped_column(BigInteger)  # The last that was used: none is good twice.
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Session(Base):
    """One sign-in, with the family of refresh tokens that came of it."""

    __tablename__ = "sessions"
    __table_args__ = (Index("ix_sessions_user", "user_id"),)

    id: Mapped[Id]
    user_id: Mapped[UUID] = mapped_column(of_user())
    workspace_id: Mapped[UUID | None]  # Whose issuer vouched for them: it opens nothing else. None: all.
    user_agent: Mapped[str]
    created_at: Mapped[datetime]
    used_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class RefreshToken(Base):
    """Good once. A used one that comes back was stolen, from its owner or by its owner: the family ends."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (Index("ix_refresh_tokens_session", "session_id"),)

    hash: Mapped[bytes] = mapped_column(primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    issued_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class UserToken(Base):
    """What was mailed to prove an address: good once, for a while."""

    __tablename__ = "user_tokens"
    __table_args__ = (
        CheckConstraint(one_of("purpose", Purpose), name="purpose"),
        Index("ix_user_tokens_user", "user_id"),
    )

    hash: Mapped[bytes] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(of_user())
    purpose: Mapped[str]
    email: Mapped[str]  # The address that it proves.
    # Of who registered: they count once the address is proved, so that nobody's password is there before.
    password_hash: Mapped[str | None]
    name: Mapped[str | None]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class RecoveryCode(Base):
    """Stands in for the second factor, once."""

    __tablename__ = "recovery_codes"

    user_id: Mapped[UUID] = mapped_column(of_user(), primary_key=True)
    hash: Mapped[bytes] = mapped_column(primary_key=True)
    used_at: Mapped[datetime | None]


class ExternalIdentity(Base):
    """Who somebody is at an OpenID Connect issuer.

    Google is named by its URL. A workspace's issuer is named by its URL, a space, and its id here, so that
    what one workspace believes of an issuer means nothing to another.
    """

    __tablename__ = "external_identities"
    __table_args__ = (Index("ix_external_identities_user", "user_id"),)

    issuer: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(of_user())
    created_at: Mapped[datetime]


class SignIn(Base):
    """A sign-in at an issuer that is under way: what must come back with its answer."""

    __tablename__ = "sign_ins"

    hash: Mapped[bytes] = mapped_column(primary_key=True)  # Of the state.
    workspace_id: Mapped[UUID | None]  # Whose issuer; None for Google.
    issuer_id: Mapped[UUID | None]
    browser_hash: Mapped[bytes]  # Of the cookie that the same browser must bring back.
    nonce: Mapped[str]
    verifier: Mapped[str]  # Of PKCE (RFC 7636).
    expires_at: Mapped[datetime]


class RateLimit(Base):
    """How much was taken of one allowance in its present window. A crash may forget it: it is not logged."""

    __tablename__ = "rate_limits"
    __table_args__ = ({"prefixes": ["UNLOGGED"]},)

    name: Mapped[str] = mapped_column(primary_key=True)
    ends_at: Mapped[datetime]
    n: Mapped[int]

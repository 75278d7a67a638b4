"""Who belongs to a workspace, who may call for it, and who changed what."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from domain.roles import KeyKind, Role
from models.base import Base, CreatedAt, Id, Tenant, one_of


def of_workspace() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["workspace_id"], ["workspaces.id"])


class Membership(Base):
    __tablename__ = "memberships"
    __table_args__ = (
        of_workspace(),
        CheckConstraint(one_of("role", Role), name="role"),
        Index("ix_memberships_user", "user_id"),
    )

    workspace_id: Mapped[Tenant]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[str]
    created_at: Mapped[CreatedAt]


class Invitation(Base):
    """Somebody was asked by mail to join. Of the token, only a hash is kept."""

    __tablename__ = "invitations"
    __table_args__ = (
        of_workspace(),
        CheckConstraint(one_of("role", Role), name="role"),
        Index("ix_invitations_hash", "hash"),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    email: Mapped[str]
    role: Mapped[str]
    hash: Mapped[bytes]
    invited_by: Mapped[str]  # A name, for whoever reads it.
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime]
    accepted_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Key(Base):
    """A program's credential. Of the key itself, only a hash is kept."""

    __tablename__ = "keys"
    __table_args__ = (
        of_workspace(),
        CheckConstraint(one_of("kind", KeyKind), name="kind"),
        Index("ix_keys_hash", "hash"),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    kind: Mapped[str]
    name: Mapped[str]
    prefix: Mapped[str]  # By which a list shows it.
    hash: Mapped[bytes]
    permissions: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime | None]  # Set when it was rotated, or given an end.
    revoked_at: Mapped[datetime | None]
    rotated_at: Mapped[datetime | None]  # When another took its place: that one is rotated from then on.
    used_at: Mapped[datetime | None]  # To the minute.


class AuditLine(Base):
    """One change: who, what, before and after. Triggers write it, so that no change can forget to."""

    __tablename__ = "audit_log"
    __table_args__ = (Index("ix_audit_log_object", "workspace_id", "object_id"),)

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    actor: Mapped[dict[str, Any]] = mapped_column(JSONB)  # kind (user, key), id, name, request_id.
    action: Mapped[str]
    object_kind: Mapped[str]
    object_id: Mapped[UUID | None]
    before: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    after: Mapped[dict[str, Any] | None] = mapped_column(JSONB)


class Issuer(Base):
    """An OpenID Connect issuer by which members of the workspace may sign in."""

    __tablename__ = "issuers"
    __table_args__ = (of_workspace(), Index("ix_issuers_id", "id"))

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    name: Mapped[str]
    issuer: Mapped[str]  # Its URL, as its tokens name it.
    client_id: Mapped[str]
    client_secret: Mapped[str]  # Sealed for `issuer:<id>`.
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

    @property
    def identities(self) -> str:
        """How `models.accounts.ExternalIdentity` names it."""
        return f"{self.issuer} {self.id}"


class IdempotencyKey(Base):
    """What was answered to a request, for whoever sends it again."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("ix_idempotency_keys_created", "created_at"),)

    workspace_id: Mapped[Tenant]
    caller: Mapped[UUID] = mapped_column(primary_key=True)  # The key's or the user's id.
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[bytes]  # SHA-256 of method, address and body.
    status: Mapped[int | None]  # None while the first one is under way.
    headers: Mapped[list[Any]] = mapped_column(server_default="[]")
    body: Mapped[bytes | None]
    created_at: Mapped[datetime]

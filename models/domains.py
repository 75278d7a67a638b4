"""Domains that a workspace sends from, and the addresses it may send as."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt, Id, Tenant


class Domain(Base):
    """A domain of the workspace's. Its mail by SMTP is signed for it once it publishes the key."""

    __tablename__ = "domains"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        UniqueConstraint("workspace_id", "name"),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    name: Mapped[str]  # In ASCII and small letters.
    dkim_selector: Mapped[str]
    dkim_record: Mapped[str]  # What stands at the selector, with the public key.
    dkim_key: Mapped[str]  # A private key as PEM, sealed for `domain:<id>`.
    verified_at: Mapped[datetime | None]  # When it was first seen to publish the key.
    return_path_at: Mapped[datetime | None]  # The same of where its bounces go; None: not there.
    checked_at: Mapped[datetime | None]
    findings: Mapped[list[Any]] = mapped_column(server_default="[]")  # domain.sending_domains.Finding
    created_at: Mapped[CreatedAt]


class Sender(Base):
    """An address that mail may come from once it is known to be the workspace's."""

    __tablename__ = "senders"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        ForeignKeyConstraint(["workspace_id", "domain_id"], ["domains.workspace_id", "domains.id"]),
        UniqueConstraint("workspace_id", "email"),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    email: Mapped[str]
    name: Mapped[str | None]
    reply_to: Mapped[str | None]
    domain_id: Mapped[UUID | None]  # Which one it was verified by; None: by a link, or not yet.
    verified_at: Mapped[datetime | None]
    verify_token_hash: Mapped[bytes | None]  # Of the link that was mailed last.
    verify_until: Mapped[datetime | None]
    created_at: Mapped[CreatedAt]

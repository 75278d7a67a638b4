"""Integrations: where another program is that works with a workspace."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from domain.integrations import IntegrationKind
from models.base import Base, CreatedAt, Id, Tenant, one_of


class Integration(Base):
    """One of each kind in a workspace."""

    __tablename__ = "integrations"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        ForeignKeyConstraint(["workspace_id", "key_id"], ["keys.workspace_id", "keys.id"]),
        UniqueConstraint("workspace_id", "kind"),
        CheckConstraint(one_of("kind", IntegrationKind), name="kind"),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    kind: Mapped[str]
    url: Mapped[str]
    credentials: Mapped[str | None]  # Its API's key, sealed for `integration:<id>`.
    key_id: Mapped[UUID | None]  # Ours, by which it calls us.
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

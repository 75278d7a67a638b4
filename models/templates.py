"""Templates and their versions. A version never changes: what was sent can be shown again."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt, Id, Tenant


class Template(Base):
    __tablename__ = "templates"
    __table_args__ = (ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),)

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    name: Mapped[str]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class TemplateVersion(Base):
    __tablename__ = "template_versions"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id", "template_id"], ["templates.workspace_id", "templates.id"]),
        UniqueConstraint("workspace_id", "template_id", "number"),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    template_id: Mapped[UUID]
    number: Mapped[int]
    subject: Mapped[str]
    preheader: Mapped[str | None]
    html: Mapped[str]
    text: Mapped[str | None]
    created_at: Mapped[CreatedAt]

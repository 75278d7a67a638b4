"""Templates and their versions. A version never changes: what was sent can be shown again."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint, false, func, text
from sqlalchemy.orm import Mapped, mapped_column

from domain.channels import Channel
from models.base import Base, CreatedAt, Id, Json, Tenant, one_of


class Template(Base):
    __tablename__ = "templates"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        CheckConstraint(one_of("channel", Channel), name="channel"),
        Index("uq_templates_hidden", "workspace_id", "channel", unique=True, postgresql_where=text("hidden")),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    name: Mapped[str]
    channel: Mapped[str] = mapped_column(server_default=Channel.EMAIL)
    hidden: Mapped[bool] = mapped_column(
        server_default=false()
    )  # Of single messages with words of their own.
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class TemplateVersion(Base):
    __tablename__ = "template_versions"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id", "template_id"], ["templates.workspace_id", "templates.id"]),
        UniqueConstraint("workspace_id", "template_id", "number"),
        Index(
            "uq_template_versions_hash",
            "workspace_id",
            "template_id",
            "hash",
            unique=True,
            postgresql_where=text("hash is not null"),
        ),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    template_id: Mapped[UUID]
    number: Mapped[int]
    subject: Mapped[str]
    preheader: Mapped[str | None]
    html: Mapped[str]
    text: Mapped[str | None]
    content: Mapped[Json | None]  # What a template of another channel than email says.
    hash: Mapped[
        bytes | None
    ]  # SHA-256 of what it says, where the template is hidden: one version for the same.
    created_at: Mapped[CreatedAt]

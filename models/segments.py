"""A segment: a rule that picks people."""

from datetime import datetime

from sqlalchemy import ForeignKeyConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt, Id, Json, Tenant


class Segment(Base):
    __tablename__ = "segments"
    __table_args__ = (ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),)

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    name: Mapped[str]
    rule: Mapped[Json]  # domain.segments.Rule
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

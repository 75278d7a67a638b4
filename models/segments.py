"""A segment: a rule that picks people."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt, Id, Json, Tenant
from models.profiles import of_profile


class Segment(Base):
    __tablename__ = "segments"
    __table_args__ = (ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),)

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    name: Mapped[str]
    rule: Mapped[Json]  # domain.segments.Rule
    materialized_at: Mapped[datetime | None]  # When the members of this rule were found; None: not yet.
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class SegmentMember(Base):
    """Who is in a segment now. The pump keeps it as profiles change."""

    __tablename__ = "segment_members"
    __table_args__ = (
        of_profile(),
        ForeignKeyConstraint(
            ["workspace_id", "segment_id"], ["segments.workspace_id", "segments.id"], ondelete="CASCADE"
        ),
        Index("ix_segment_members_profile", "workspace_id", "profile_id"),
    )

    workspace_id: Mapped[Tenant]
    segment_id: Mapped[UUID] = mapped_column(primary_key=True)
    profile_id: Mapped[UUID] = mapped_column(primary_key=True)
    entered_at: Mapped[datetime]

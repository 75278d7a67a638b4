"""A campaign: one template to one segment, once."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from domain.campaigns import CampaignState
from domain.messages import MessageClass
from domain.schedules import Starter
from models.base import Base, CreatedAt, Id, Json, Tenant, one_of


class Campaign(Base):
    __tablename__ = "campaigns"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id", "segment_id"], ["segments.workspace_id", "segments.id"]),
        ForeignKeyConstraint(["workspace_id", "template_id"], ["templates.workspace_id", "templates.id"]),
        ForeignKeyConstraint(
            ["workspace_id", "template_version_id"],
            ["template_versions.workspace_id", "template_versions.id"],
        ),
        CheckConstraint(one_of("state", CampaignState), name="state"),
        CheckConstraint(one_of("class", MessageClass), name="class"),
        CheckConstraint(one_of("starter", Starter), name="starter"),
        CheckConstraint(
            "(scheduled_at is null) = (starter is null) and (starter is null) = (schedule_time_zone is null) "
            "and (state <> 'scheduled' or scheduled_at is not null)",
            name="scheduled",
        ),
        Index(
            "ix_campaigns_scheduled_at",
            "workspace_id",
            "scheduled_at",
            postgresql_where=text("scheduled_at is not null"),
        ),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    name: Mapped[str]
    slug: Mapped[str]  # Fixed at creation: it is part of the workflow's id.
    state: Mapped[str] = mapped_column(server_default=CampaignState.DRAFT)
    message_class: Mapped[str] = mapped_column("class", server_default=MessageClass.MARKETING)
    segment_id: Mapped[UUID]
    template_id: Mapped[UUID]
    template_version_id: Mapped[UUID | None]  # Pinned at start.
    rule: Mapped[Json | None]  # The segment's, pinned at start: the same on every page of the freeze.
    reason: Mapped[str | None]  # Why it failed, in words.
    queued: Mapped[int | None]  # What the freeze has written so far; None until it begins.
    frozen_to: Mapped[UUID | None]  # The last profile that it came to.
    frozen_at: Mapped[datetime | None]  # When the whole audience was.
    scheduled_at: Mapped[datetime | None]  # It stays when the campaign has begun, by whomever.
    schedule_time_zone: Mapped[str | None]  # IANA: in which its time was meant, and is shown.
    schedule_note: Mapped[str | None]  # What was decided where the clocks change, in words.
    starter: Mapped[str | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

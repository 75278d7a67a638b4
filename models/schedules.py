"""Alarms: which campaigns Temporal is to start at which time, and which it knows of."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Tenant

OUT_OF_STEP = "rings_at is null or set_for is null or rings_at <> set_for"


class Alarm(Base):
    """A Temporal Schedule that there is, or should be, of one campaign.

    A trigger on `campaigns` writes `rings_at`, whoever changes a campaign, and the poker sees to it that
    Temporal follows. It outlives the campaign, so that nothing is left over in Temporal.
    """

    __tablename__ = "alarms"
    __table_args__ = (
        Index("ix_alarms_rings_at", "rings_at"),
        Index("ix_alarms_out_of_step", "campaign_id", postgresql_where=text(OUT_OF_STEP)),
    )

    workspace_id: Mapped[Tenant]
    campaign_id: Mapped[UUID] = mapped_column(primary_key=True)
    rings_at: Mapped[datetime | None]  # None: it is to be removed.
    set_for: Mapped[datetime | None]  # What Temporal was told last.

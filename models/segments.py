"""A segment: a rule that picks people, who they are, and how they came and went."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, Text, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt, Id, Json, Tenant


def of_segment() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["workspace_id", "segment_id"], ["segments.workspace_id", "segments.id"], ondelete="CASCADE"
    )


class Segment(Base):
    __tablename__ = "segments"
    __table_args__ = (ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),)

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    name: Mapped[str]
    rule: Mapped[Json]  # domain.segments.Rule
    version: Mapped[int] = mapped_column(server_default="1")  # Counts the rules that it has had.
    # What the rule asks about, and the rules of the segments that it names: words of domain.segments.reads.
    reads: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    materialized_at: Mapped[datetime | None]  # When all were looked at last; None: not by this rule yet.
    due_at: Mapped[datetime | None]  # When everybody is looked at again; None: only whoever changes is.
    announce: Mapped[bool] = mapped_column(server_default="false")  # What the next look finds makes events.
    members: Mapped[int | None] = mapped_column(BigInteger)  # At the last look, and kept up from there.
    took_ms: Mapped[int | None]  # The last look at everybody.
    problem: Mapped[str | None]  # Why the last look failed, and what to do about it.
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class SegmentVersion(Base):
    """A rule that the segment has or had."""

    __tablename__ = "segment_versions"
    __table_args__ = (of_segment(),)

    workspace_id: Mapped[Tenant]
    segment_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    rule: Mapped[Json]
    created_at: Mapped[CreatedAt]


class SegmentMember(Base):
    """Who is in a segment now. The pump keeps it as profiles change.

    There are no foreign keys: a look at everybody would check each of a million, and hold the segment's row
    meanwhile. Whoever deletes a segment, or merges or erases a person, deletes here first.
    """

    __tablename__ = "segment_members"
    __table_args__ = (Index("ix_segment_members_profile", "workspace_id", "profile_id"),)

    workspace_id: Mapped[Tenant]
    segment_id: Mapped[UUID] = mapped_column(primary_key=True)
    profile_id: Mapped[UUID] = mapped_column(primary_key=True)
    entered_at: Mapped[datetime]


class SegmentDay(Base):
    """How many came and went on a day of the workspace's, and how many there were after the last of them."""

    __tablename__ = "segment_days"
    __table_args__ = (of_segment(),)

    workspace_id: Mapped[Tenant]
    segment_id: Mapped[UUID] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    entered: Mapped[int] = mapped_column(server_default="0")
    left: Mapped[int] = mapped_column(server_default="0")
    size: Mapped[int] = mapped_column(BigInteger)

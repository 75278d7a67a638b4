"""Calls: what a step of a flow asked of somebody else's program, and what it answered for whom."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Id, Tenant, one_of


class Outcome(StrEnum):
    """What was answered for a member. The words are those of `domain.flows.WaitingFor`, too."""

    DONE = "done"
    FAILED = "failed"


class Call(Base):
    """One call: a group of members who came to the step together. A callback names it.

    The delivery and the webhook may be gone by the time that somebody looks, so no key binds them.
    """

    __tablename__ = "calls"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id", "flow_id"], ["flows.workspace_id", "flows.id"]),
        ForeignKeyConstraint(
            ["workspace_id", "version_id"], ["flow_versions.workspace_id", "flow_versions.id"]
        ),
        Index("ix_calls_ends_at", "ends_at"),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    flow_id: Mapped[UUID]
    version_id: Mapped[UUID]
    step: Mapped[str]
    webhook_id: Mapped[UUID]
    delivery_id: Mapped[UUID | None]  # None where the webhook was gone already.
    members: Mapped[int]
    answered: Mapped[int] = mapped_column(server_default="0")
    deadline: Mapped[datetime | None]  # None: nobody waits for an answer.
    created_at: Mapped[datetime]
    ends_at: Mapped[datetime]  # The deadline, or at once: nothing is to be heard of it after that.
    closed_at: Mapped[datetime | None]  # When the last of them was answered for.


class CallMember(Base):
    """One journey that was called about, on one pass of it."""

    __tablename__ = "call_members"
    __table_args__ = (
        ForeignKeyConstraint(
            ["workspace_id", "call_id"], ["calls.workspace_id", "calls.id"], ondelete="CASCADE"
        ),
        CheckConstraint(one_of("outcome", Outcome), name="outcome"),
        CheckConstraint("(answered_at is null) = (outcome is null)", name="answered"),
        Index("ix_call_members_enrollment_id", "workspace_id", "enrollment_id", "visit"),
    )

    workspace_id: Mapped[Tenant]
    call_id: Mapped[UUID] = mapped_column(primary_key=True)
    enrollment_id: Mapped[UUID] = mapped_column(primary_key=True)
    visit: Mapped[int]  # The enrollment's, which tells this wait from another pass's.
    answered_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    reason: Mapped[str | None]  # In the words of whoever answered.

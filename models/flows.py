"""Flows, their versions, and everyone's place in them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from domain.flows import FlowState
from models.base import Base, CreatedAt, Id, Json, Tenant, one_of
from models.profiles import of_profile


class Flow(Base):
    __tablename__ = "flows"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        CheckConstraint(one_of("state", FlowState), name="state"),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    name: Mapped[str]
    slug: Mapped[str]  # Fixed at creation: it is part of the workflow's id.
    state: Mapped[str] = mapped_column(server_default=FlowState.DRAFT)
    definition: Mapped[Json]  # domain.flows.Flow, as last edited; publishing makes a version of it.
    version_id: Mapped[UUID | None]  # The version that people enter now.
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class FlowVersion(Base):
    """A published graph. It never changes; members go on in theirs."""

    __tablename__ = "flow_versions"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id", "flow_id"], ["flows.workspace_id", "flows.id"]),
        UniqueConstraint("workspace_id", "flow_id", "number"),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    flow_id: Mapped[UUID]
    number: Mapped[int]
    definition: Mapped[Json]
    templates: Mapped[Json]  # Step → the template version that was pinned at publish.
    created_at: Mapped[CreatedAt]


class Enrollment(Base):
    """One profile's place in one flow. Due when `due_at` has come; done when `ended_at` is set."""

    __tablename__ = "enrollments"
    __table_args__ = (
        of_profile(),
        ForeignKeyConstraint(
            ["workspace_id", "version_id"], ["flow_versions.workspace_id", "flow_versions.id"]
        ),
        UniqueConstraint("workspace_id", "flow_id", "profile_id", "entry"),
        Index(
            "ix_enrollments_agenda",
            "workspace_id",
            "version_id",
            "step",
            "due_at",
            postgresql_where=text("ended_at is null"),
        ),
        {"postgresql_with": {"fillfactor": "70"}},
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    flow_id: Mapped[UUID]
    version_id: Mapped[UUID]
    profile_id: Mapped[UUID]
    entry: Mapped[str]  # What tells two journeys of one profile apart: the order's key, or "once".
    properties: Mapped[Json] = mapped_column(server_default="{}")  # Of the event that let them in.
    step: Mapped[str]
    visit: Mapped[int] = mapped_column(server_default="0")  # Counts the messages so far: passes of a loop.
    due_at: Mapped[datetime | None]  # None while it waits for something other than time, and at the end.
    waiting_for: Mapped[str | None]
    history: Mapped[list[Any]] = mapped_column(server_default="[]")
    entered_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None]

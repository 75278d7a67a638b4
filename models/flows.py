"""Flows, their versions, and everyone's place in them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, UniqueConstraint, func
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
        UniqueConstraint("workspace_id", "flow_id", "profile_id", "entry"),
        # No index knows of anything that a move changes, and the page has room: so moves are HOT updates.
        {"postgresql_with": {"fillfactor": "20"}},
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    flow_id: Mapped[UUID]
    version_id: Mapped[UUID]  # Without a foreign key: who enters reads it in the same statement, under lock.
    profile_id: Mapped[UUID]
    entered_at: Mapped[datetime]
    visit: Mapped[int] = mapped_column(
        server_default="0"
    )  # Counts messages and calls so far: passes of a loop.
    entry: Mapped[str]  # What tells two journeys of one profile apart: the order's key, or "once".
    step: Mapped[str]
    due_at: Mapped[datetime | None]  # None while it waits for something other than time, and at the end.
    ended_at: Mapped[datetime | None]
    waiting_for: Mapped[str | None]  # domain.flows.WaitingFor.
    outcome: Mapped[str | None]
    properties: Mapped[Json] = mapped_column(server_default="{}")  # Of the event that let them in.
    history: Mapped[list[Any]] = mapped_column(server_default="[]")  # Of each move: when, from, to, and why.


class Agenda(Base):
    """How those who are due are found: a row for each enrollment under way that has a `due_at`, and no other.

    The enrollment is the truth, and is locked before its row here is written. There are no foreign keys:
    they would lock version and enrollment for each row, to check what the same transaction has just read.
    """

    __tablename__ = "agenda"

    workspace_id: Mapped[Tenant]
    version_id: Mapped[UUID] = mapped_column(primary_key=True)
    step: Mapped[str] = mapped_column(primary_key=True)
    due_at: Mapped[datetime] = mapped_column(primary_key=True)
    enrollment_id: Mapped[UUID] = mapped_column(primary_key=True)

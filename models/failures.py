"""Failures: a row for each, and the alerts that tell of those of one kind together."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from domain.failures import Category, Subject
from models.base import Base, Id, Tenant, one_of


class Origin(StrEnum):
    """Who noted it."""

    CAMPANILE = "campanile"
    API = "api"  # Somebody else's program: its words may name people.


class FailureLog(Base):
    """What did not work, and what became of it. Its alert is found by whoever tells of it."""

    __tablename__ = "failure_logs"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        CheckConstraint(one_of("subject", Subject), name="subject"),
        CheckConstraint(one_of("category", Category), name="category"),
        CheckConstraint(one_of("origin", Origin), name="origin"),
        Index("uq_failure_logs_subject", "workspace_id", "subject", "subject_id", "occasion", unique=True),
        Index(
            "ix_failure_logs_untold",
            "workspace_id",
            "id",
            postgresql_where=text("alert_id is null and not quiet"),
        ),
        Index("ix_failure_logs_alert", "workspace_id", "alert_id", "id"),
        Index("ix_failure_logs_source", "workspace_id", "source_id", "id"),
        Index("ix_failure_logs_open", "workspace_id", "id", postgresql_where=text("acknowledged_at is null")),
        Index("ix_failure_logs_at", "at"),
        {"postgresql_with": {"fillfactor": "80"}},
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    at: Mapped[datetime]
    subject: Mapped[str]
    subject_id: Mapped[str]
    occasion: Mapped[str] = mapped_column(server_default="")
    kind: Mapped[str]  # domain.failures.Failure.kind: those with the same one are told of together.
    title: Mapped[str | None]
    category: Mapped[str]
    reason: Mapped[str]
    remedy: Mapped[str]
    retryable: Mapped[bool]
    source_kind: Mapped[str | None]
    source_id: Mapped[UUID | None]
    provider_id: Mapped[UUID | None]
    detail: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    origin: Mapped[str] = mapped_column(server_default=Origin.CAMPANILE)
    quiet: Mapped[bool] = mapped_column(server_default=text("false"))  # No digest tells of it.
    alert_id: Mapped[UUID | None]  # The alert that counts it.
    acknowledged_at: Mapped[datetime | None]
    acknowledged_by: Mapped[str | None]  # The name of a person or a key, or what mended it.
    retried_at: Mapped[datetime | None]
    retried_as: Mapped[UUID | None]  # The message, or the delivery, that goes in its place.


class Alert(Base):
    """Failures of one kind, while they go on: told of as a digest, at growing intervals."""

    __tablename__ = "alerts"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        Index(
            "uq_alerts_open", "workspace_id", "kind", unique=True, postgresql_where=text("closed_at is null")
        ),
        Index("ix_alerts_next_at", "next_at", postgresql_where=text("closed_at is null")),
        Index("ix_alerts_last_at", "last_at"),
        {"postgresql_with": {"fillfactor": "50"}},
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    kind: Mapped[str]
    subject: Mapped[str]
    category: Mapped[str]
    source_kind: Mapped[str | None]
    source_id: Mapped[UUID | None]
    provider_id: Mapped[UUID | None]
    failures: Mapped[int] = mapped_column(server_default="0")  # All of them,
    untold: Mapped[int] = mapped_column(server_default="0")  # and those since the last digest.
    digests: Mapped[int] = mapped_column(server_default="0")
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    told_at: Mapped[datetime | None]
    next_at: Mapped[datetime]  # When the next digest may go out, or when it is over.
    closed_at: Mapped[datetime | None]  # Nothing of this kind failed for an hour: the next one is news.

"""Webhooks: addresses that a workspace wants to be told at, and every announcement for one of them."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, func, text
from sqlalchemy.dialects.postgresql import ARRAY, TEXT
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt, Id, Tenant, one_of


class WebhookState(StrEnum):
    ENABLED = "enabled"
    DISABLED = "disabled"  # By somebody, or because it had failed for days.


class DeliveryState(StrEnum):
    """pending → delivered | failed; a replay makes it pending again."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Webhook(Base):
    """Where to tell whom of what, and how that has been going."""

    __tablename__ = "webhooks"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        CheckConstraint(one_of("state", WebhookState), name="state"),
        {"postgresql_with": {"fillfactor": "50"}},
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    name: Mapped[str]
    url: Mapped[str]
    # domain.announcements: types, `<group>.*`, or `*`. Empty: only steps of flows call it.
    event_types: Mapped[list[str]] = mapped_column(ARRAY(TEXT))
    state: Mapped[str] = mapped_column(server_default=WebhookState.ENABLED)
    disabled_reason: Mapped[str | None]
    disabled_at: Mapped[datetime | None]
    alerted_at: Mapped[datetime | None]  # When owners and admins were written to about that.
    secret: Mapped[str]  # Sealed for `webhook:<id>`; it begins with whsec_.
    old_secret: Mapped[str | None]  # Signs beside the other until then.
    old_secret_until: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(server_default="0")  # In a row.
    failing_since: Mapped[datetime | None]
    rests_until: Mapped[datetime | None]  # It failed again and again: nothing is tried before.
    rests: Mapped[int] = mapped_column(server_default="0")  # So many times in a row, while it does.
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class WebhookDelivery(Base):
    """An announcement on its way to one webhook. Its id is the `webhook-id`, the same at each try."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        ForeignKeyConstraint(
            ["workspace_id", "webhook_id"], ["webhooks.workspace_id", "webhooks.id"], ondelete="CASCADE"
        ),
        CheckConstraint(one_of("state", DeliveryState), name="state"),
        CheckConstraint("(closed_at is null) = (state = 'pending')", name="closed"),
        Index(
            "ix_webhook_deliveries_pending",
            "workspace_id",
            "webhook_id",
            "due_at",
            "id",
            postgresql_where=text("state = 'pending'"),
        ),
        Index("ix_webhook_deliveries_log", "workspace_id", "webhook_id", "created_at", "id"),
        Index(  # Few, and looked for among very many.
            "ix_webhook_deliveries_failed",
            "workspace_id",
            "webhook_id",
            "created_at",
            "id",
            postgresql_where=text("state = 'failed'"),
        ),
        Index("ix_webhook_deliveries_created_at", "created_at", postgresql_using="brin"),
        Index(
            "ix_webhook_deliveries_about",
            "workspace_id",
            "about",
            postgresql_where=text("about is not null"),
        ),
        {"postgresql_with": {"fillfactor": "70"}},
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    webhook_id: Mapped[UUID]
    event_type: Mapped[str]
    # Whom to forget it with: a profile, or a message to nobody we know. None: nobody, or a call of many.
    about: Mapped[UUID | None]
    body: Mapped[str]  # What is posted and signed.
    state: Mapped[str] = mapped_column(server_default=DeliveryState.PENDING)
    created_at: Mapped[datetime]
    replayed_at: Mapped[datetime | None]  # When somebody asked for it again: its days of tries begin anew.
    due_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(server_default="0")
    attempt: Mapped[UUID | None]  # Whose it is now,
    leased_until: Mapped[datetime | None]  # and until when, by the database's clock.
    closed_at: Mapped[datetime | None]
    status: Mapped[int | None]  # Of the last answer.
    reason: Mapped[str | None]  # Why the last try failed, in words.
    # The last tries: {"at", "seconds", "status", "reason", "answer"}, the answer short and without secrets.
    tries: Mapped[list[Any]] = mapped_column(server_default="[]")

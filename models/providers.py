"""Providers: a workspace's accounts, which messages go by which, and how each is doing."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from domain.breakers import BreakerState
from domain.channels import Channel
from domain.messages import MessageClass
from models.base import Base, CreatedAt, Id, Json, Tenant, one_of


class Provider(Base):
    """An account with a provider. What was sent names it for ever, so that it is only marked deleted."""

    __tablename__ = "providers"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        CheckConstraint(one_of("channel", Channel), name="channel"),
        CheckConstraint("rate > 0", name="rate"),
        # Webhooks name it alone.
        Index("ix_providers_id", "id"),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    name: Mapped[str]
    kind: Mapped[str]  # channels.registry
    channel: Mapped[str]
    settings: Mapped[Json] = mapped_column(server_default="{}")  # Without the credentials.
    credentials: Mapped[str | None]  # Sealed for `provider:<id>`, as JSON.
    rate: Mapped[float | None]  # Messages a second; the kind's where None.
    domain_rates: Mapped[Json] = mapped_column(server_default="{}")  # The same for recipients' domains.
    warm_up: Mapped[Json | None]  # domain.routing.WarmUp
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deleted_at: Mapped[datetime | None]


class Route(Base):
    """Messages of a channel and a class may go by this provider."""

    __tablename__ = "routes"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id", "provider_id"], ["providers.workspace_id", "providers.id"]),
        UniqueConstraint("workspace_id", "channel", "class", "provider_id"),
        CheckConstraint(one_of("channel", Channel), name="channel"),
        CheckConstraint(one_of("class", (MessageClass.MARKETING, MessageClass.TRANSACTIONAL)), name="class"),
        CheckConstraint("weight > 0", name="weight"),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    channel: Mapped[str]
    message_class: Mapped[str] = mapped_column("class")
    provider_id: Mapped[UUID]
    priority: Mapped[int] = mapped_column(server_default="1")  # 1 is tried first.
    weight: Mapped[int] = mapped_column(server_default="1")  # Its share among those of the same priority.
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Breaker(Base):
    """How a provider is doing, for all workers together. There is a row once something was sent by it.

    No key says which providers there are: one comes with the installation, and has no row.
    """

    __tablename__ = "breakers"
    __table_args__ = (
        CheckConstraint(one_of("state", BreakerState), name="state"),
        {"postgresql_with": {"fillfactor": "50"}},
    )

    workspace_id: Mapped[Tenant]
    provider_id: Mapped[UUID] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(server_default=BreakerState.CLOSED)
    since: Mapped[datetime]
    until: Mapped[datetime | None]  # Open: when one batch may try. Resting: when it may go on.
    trips: Mapped[int] = mapped_column(server_default="0")  # In a row; the pauses grow with them.
    reason: Mapped[str | None]
    window_began: Mapped[datetime]
    well: Mapped[int] = mapped_column(server_default="0")  # Messages in the window that it took or refused.
    badly: Mapped[int] = mapped_column(server_default="0")  # Messages in the window that failed by its fault.
    bad_calls: Mapped[int] = mapped_column(server_default="0")
    slow_calls: Mapped[int] = mapped_column(server_default="0")
    calls: Mapped[int] = mapped_column(server_default="0")


class BreakerChange(Base):
    """One change of a breaker's state, and why."""

    __tablename__ = "breaker_changes"
    __table_args__ = (Index("ix_breaker_changes_provider", "workspace_id", "provider_id", "id"),)

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    provider_id: Mapped[UUID]
    at: Mapped[datetime]
    state: Mapped[str]
    reason: Mapped[str | None]


class Bucket(Base):
    """How many messages may go now: so many tokens, refilled with time.

    `name` is "workspace", a provider's id, or a provider's id, a space and a recipient's domain.
    """

    __tablename__ = "buckets"
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)

    workspace_id: Mapped[Tenant]
    name: Mapped[str] = mapped_column(primary_key=True)
    tokens: Mapped[float]
    refilled_at: Mapped[datetime]


class ProviderDay(Base):
    """What went by a provider on one day of the workspace's calendar."""

    __tablename__ = "provider_days"
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)

    workspace_id: Mapped[Tenant]
    provider_id: Mapped[UUID] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    leased: Mapped[int] = mapped_column(server_default=text("0"))  # Of what a warm-up allows.
    accepted: Mapped[int] = mapped_column(server_default=text("0"))
    rejected: Mapped[int] = mapped_column(server_default=text("0"))
    retried: Mapped[int] = mapped_column(server_default=text("0"))
    unknown: Mapped[int] = mapped_column(server_default=text("0"))

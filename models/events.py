"""Events: the inbox that takes them in, the table that keeps them, and what was refused on the way."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKeyConstraint, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from domain.events import EventKind, RefusalStage
from models.base import Base, Id, Json, Tenant, one_of


class Arrival(Base):
    """Something a site, a shop or a server told us, durable and not yet worked in.

    The tracking API writes it by COPY and the pump takes it out again, in the order of the ids. It has no
    policy (COPY into a table with one is refused); only the engine's role reaches it.
    """

    __tablename__ = "inbox"

    workspace_id: Mapped[Tenant]
    id: Mapped[UUID] = mapped_column(primary_key=True)  # UUIDv7, made when it came in; the event's id later.
    received_at: Mapped[datetime]
    kind: Mapped[str]  # domain.events.EventKind; no CHECK, which every event would pay for.
    trusted: Mapped[bool]  # It came by a secret key or from a member, and not by a public key.
    historical: Mapped[bool]  # Fills everything and starts nothing.
    message_id: Mapped[str | None]  # The sender's; None when it gave none, and so can't repeat it.
    occurred_at: Mapped[datetime]  # By the sender's clock, corrected.
    name: Mapped[str | None]  # Of the event.
    email: Mapped[str | None]  # The four names of the person, normalised; one is there at least.
    phone: Mapped[str | None]
    user_id: Mapped[str | None]
    anonymous_id: Mapped[str | None]
    properties: Mapped[Json | None]  # Properties, traits, or the order: by the kind.
    context: Mapped[Json | None]
    consents: Mapped[Json | None]  # Purpose → granted or denied, where an identify says so.


class Event(Base):
    """What somebody did. Partitioned by the month in which it came in."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_profile", "workspace_id", "profile_id", "occurred_at"),
        Index("ix_events_did", "workspace_id", "name", "occurred_at", postgresql_include=["profile_id"]),
        {"postgresql_partition_by": "RANGE (received_at)"},
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[UUID] = mapped_column(primary_key=True)  # Of the arrival; it carries the time, as any UUIDv7.
    received_at: Mapped[datetime] = mapped_column(primary_key=True)
    profile_id: Mapped[UUID]  # No foreign key: it would lock the person for each event.
    kind: Mapped[str]
    name: Mapped[str]
    occurred_at: Mapped[datetime]
    version: Mapped[int] = mapped_column(server_default="1")  # Of this row's shape.
    historical: Mapped[bool] = mapped_column(server_default="false")
    hops: Mapped[int] = mapped_column(server_default="0")  # How many events caused one another before it.
    cause: Mapped[UUID | None]  # The event or message that led to it.
    message_id: Mapped[str | None]
    properties: Mapped[Json]
    context: Mapped[Json | None]


class Seen(Base):
    """Message ids that came in lately, so that one which is sent again is counted once."""

    __tablename__ = "seen"
    __table_args__ = (Index("ix_seen_at", "at", postgresql_using="brin"),)

    workspace_id: Mapped[Tenant]
    message_id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime]


class Quarantined(Base):
    """An arrival that was accepted and that the pump could not work in; it can be replayed."""

    __tablename__ = "quarantine"
    __table_args__ = (ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),)

    workspace_id: Mapped[Tenant]
    id: Mapped[UUID] = mapped_column(primary_key=True)  # The arrival's.
    at: Mapped[datetime]
    reason: Mapped[str]
    arrival: Mapped[Json]  # The whole row of the inbox.
    replayed_at: Mapped[datetime | None]


class Refusal(Base):
    """What a sender was told, or would want to know: kept for a while, for whoever debugs a site."""

    __tablename__ = "refusals"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        CheckConstraint(one_of("stage", RefusalStage), name="stage"),
        Index("ix_refusals_at", "at", postgresql_using="brin"),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    at: Mapped[datetime]
    stage: Mapped[str]
    kind: Mapped[str | None]
    name: Mapped[str | None]
    message_id: Mapped[str | None]
    pointer: Mapped[str]
    reason: Mapped[str]
    body: Mapped[str | None]  # The beginning of what was sent.


class EventName(Base):
    """The catalogue: an event that was seen, how often, and the types of its properties."""

    __tablename__ = "event_names"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        CheckConstraint(one_of("kind", EventKind), name="kind"),
    )

    workspace_id: Mapped[Tenant]
    name: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    volume: Mapped[int] = mapped_column(BigInteger, server_default="0")
    first_seen_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    properties: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")  # Name → type → how often.
    server_only: Mapped[bool] = mapped_column(server_default="false")  # Public keys may not send it.

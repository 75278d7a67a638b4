"""A workspace is a tenant: its people, its sender, its manners."""

from datetime import datetime, time
from typing import Any

from sqlalchemy import CheckConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt, Id, one_of


class Workspace(Base):
    __tablename__ = "workspaces"
    __table_args__ = (
        CheckConstraint(one_of("unknown_policy", ("leave", "resend")), name="unknown_policy"),
        CheckConstraint("(quiet_from is null) = (quiet_until is null)", name="quiet_hours"),
        CheckConstraint(
            "soft_bounce_limit between 1 and 100 and soft_bounce_days between 1 and 90", name="soft_bounces"
        ),
    )

    id: Mapped[Id]
    name: Mapped[str]
    time_zone: Mapped[str] = mapped_column(server_default="UTC")  # IANA name.
    currency: Mapped[str] = mapped_column(server_default="USD")  # ISO 4217.
    sender_name: Mapped[str | None]
    sender_email: Mapped[str | None]  # As it was set; whether it is verified, `senders` knows.
    # What mail comes from: `sender_email` once it is verified, and until then the verified one before it.
    sending_email: Mapped[str | None]
    # Under which name of their own, with https, links and pixels lead to us; it was seen to.
    tracking_host: Mapped[str | None]
    postal_address: Mapped[str | None]
    quiet_from: Mapped[time | None]  # In the profile's own zone; marketing waits until quiet_until.
    quiet_until: Mapped[time | None]
    caps: Mapped[list[Any]] = mapped_column(server_default="[]")  # domain.workspaces.Cap, one a channel.
    unknown_policy: Mapped[str] = mapped_column(server_default="leave")
    # So many soft bounces within so many days, and nothing delivered between, are a hard one.
    soft_bounce_limit: Mapped[int] = mapped_column(server_default=text("5"))
    soft_bounce_days: Mapped[int] = mapped_column(server_default=text("14"))
    sms_help: Mapped[str | None]  # What HELP is answered with, where the provider does not.
    origins: Mapped[list[Any]] = mapped_column(
        server_default="[]"
    )  # Of pages that may use public keys (CORS).
    deleted_at: Mapped[datetime | None]  # What it sent stays explained; nobody can enter it any more.
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

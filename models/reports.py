"""What providers report afterwards: webhooks as they came in, what is known of them, and how sending goes."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from domain.channels import Channel
from models.base import Base, Id, Json, Tenant, one_of

_NONE = text("0")


class Hook(Base):
    """A genuine webhook, or a notice from the mailbox, durable and not yet read.

    As the inbox it has no policy, and only the engine's role reaches it.
    """

    __tablename__ = "hooks"

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]  # In their order they are read.
    provider_id: Mapped[UUID]
    received_at: Mapped[datetime]
    method: Mapped[str]
    url: Mapped[str]
    headers: Mapped[Json]  # Those that say what the body is.
    body: Mapped[bytes] = mapped_column(LargeBinary)


class Reported(Base):
    """Reports that came in lately, so that one which comes again counts once.

    STOP and START are known for ever (`at` is infinity): they may come again without a time of their own.
    """

    __tablename__ = "reported"
    __table_args__ = (Index("ix_reported_at", "at", postgresql_using="brin"),)

    workspace_id: Mapped[Tenant]
    key: Mapped[str] = mapped_column(primary_key=True)  # The account's id, and the provider's key.
    at: Mapped[datetime]


class EarlyReport(Base):
    """A report whose message is not there yet, or is in somebody's hands: it is tried again for an hour.

    And what a webhook said beyond what one transaction settles: that is due at once.
    """

    __tablename__ = "early_reports"
    __table_args__ = (Index("ix_early_reports_due", "due_at"),)

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    since: Mapped[datetime]
    due_at: Mapped[datetime]
    report: Mapped[Json]  # domain.reports.Said


class SoftBounce(Base):
    """A message that an address did not take for now; all of an address go when one is delivered."""

    __tablename__ = "soft_bounces"
    __table_args__ = (Index("ix_soft_bounces_at", "at", postgresql_using="brin"),)

    workspace_id: Mapped[Tenant]
    channel: Mapped[str] = mapped_column(primary_key=True)
    address_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    message_id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime]


class LastWord(Base):
    """When somebody last said themselves, by what a provider reports, whether they want to hear of something.

    So that STOP and START, which may overtake each other, end as they were said. And when somebody was last
    answered HELP.
    """

    __tablename__ = "last_words"
    __table_args__ = (Index("ix_last_words_at", "at", postgresql_using="brin"),)

    workspace_id: Mapped[Tenant]
    about: Mapped[str] = mapped_column(primary_key=True)  # A channel, a topic's id, or `help`.
    address_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    at: Mapped[datetime]


class Delivery(Base):
    """How a day's messages on a channel fared, by when we heard of it; tests are left out."""

    __tablename__ = "deliveries"
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)

    workspace_id: Mapped[Tenant]
    channel: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)  # Of the workspace's calendar.
    delivered: Mapped[int] = mapped_column(server_default=_NONE)
    hard: Mapped[int] = mapped_column(server_default=_NONE)
    soft: Mapped[int] = mapped_column(server_default=_NONE)
    complained: Mapped[int] = mapped_column(server_default=_NONE)
    failed: Mapped[int] = mapped_column(server_default=_NONE)


class Hold(Base):
    """Marketing on a channel is held, because it does harm: until somebody releases it."""

    __tablename__ = "holds"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        CheckConstraint(one_of("channel", Channel), name="channel"),
        Index(
            "uq_holds_open",
            "workspace_id",
            "channel",
            unique=True,
            postgresql_where=text("released_at is null"),
        ),
        Index("ix_holds_silent", "at", postgresql_where=text("alerted_at is null")),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    channel: Mapped[str]
    at: Mapped[datetime]
    reason: Mapped[str]
    alerted_at: Mapped[datetime | None]  # When owners and admins were written to.
    released_at: Mapped[datetime | None]
    released_by: Mapped[str | None]
    # The day of the release, and what it had counted by then: what lies before is judged no more.
    judged_from: Mapped[date | None]
    judged: Mapped[Json | None]


class HookDay(Base):
    """What came in from an account's provider on one day (UTC)."""

    __tablename__ = "hook_days"
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)

    workspace_id: Mapped[Tenant]
    provider_id: Mapped[UUID] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    reports: Mapped[int] = mapped_column(server_default=_NONE)
    repeated: Mapped[int] = mapped_column(server_default=_NONE)  # They came before.
    stray: Mapped[int] = mapped_column(server_default=_NONE)  # About messages that are not there.
    unread: Mapped[int] = mapped_column(server_default=_NONE)  # Webhooks that nobody understands.
    refused: Mapped[int] = mapped_column(server_default=_NONE)  # Webhooks that were not genuine.

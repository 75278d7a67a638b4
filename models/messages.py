"""The ledger: one row for every message that anyone decided to send, and what readers did with it."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PgUUID
from sqlalchemy.orm import Mapped, mapped_column

from domain.channels import Channel
from domain.messages import Fate, Interaction, MessageClass, MessageState, Skip, SourceKind
from models.base import Base, CreatedAt, Id, Tenant, one_of
from models.profiles import of_profile


class Message(Base):
    """One message that somebody decided to send: the ledger's line, whatever becomes of it.

    Rows are written once and then updated three times (claim, mark, settle), by whole pages. Most of
    each page is kept free for that, and no index looks at anything that these change, so that the updates
    stay in their page (HOT): one that leaves it costs an entry in every index. Columns of a fixed width come
    first, because PostgreSQL finds those without walking the row.
    """

    __tablename__ = "messages"
    __table_args__ = (
        of_profile(),
        CheckConstraint(one_of("state", MessageState), name="state"),
        CheckConstraint(one_of("channel", Channel), name="channel"),
        CheckConstraint(one_of("class", MessageClass), name="class"),
        CheckConstraint(one_of("source_kind", SourceKind), name="source_kind"),
        CheckConstraint(one_of("fate", Fate), name="fate"),
        CheckConstraint(f"state <> 'skipped' or {one_of('reason', Skip)}", name="skip"),
        CheckConstraint("(closed_at is null) = (state in ('queued', 'claimed', 'sending'))", name="closed"),
        Index(
            "uq_messages_decision",
            "workspace_id",
            "profile_id",
            "source_id",
            "step",
            "occasion",
            "visit",
            "resend",
            unique=True,
            postgresql_where=text("profile_id is not null"),
        ),
        Index(
            "uq_messages_bare",
            "workspace_id",
            "source_id",
            "occasion",
            "bare",
            "resend",
            unique=True,
            postgresql_where=text("profile_id is null"),
        ),
        Index("ix_messages_source", "workspace_id", "source_id", "id"),
        Index("ix_messages_bare", "workspace_id", "bare", "id", postgresql_where=text("profile_id is null")),
        Index("ix_messages_reconcile", "reconcile_at", postgresql_where=text("reconcile_at is not null")),
        {"postgresql_with": {"fillfactor": "20"}},
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]  # What providers and their webhooks carry.
    queue_id: Mapped[UUID]  # Whose slices send it: the campaign's, the flow's, or the workspace's outbox.
    source_id: Mapped[UUID]
    occasion: Mapped[UUID]  # The enrollment, the campaign's occurrence or the request.
    # Without a foreign key, which would check the same version for each line: a quarter of a freeze.
    # `models.queries.templates.delete` keeps what was sent.
    template_version_id: Mapped[UUID]
    due_at: Mapped[datetime]
    created_at: Mapped[CreatedAt]
    visit: Mapped[int] = mapped_column(server_default="0")
    resend: Mapped[int] = mapped_column(server_default="0")
    attempts: Mapped[int] = mapped_column(server_default="0")
    state: Mapped[str] = mapped_column(server_default=MessageState.QUEUED)
    source_kind: Mapped[str]
    step: Mapped[str]
    channel: Mapped[str]
    message_class: Mapped[str] = mapped_column("class")
    profile_id: Mapped[UUID | None]  # None for a bare address.
    bare: Mapped[str | None]  # The address that was asked for, where there is no profile.
    address: Mapped[str | None]  # Where it goes: written at the claim.
    expires_at: Mapped[datetime | None]
    attempt: Mapped[UUID | None]
    claimed_at: Mapped[datetime | None]
    marked_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    reconcile_at: Mapped[datetime | None]  # When what is unknown is looked at again.
    reason: Mapped[str | None]  # A Skip, or the provider's words.
    detail: Mapped[str | None]
    provider_id: Mapped[str | None]
    holes: Mapped[list[Any] | None]  # What filled the template's holes, to show the mail again as it was.
    tracked: Mapped[bool | None]
    provider: Mapped[UUID | None]  # By which it went, or was tried last: models.providers.Provider.
    fate: Mapped[str | None]
    opened_at: Mapped[datetime | None]
    clicked_at: Mapped[datetime | None]
    # When the provider said something that shows that it has the message: such as the fate, when that rose.
    reported_at: Mapped[datetime | None]
    only_by: Mapped[UUID | None]  # The one provider that it may go by, where somebody sends it again by that.


class Queued(Base):
    """A message's turn in its queue: there is one for each message whose state is `queued`, and no other.

    Who changes the state to or from `queued`, or `due_at`, changes this in the same transaction, after the
    message: that order keeps two who meet from waiting for each other. No foreign key says so, because to
    check it for each line would cost what this table saves.
    """

    __tablename__ = "queue"

    workspace_id: Mapped[Tenant]
    queue_id: Mapped[UUID] = mapped_column(primary_key=True)
    due_at: Mapped[datetime] = mapped_column(primary_key=True)
    message_id: Mapped[UUID] = mapped_column(primary_key=True)


class Lease(Base):
    """A worker's hold on the messages that it claimed together. Times are the database's."""

    __tablename__ = "leases"
    __table_args__ = (Index("ix_leases_queue", "workspace_id", "queue_id", "until"),)

    workspace_id: Mapped[Tenant]
    id: Mapped[UUID] = mapped_column(primary_key=True)  # messages.attempt
    queue_id: Mapped[UUID]
    message_ids: Mapped[list[UUID]] = mapped_column(ARRAY(PgUUID(as_uuid=True)))
    until: Mapped[datetime]


class CapCounter(Base):
    """How many marketing messages a profile was sent on a channel in one period."""

    __tablename__ = "cap_counters"
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)  # A count goes up within its page (HOT).

    workspace_id: Mapped[Tenant]
    profile_id: Mapped[UUID] = mapped_column(primary_key=True)
    channel: Mapped[str] = mapped_column(primary_key=True)
    period: Mapped[str] = mapped_column(primary_key=True)  # domain.workspaces.Period
    starts_on: Mapped[date] = mapped_column(primary_key=True)  # In the workspace's time zone.
    n: Mapped[int]


class MessageEvent(Base):
    """An open, a click or an unsubscribe, as it came in."""

    __tablename__ = "message_events"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id", "message_id"], ["messages.workspace_id", "messages.id"]),
        CheckConstraint(one_of("kind", Interaction), name="kind"),
        Index("ix_message_events_message", "workspace_id", "message_id", "kind"),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    message_id: Mapped[UUID]
    kind: Mapped[str]
    at: Mapped[datetime]
    link: Mapped[int | None]  # Which of the template version's links was clicked.
    user_agent: Mapped[str | None]
    machine: Mapped[bool] = mapped_column(server_default=text("false"))  # It was a program: it counts apart.


class Attachment(Base):
    """A file that goes with a message. It is removed some time after the message closed."""

    __tablename__ = "attachments"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id", "message_id"], ["messages.workspace_id", "messages.id"]),
        Index("ix_attachments_message", "workspace_id", "message_id", "id"),
        Index("ix_attachments_created_at", "created_at"),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    message_id: Mapped[UUID]
    name: Mapped[str]
    content_type: Mapped[str]
    content: Mapped[bytes]
    created_at: Mapped[CreatedAt]


class MessageNote(Base):
    """What happened to a single message that its line does not keep: who asked for it, a provider's no."""

    __tablename__ = "message_notes"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id", "message_id"], ["messages.workspace_id", "messages.id"]),
        Index("ix_message_notes_message", "workspace_id", "message_id", "id"),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    message_id: Mapped[UUID]
    at: Mapped[datetime]
    what: Mapped[str]  # A sentence.

"""Lists that people are put on, and the topics that they can choose among."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from domain.lists import MemberState, OptIn
from domain.profiles import ConsentState, Purpose
from models.base import Base, CreatedAt, Id, Tenant, one_of
from models.profiles import of_profile


class List(Base):
    """A static list: who is on it was put there, by hand, by a file or by a form."""

    __tablename__ = "lists"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        CheckConstraint(one_of("opt_in", OptIn), name="opt_in"),
        UniqueConstraint("workspace_id", "name"),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    name: Mapped[str]
    description: Mapped[str | None]
    opt_in: Mapped[str] = mapped_column(server_default=OptIn.DOUBLE)  # Of those who subscribe by the form.
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ListMember(Base):
    __tablename__ = "list_members"
    __table_args__ = (
        of_profile(),
        ForeignKeyConstraint(
            ["workspace_id", "list_id"], ["lists.workspace_id", "lists.id"], ondelete="CASCADE"
        ),
        CheckConstraint(one_of("state", MemberState), name="state"),
        Index("ix_list_members_profile", "workspace_id", "profile_id"),
    )

    workspace_id: Mapped[Tenant]
    list_id: Mapped[UUID] = mapped_column(primary_key=True)
    profile_id: Mapped[UUID] = mapped_column(primary_key=True)
    state: Mapped[str]
    source: Mapped[str]
    at: Mapped[datetime]  # When it became so.


class Topic(Base):
    """Something people can want to hear of, or not, on a channel: "New arrivals"."""

    __tablename__ = "topics"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        CheckConstraint(one_of("purpose", Purpose), name="purpose"),
        UniqueConstraint("workspace_id", "name"),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    name: Mapped[str]
    description: Mapped[str | None]
    purpose: Mapped[str]  # The channel that it is on.
    position: Mapped[int] = mapped_column(server_default="0")  # On the preference page.
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class TopicConsent(Base):
    """What a profile chose for a topic, by whom we know, since when; the current one has no end.

    Beside `consents`, which is read for every message: a topic is asked only where a message has one.
    """

    __tablename__ = "topic_consents"
    __table_args__ = (
        of_profile(),
        ForeignKeyConstraint(
            ["workspace_id", "topic_id"], ["topics.workspace_id", "topics.id"], ondelete="CASCADE"
        ),
        CheckConstraint(one_of("state", ConsentState), name="state"),
        Index(
            "uq_topic_consents_current",
            "workspace_id",
            "profile_id",
            "topic_id",
            unique=True,
            postgresql_where=text("ended_at is null"),
        ),
        Index(
            "ix_topic_consents_ended",
            "workspace_id",
            "profile_id",
            postgresql_where=text("ended_at is not null"),
        ),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    profile_id: Mapped[UUID]
    topic_id: Mapped[UUID]
    state: Mapped[str]
    source: Mapped[str]
    at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

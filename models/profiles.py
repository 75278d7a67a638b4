"""Profiles: the people we know, how they are named, what they allowed, and what must not reach them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from domain.profiles import ConsentState, IdentityKind, Purpose, SuppressionReason
from models.base import Base, CreatedAt, Id, Json, Tenant, one_of


def of_profile() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["workspace_id", "profile_id"], ["profiles.workspace_id", "profiles.id"])


class Profile(Base):
    """A person. A merged profile stays, as an alias of the one it was merged into."""

    __tablename__ = "profiles"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        ForeignKeyConstraint(["workspace_id", "merged_into"], ["profiles.workspace_id", "profiles.id"]),
        Index(
            "ix_profiles_aliases",
            "workspace_id",
            "merged_into",
            "id",
            postgresql_where=text("merged_into is not null"),
        ),
        Index("ix_profiles_erased", "workspace_id", "id", postgresql_where=text("erased_at is not null")),
        Index(
            "ix_profiles_owner",
            "workspace_id",
            "owner_id",
            "id",
            postgresql_where=text("owner_id is not null"),
        ),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    attributes: Mapped[Json] = mapped_column(server_default="{}")
    # By the sender's clock, the newest of what set attributes: what is older fills in what is missing.
    attributes_at: Mapped[datetime | None]
    time_zone: Mapped[str | None]  # IANA name; the workspace's when None.
    locale: Mapped[str | None]  # A language tag, BCP 47.
    country: Mapped[str | None]  # ISO 3166-1, two letters.
    owner_id: Mapped[UUID | None]  # The member who looks after them.
    merged_into: Mapped[UUID | None]  # Always a profile that is not merged itself.
    erased_at: Mapped[datetime | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Identity(Base):
    """One name that a person goes by. The claim sends to the primary one of a channel."""

    __tablename__ = "identities"
    __table_args__ = (
        of_profile(),
        CheckConstraint(one_of("kind", IdentityKind), name="kind"),
        Index(
            "uq_identities_primary",
            "workspace_id",
            "profile_id",
            "kind",
            unique=True,
            postgresql_where=text("is_primary"),
        ),
        Index("ix_identities_profile", "workspace_id", "profile_id"),
    )

    workspace_id: Mapped[Tenant]
    kind: Mapped[str] = mapped_column(primary_key=True)
    # Normalised: domain.profiles. By code points, so that what begins with something is a range.
    value: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    profile_id: Mapped[UUID]
    is_primary: Mapped[bool] = mapped_column(server_default=text("true"))
    created_at: Mapped[CreatedAt]


class Consent(Base):
    """What a profile allowed or denied, by whom we know, since when; the current one has no end."""

    __tablename__ = "consents"
    __table_args__ = (
        of_profile(),
        CheckConstraint(one_of("purpose", Purpose), name="purpose"),
        CheckConstraint(one_of("state", ConsentState), name="state"),
        Index(
            "uq_consents_current",
            "workspace_id",
            "profile_id",
            "purpose",
            unique=True,
            postgresql_where=text("ended_at is null"),
        ),
        # What held before, for somebody's history.
        Index(
            "ix_consents_ended",
            "workspace_id",
            "profile_id",
            postgresql_where=text("ended_at is not null"),
        ),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    profile_id: Mapped[UUID]
    purpose: Mapped[str]
    state: Mapped[str]
    source: Mapped[str]
    at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class Suppression(Base):
    """An address that must not be written to. Kept by hash, so that it outlives an erasure."""

    __tablename__ = "suppressions"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        CheckConstraint(one_of("reason", SuppressionReason), name="reason"),
        Index(
            "uq_suppressions_current",
            "workspace_id",
            "channel",
            "address_hash",
            unique=True,
            postgresql_where=text("ended_at is null"),
        ),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    channel: Mapped[str]
    address_hash: Mapped[bytes]  # SHA-256 of the normalised address in UTF-8.
    address: Mapped[str | None]  # None once the person was erased.
    reason: Mapped[str]
    source: Mapped[str]
    at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class ProfileTag(Base):
    """A word that members put on a profile."""

    __tablename__ = "profile_tags"
    __table_args__ = (of_profile(), Index("ix_profile_tags_tag", "workspace_id", "tag", "profile_id"))

    workspace_id: Mapped[Tenant]
    profile_id: Mapped[UUID] = mapped_column(primary_key=True)
    tag: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime]


class ProfileNote(Base):
    """What a member wrote about a profile."""

    __tablename__ = "profile_notes"
    __table_args__ = (of_profile(), Index("ix_profile_notes_profile", "workspace_id", "profile_id"))

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    profile_id: Mapped[UUID]
    text: Mapped[str]
    author: Mapped[str]  # An address or a key's name, as it was then.
    at: Mapped[datetime]

"""Attributes: which there are, of what type, and the values of those that are searched fast."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKeyConstraint, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from domain.attributes import AttributeType
from models.base import Base, Tenant, one_of
from models.profiles import of_profile


class Attribute(Base):
    """The catalogue: an attribute that was seen on somebody, and its type."""

    __tablename__ = "attributes"
    __table_args__ = (
        ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        CheckConstraint(one_of("type", AttributeType), name="type"),
    )

    workspace_id: Mapped[Tenant]
    name: Mapped[str] = mapped_column(primary_key=True)
    type: Mapped[str]  # What its values have been, mostly: the first decides, until somebody sets it.
    values: Mapped[int] = mapped_column(BigInteger, server_default="0")  # How many came in.
    conflicts: Mapped[int] = mapped_column(
        BigInteger, server_default="0"
    )  # How many of them were of another type.
    first_seen_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    server_only: Mapped[bool] = mapped_column(server_default="false")  # Public keys may not set it.
    hot: Mapped[bool] = mapped_column(server_default="false")  # Kept in `profile_values` as well.
    # How far the profiles were read since `hot` was changed; None: all of them were.
    filled_to: Mapped[UUID | None]

    @property
    def ready(self) -> bool:
        """Whether all values can be looked up in `profile_values`."""
        return self.hot and self.filled_to is None


class ProfileValue(Base):
    """One profile's value of a hot attribute. Behind the wall an index on JSON would never be used."""

    __tablename__ = "profile_values"
    __table_args__ = (
        of_profile(),
        *(
            Index(
                f"ix_profile_values_{column}",
                "workspace_id",
                "attribute",
                column,
                "profile_id",
                postgresql_where=text(f"{column} is not null"),
            )
            for column in ("text", "number", "time")
        ),
    )

    workspace_id: Mapped[Tenant]
    profile_id: Mapped[UUID] = mapped_column(primary_key=True)
    attribute: Mapped[str] = mapped_column(primary_key=True)
    text: Mapped[str | None] = mapped_column(Text(collation="C"))  # The first 200 characters.
    number: Mapped[float | None]
    time: Mapped[datetime | None]

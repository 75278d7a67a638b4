"""Orders, and what they add up to for each profile."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt, Id, Tenant
from models.profiles import of_profile


class Order(Base):
    __tablename__ = "orders"
    __table_args__ = (
        of_profile(),
        UniqueConstraint("workspace_id", "key"),
        Index("ix_orders_profile", "workspace_id", "profile_id", "ordered_at"),
    )

    workspace_id: Mapped[Tenant]
    id: Mapped[Id]
    key: Mapped[str]  # The shop's order id, or the import's key where the file has none.
    profile_id: Mapped[UUID]
    ordered_at: Mapped[datetime]
    quantity: Mapped[int]
    total: Mapped[Decimal]
    currency: Mapped[str]  # ISO 4217.
    source: Mapped[str]
    created_at: Mapped[CreatedAt]


class OrderRollup(Base):
    """A profile's orders in one currency, added up. Never summed across currencies."""

    __tablename__ = "order_rollups"
    __table_args__ = (of_profile(),)

    workspace_id: Mapped[Tenant]
    profile_id: Mapped[UUID] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)
    total: Mapped[Decimal]
    count: Mapped[int]
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]

"""Orders, and what they add up to for each profile."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Numeric, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from domain.orders import OrderStatus
from models.base import Base, CreatedAt, Id, Tenant, one_of
from models.profiles import of_profile


class Order(Base):
    __tablename__ = "orders"
    __table_args__ = (
        of_profile(),
        UniqueConstraint("workspace_id", "key"),
        CheckConstraint(one_of("status", OrderStatus), name="status"),
        Index("ix_orders_profile", "workspace_id", "profile_id", "ordered_at"),
        Index(
            "ix_orders_when",
            "workspace_id",
            "ordered_at",
            postgresql_include=["profile_id", "currency", "status"],
        ),
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
    status: Mapped[str] = mapped_column(server_default=OrderStatus.PLACED)
    refunded: Mapped[Decimal] = mapped_column(server_default="0")  # Of the total, which stays as it was.
    lines: Mapped[list[Any] | None]  # domain.orders.Line each, as they came.
    created_at: Mapped[CreatedAt]
    changed_at: Mapped[datetime | None]  # By the shop's clock: a change that is older than it is ignored.


class OrderRollup(Base):
    """A profile's orders in one currency, added up. Never summed across currencies.

    Cancelled orders count nowhere, and what was refunded is taken off the total.
    """

    __tablename__ = "order_rollups"
    __table_args__ = (of_profile(),)

    workspace_id: Mapped[Tenant]
    profile_id: Mapped[UUID] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)
    total: Mapped[Decimal] = mapped_column(Numeric(30, 4))  # Of more orders than one amount can hold.
    count: Mapped[int]
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    largest: Mapped[Decimal] = mapped_column(server_default="0")  # One order, less what was refunded.

"""Orders: what a shop tells us of them, and what becomes of them."""

from enum import StrEnum


class OrderStatus(StrEnum):
    PLACED = "placed"
    REFUNDED = "refunded"  # All of it or a part: the order says how much.
    CANCELLED = "cancelled"

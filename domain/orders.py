"""Orders: what a shop tells us of them, and what becomes of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from domain import money
from domain.errors import CampanileError, Conflict, Invalid
from domain.import_rows import compact
from domain.imports import EARLIEST
from domain.profiles import IdentityKind

MOST_ORDERS = 1000  # In one request.
MOST_LINES = 500  # Of one order.
_TOMORROW = timedelta(days=1)  # The clock of the easternmost place is ahead of ours.


class OrderStatus(StrEnum):
    PLACED = "placed"
    REFUNDED = "refunded"  # All of it or a part: the order says how much.
    CANCELLED = "cancelled"


def moment(
    ordered_at: datetime | None, ordered_on: date | None, zone: ZoneInfo, now: datetime
) -> tuple[datetime, str | None]:
    """When an order was placed, and the same as a key says it; now, and None, where nobody said.

    A day means its midnight in `zone`, as does a time without an offset. Raises `Invalid` with the field.
    """
    if ordered_at and ordered_on:
        raise Invalid("This and ordered_at both say when: leave one out.", "/ordered_on")
    if ordered_on:
        at, name = datetime.combine(ordered_on, time(), zone), "/ordered_on"
    elif ordered_at:
        at, name = ordered_at if ordered_at.tzinfo else ordered_at.replace(tzinfo=zone), "/ordered_at"
    else:
        return now, None
    if not EARLIEST <= at.date() <= date(9998, 12, 31):
        raise Invalid(f"This is before {EARLIEST.year} or after 9998: check the year.", name)
    if at > now + _TOMORROW:
        raise Invalid("This lies in the future: check the year, day and month.", name)
    at = at.astimezone(UTC)
    return at, ordered_on.isoformat() if ordered_on else compact(at.isoformat())


@dataclass
class Keys:
    """The keys of the orders of one request.

    An order without an id of its own is known by all that it says, and by which of those that say the same
    it is, as in a file (`domain.import_rows.OrderReader`): so a file and a request bring the same order once.
    """

    seen: dict[str, int] = field(default_factory=dict)

    def key(
        self, names: Mapping[IdentityKind, str], written: str, quantity: int, total: Decimal, currency: str
    ) -> str:
        who = next(names[kind] for kind in _MOST_TELLING if kind in names)
        key = f"{who}:{written}:{quantity}:{money.written(total)}:{currency}"
        nth = self.seen[key] = self.seen.get(key, 0) + 1
        return f"{key}#{nth}"


_MOST_TELLING = (IdentityKind.USER_ID, IdentityKind.EMAIL, IdentityKind.PHONE, IdentityKind.ANONYMOUS_ID)


@dataclass(frozen=True)
class Standing:
    """How an order stands."""

    total: Decimal
    refunded: Decimal
    status: OrderStatus
    changed_at: datetime | None

    def after(self, status: OrderStatus | None, refunded: Decimal | None, at: datetime) -> dict[str, Any]:
        """What a change at `at` makes of it: its status and what was refunded, as an arrival says them.

        To name only `refunded` makes it refunded; nought takes it back. Raises `Conflict` and `Invalid`.
        """
        if self.changed_at and at < self.changed_at:
            raise Conflict(
                f"The order was changed later, at {self.changed_at.astimezone(UTC).isoformat()}: leave "
                "`changed_at` out if this is news."
            )
        if status is OrderStatus.CANCELLED:
            if refunded is not None:
                raise Invalid("A cancelled order counts nowhere, so leave this out.", "/refunded")
            return {"status": OrderStatus.CANCELLED.value}
        if self.status is OrderStatus.CANCELLED:
            raise Conflict("The order is cancelled and counts nowhere: there is nothing to refund.")
        if refunded is None:
            refunded = self.total
        return refund(self.total, refunded, status)


def refund(total: Decimal, refunded: Decimal, status: OrderStatus | None) -> dict[str, Any]:
    """Status and refund that go together. Raises `Invalid`."""
    if refunded > total:
        raise Invalid(f"More than the order's total, {money.shown(total)}: write that or less.", "/refunded")
    if status is OrderStatus.REFUNDED and not refunded:
        raise Invalid("Say how much was refunded, or leave `status` out.", "/refunded")
    status = OrderStatus.REFUNDED if refunded else OrderStatus.PLACED
    return {"status": status.value, "refunded": money.shown(refunded)}


What = tuple[Decimal, str, int]  # An order's total, currency and quantity.


def contradiction(told: What, stored: What) -> CampanileError | None:
    """What is wrong with an order that is stored already and comes again."""
    for name, said in _differences(told, stored):
        return Conflict(
            f"This order is already there, and its {name} is {said}: change it by PATCH, or give this one an "
            "id of its own.",
            f"/{name}",
        )
    return None


def contradiction_within(
    told: What, names: Mapping[IdentityKind, str], first: What, firsts: Mapping[IdentityKind, str]
) -> CampanileError | None:
    """What is wrong with an order whose id another one of the request has, `first`, of the buyer `firsts`."""
    for name, said in _differences(told, first):
        return Conflict(
            f"An order before this one has the same id, and its {name} is {said}: give this one an id of its "
            "own, or leave it out.",
            f"/{name}",
        )
    both = next((kind for kind in _MOST_TELLING if kind in names and kind in firsts), None)
    if both and names[both] != firsts[both]:
        return Conflict(
            f"An order before this one has the same id and another {both}: give this one an id of its own.",
            f"/{both}",
        )
    return None


def _differences(told: What, other: What) -> Iterator[tuple[str, str]]:
    """The name of each field that differs, and what the other one says."""
    for name, one, another in zip(("total", "currency", "quantity"), told, other, strict=True):
        if one != another:
            yield name, money.shown(another) if isinstance(another, Decimal) else str(another)

"""Orders on their way in: what one must look like, and the rows of the inbox that they become."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from api.shapes import In, example
from api.stack import Stack
from domain import money
from domain.addresses import normal_address
from domain.errors import CampanileError
from domain.events import EventKind, RefusalStage
from domain.imports import LARGEST_QUANTITY, LONGEST_NAME
from domain.orders import (
    MOST_LINES,
    Keys,
    OrderStatus,
    Standing,
    What,
    contradiction,
    contradiction_within,
    moment,
    refund,
)
from domain.phones import normal_phone
from domain.profiles import IdentityKind
from domain.values import as_text
from models.orders import Order
from models.queries import arrivals, orders, refusals, workspaces
from models.queries.arrivals import Coming
from models.queries.refusals import Told
from models.workspaces import Workspace


def _whole(text: str) -> str:
    if "\0" in text:
        raise ValueError("This holds a NUL, which can't be stored: take it out.")
    return text


def _amount(given: Any) -> Decimal:
    text = None if isinstance(given, bool) else as_text(given) if isinstance(given, int | float) else given
    if not isinstance(text, str):
        raise ValueError('Write it as a number or a text, such as "29.33".')
    return money.amount(text)


Said = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_NAME),
    AfterValidator(_whole),
]
Email = Annotated[Said, AfterValidator(normal_address)]
_AMOUNT = {
    "anyOf": [
        {"type": "string", "pattern": r"^[0-9]{1,12}(\.[0-9]{1,4})?$"},
        {"type": "number", "minimum": 0},
    ]
}
Amount = Annotated[
    Decimal,
    BeforeValidator(_amount),
    PlainSerializer(money.shown, return_type=str, when_used="json"),
    WithJsonSchema(_AMOUNT),
]
Currency = Annotated[
    str, AfterValidator(money.currency), Field(json_schema_extra={"pattern": "^[A-Za-z]{3}$"})
]
Quantity = Annotated[int, Field(ge=1, le=LARGEST_QUANTITY)]


class LineIn(In):
    """One line of an order."""

    sku: Said | None = None
    name: Said | None = None
    quantity: Quantity = 1
    price: Amount | None = Field(None, description="Of one piece, in the order's currency.")


class OrderIn(In):
    """An order, and who placed it: by at least one name. Who is not known yet becomes a profile."""

    order_id: Said | None = Field(
        None,
        description="The shop's own. Sent again, it is stored once. Without one, an order is known by all "
        "that it says, and by which of those in the request that say the same it is.",
    )
    email: Email | None = None
    user_id: Said | None = None
    phone: Annotated[Said, AfterValidator(normal_phone)] | None = None
    anonymous_id: Said | None = None
    total: Amount = Field(description="All of it, as a text or a number of at most four decimals.")
    currency: Currency | None = Field(None, description="ISO 4217; the workspace's by default.")
    quantity: Quantity | None = Field(None, description="Of pieces; by default the lines' together, or 1.")
    ordered_at: datetime | None = Field(None, description="In the workspace's time zone without an offset.")
    ordered_on: date | None = Field(None, description="Where only the day is known.")
    status: OrderStatus | None = Field(None, description="`placed`, or `refunded` where `refunded` says so.")
    refunded: Amount | None = Field(None, description="What was paid back of the total.")
    lines: list[LineIn] | None = Field(None, max_length=MOST_LINES)
    historical: bool = Field(False, description="Fills everything, and starts no flow.")

    model_config = example(
        {
            "order_id": "2026-10017",
            "email": "ada@example.com",
            "total": "120.00",
            "currency": "EUR",
            "ordered_at": "2026-01-15T10:24:00Z",
            "lines": [{"sku": "LP-1017", "name": "Kind of Blue", "quantity": 2, "price": "60.00"}],
        }
    )

    @model_validator(mode="after")
    def _belongs_to_somebody(self) -> "OrderIn":
        if not self.names:
            raise ValueError("Say whose order this is: email, user_id, phone or anonymous_id.")
        return self

    @model_validator(mode="after")
    def _can_be_told_from_others(self) -> "OrderIn":
        if not (self.order_id or self.ordered_at or self.ordered_on):
            raise ValueError("Say when it was ordered, or give its order_id: so it is stored once.")
        return self

    @property
    def names(self) -> Mapping[IdentityKind, str]:
        return {kind: name for kind in IdentityKind if (name := getattr(self, kind.value))}

    @property
    def pieces(self) -> int:
        return self.quantity or min(sum(line.quantity for line in self.lines or ()) or 1, LARGEST_QUANTITY)


@dataclass
class Taken:
    """What became of the orders of a request."""

    rows: dict[int, Coming] = field(default_factory=dict)  # By their place in the request.
    wrong: dict[int, list[CampanileError]] = field(default_factory=dict)

    def named(self) -> Iterator[tuple[int, str]]:
        for index, row in self.rows.items():
            yield index, (row.properties or {})["key"]


async def read(
    opened: Stack, workspace_id: UUID, given: Sequence[tuple[int, OrderIn]], now: datetime
) -> Taken:
    """The arrivals that these orders, with their places, are; and what is wrong with the others."""
    async with opened.sessions(workspace_id) as db:
        workspace = await workspaces.get(db, workspace_id)
        own = {order.order_id for _, order in given if order.order_id}
        stored = {order.key: order for order in (await orders.known(db, own) if own else ())}
    keys, taken = Keys(), Taken()
    firsts: dict[str, tuple[What, OrderIn]] = {}
    for index, order in given:
        try:
            taken.rows[index] = row = _arrival(order, workspace, keys, now)
            if order.order_id in stored:
                _same(row, stored[order.order_id])
            if order.order_id:
                first, other = firsts.setdefault(order.order_id, (_what(row), order))
                if wrong := contradiction_within(_what(row), order.names, first, other.names):
                    raise wrong
        except CampanileError as error:
            taken.rows.pop(index, None)
            taken.wrong[index] = [error]
    return taken


async def standing(opened: Stack, workspace_id: UUID, which: str) -> tuple[str, Standing]:
    """The key of an order, and how it stands: as it is stored, or as it was told and waits to be stored.

    Raises `NotFound`.
    """
    async with opened.sessions(workspace_id) as db:
        stored = await orders.known(db, [which])
    if not stored:
        async with opened.sessions.engine() as db:
            waiting = await arrivals.order(db, workspace_id, which)
        if waiting is not None:
            total, refunded = Decimal(waiting["total"]), Decimal(waiting["refunded"])
            return which, Standing(total, refunded, OrderStatus(waiting["status"]), None)
    # By its id; or the pump stored it while we looked.
    async with opened.sessions(workspace_id) as db:
        order = await orders.find(db, which)
    return order.key, Standing(order.total, order.refunded, OrderStatus(order.status), order.changed_at)


async def keep(opened: Stack, rows: Sequence[Coming], told: Sequence[Told] = ()) -> None:
    """Write arrivals, and what was refused beside them; it is all safe when this returns."""
    async with opened.sessions.engine() as db:
        await arrivals.put(db, rows)
        if told:
            await refusals.keep(db, told)


def told(
    workspace_id: UUID,
    wrong: Mapping[int, Sequence[CampanileError]],
    names: Mapping[int, str | None],
    now: datetime,
) -> list[Told]:
    """What is noted of orders that were refused, whose ids are `names`."""
    return [
        Told(
            workspace_id,
            now,
            RefusalStage.REQUEST,
            EventKind.ORDER,
            names.get(index),
            None,
            error.field or "",
            error.message,
            None,
        )
        for index, errors in wrong.items()
        for error in errors
    ]


def _arrival(order: OrderIn, workspace: Workspace, keys: Keys, now: datetime) -> Coming:
    at, written = moment(order.ordered_at, order.ordered_on, ZoneInfo(workspace.time_zone), now)
    currency = order.currency or workspace.currency
    # As it was told: `refunded` without an amount is all of it.
    back = order.refunded
    if back is None:
        back = order.total if order.status is OrderStatus.REFUNDED else Decimal(0)
    stands = refund(order.total, back, order.status)
    if order.status is OrderStatus.CANCELLED:
        stands["status"] = OrderStatus.CANCELLED.value
    key = order.order_id or keys.key(order.names, written or "", order.pieces, order.total, currency)
    lines = [line.model_dump(mode="json", exclude_none=True) for line in order.lines or ()]
    said = {"total": money.shown(order.total), "currency": currency, "quantity": order.pieces}
    return Coming(
        workspace_id=workspace.id,
        received_at=now,
        kind=EventKind.ORDER,
        historical=order.historical,
        occurred_at=min(at, now),
        properties={"key": key, **said, **stands, "lines": lines or None, "source": "api"},
        email=order.email,
        phone=order.phone,
        user_id=order.user_id,
        anonymous_id=order.anonymous_id,
    )


def _same(row: Coming, stored: Order) -> None:
    if wrong := contradiction(_what(row), (stored.total, stored.currency, stored.quantity)):
        raise wrong


def _what(row: Coming) -> What:
    said = row.properties or {}
    return Decimal(said["total"]), said["currency"], said["quantity"]

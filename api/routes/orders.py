"""Orders: a shop tells of them and of what becomes of them, and they are read.

What is told is checked at once and kept in the inbox before we answer; the pump stores it a moment later.
"""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Path, Query, status
from pydantic import Field, ValidationError

from api.callers import WorkspaceId, needs
from api.deps import Db, Pages
from api.errors import at_fault
from api.manners import Feature
from api.moments import aware
from api.ordering import Amount, Currency, Email, OrderIn, keep, read, standing, told
from api.shapes import In, Out, Page, absent, example, page_of
from api.stack import Opened
from domain import money
from domain.errors import CampanileError, Invalid
from domain.events import EventKind
from domain.orders import MOST_ORDERS, OrderStatus
from domain.roles import Permission
from models.orders import Order
from models.queries import orders, profiles_found
from models.queries.arrivals import Coming

router = Feature(prefix="/orders", tags=["orders"])

ThatOrder = Annotated[str, Path(max_length=1000, description="The order's id or its key.")]
_ID = "0199f1c2-a4b7-7e55-8f8a-9b0c1d2e3f40"


class OrderKeyOut(Out):
    """What the order is known by from here on."""

    key: str

    model_config = example({"key": "2026-10017"})


class OrdersIn(In):
    orders: list[dict[str, Any]] = Field(
        min_length=1,
        max_length=MOST_ORDERS,
        json_schema_extra={"items": {"$ref": "#/components/schemas/OrderIn"}},
    )

    model_config = example(
        {
            "orders": [
                {
                    "email": "ada@example.com",
                    "total": "29.33",
                    "ordered_on": "2025-12-24",
                    "historical": True,
                },
                {"email": "ada@example.com", "total": 12.5, "currency": "USD", "order_id": "2026-10018"},
            ]
        }
    )


class OrderKeptOut(Out):
    index: int = Field(description="The order's place in the request, from 0.")
    key: str


class OrderRefusedOut(Out):
    """An order of the request that was not taken."""

    index: int
    pointer: str = Field(description="JSON pointer into the body.")
    detail: str


class OrdersOut(Out):
    accepted: list[OrderKeptOut]
    refused: list[OrderRefusedOut]

    model_config = example(
        {
            "accepted": [{"index": 0, "key": "ada@example.com:2025-12-24:1:29.33:USD#1"}],
            "refused": [{"index": 1, "pointer": "/orders/1/total", "detail": "This field is required."}],
        }
    )


class OrderChange(In):
    """What became of an order. What is left out stays."""

    status: OrderStatus = Field(default_factory=absent, description="`cancelled` or `refunded`.")
    refunded: Amount = Field(
        default_factory=absent, description="How much of the total was paid back so far, altogether."
    )
    changed_at: datetime = Field(
        default_factory=absent, description="When, by the shop's clock: an older change never undoes a newer."
    )

    model_config = example({"refunded": "20.00"})


class OrderOut(Out):
    id: UUID
    key: str = Field(description="The shop's order id, or what an order without one is known by.")
    profile_id: UUID
    ordered_at: datetime
    quantity: int
    total: str
    refunded: str
    currency: str
    status: OrderStatus
    source: str
    lines: list[Any] | None
    created_at: datetime
    changed_at: datetime | None

    model_config = example(
        {
            "id": _ID,
            "key": "2026-10017",
            "profile_id": "0199f1c2-a4b2-7e11-8c4d-5e6f7a8b9c0d",
            "ordered_at": "2026-01-15T10:24:00Z",
            "quantity": 2,
            "total": "120.00",
            "refunded": "20.00",
            "currency": "EUR",
            "status": "refunded",
            "source": "api",
            "lines": [{"sku": "LP-1017", "name": "Kind of Blue", "quantity": 2, "price": "60.00"}],
            "created_at": "2026-01-15T10:24:01Z",
            "changed_at": "2026-01-20T09:00:00Z",
        }
    )


@router.post("", status_code=status.HTTP_202_ACCEPTED, dependencies=[needs(Permission.ORDERS_WRITE)])
async def place_order(body: OrderIn, workspace_id: WorkspaceId, opened: Opened) -> OrderKeyOut:
    """Tell of an order. It is safe when we answer, and stored within moments."""
    taken = await read(opened, workspace_id, [(0, body)], opened.clock.now())
    if taken.wrong:
        await keep(opened, [], told(workspace_id, taken.wrong, {0: body.order_id}, opened.clock.now()))
        raise taken.wrong[0][0]
    await keep(opened, [*taken.rows.values()])
    [(_, key)] = taken.named()
    return OrderKeyOut(key=key)


@router.post("/batch", status_code=status.HTTP_202_ACCEPTED, dependencies=[needs(Permission.ORDERS_WRITE)])
async def place_orders(body: OrdersIn, workspace_id: WorkspaceId, opened: Opened) -> OrdersOut:
    """Tell of up to 1,000 orders. A bad one is refused by its index, and the others are kept.

    Where none can be kept, the answer is 422.
    """
    good: list[tuple[int, OrderIn]] = []
    wrong: dict[int, list[CampanileError]] = {}
    for index, each in enumerate(body.orders):
        try:
            good.append((index, OrderIn.model_validate(each)))
        except ValidationError as error:
            wrong[index] = [Invalid(one.detail, one.pointer) for one in at_fault(error, each, OrderIn)]
    now = opened.clock.now()
    taken = await read(opened, workspace_id, good, now)
    wrong = dict(sorted((wrong | taken.wrong).items()))
    for index, errors in wrong.items():
        for one in errors:
            one.field, one.message = _whole(f"/orders/{index}{one.field or ''}"), _whole(one.message)
    named = {index: _named(each) for index, each in enumerate(body.orders)}
    await keep(opened, [*taken.rows.values()], told(workspace_id, wrong, named, now))
    if not taken.rows:
        first, *others = (Invalid(each.message, each.field) for errors in wrong.values() for each in errors)
        first.also = [*others]
        raise first
    return OrdersOut(
        accepted=[OrderKeptOut(index=index, key=key) for index, key in taken.named()],
        refused=[
            OrderRefusedOut(index=index, pointer=each.field or "", detail=each.message)
            for index, errors in wrong.items()
            for each in errors
        ],
    )


@router.get("", dependencies=[needs(Permission.ORDERS_READ)])
async def list_orders(
    db: Db,
    workspace_id: WorkspaceId,
    pages: Pages,
    profile_id: Annotated[UUID | None, Query(description="Only this profile's.")] = None,
    email: Annotated[Email | None, Query(description="Only theirs who have this address.")] = None,
    since: Annotated[datetime | None, Query(alias="from", description="Ordered then or later.")] = None,
    before: Annotated[datetime | None, Query(alias="to", description="Ordered before then.")] = None,
    state: Annotated[OrderStatus | None, Query(alias="status")] = None,
    currency: Annotated[Currency | None, Query()] = None,
) -> Page[OrderOut]:
    """Orders, the last stored first. Times without an offset are in the workspace's time zone."""
    if profile_id and email:
        raise Invalid("Both say whose: leave this or profile_id out.", "?email")
    if email:
        profile_id = (await profiles_found.find(db, email)).profile.id
    elif profile_id:
        profile_id = (await profiles_found.find(db, str(profile_id))).profile.id
    since, before = await aware(db, workspace_id, since), await aware(db, workspace_id, before)
    asked = orders.Asked(profile_id, since, before, state, currency)
    found = await orders.page(db, asked, pages.after, pages.limit)
    return page_of([shown(row) for row in found], [row.id for row in found], pages.limit)


@router.get("/{order}", dependencies=[needs(Permission.ORDERS_READ)])
async def read_order(order: ThatOrder, db: Db) -> OrderOut:
    """One order, by its id or its key."""
    return shown(await orders.find(db, order))


@router.patch("/{order}", status_code=status.HTTP_202_ACCEPTED, dependencies=[needs(Permission.ORDERS_WRITE)])
async def change_order(
    order: ThatOrder, change: OrderChange, workspace_id: WorkspaceId, opened: Opened
) -> OrderKeyOut:
    """Refund an order, all of it or a part, or cancel it. Its buyer's sums follow within moments.

    The last word by `changed_at` holds, which is now unless you say. An order that was told a moment ago can
    be changed by its key at once. A cancelled order stays cancelled.
    """
    said = change.model_fields_set
    if not said & {"status", "refunded"}:
        raise Invalid("Name at least one field to change: `status` or `refunded`.")
    if "status" in said and change.status is OrderStatus.PLACED:
        raise Invalid(
            "Write `cancelled` or `refunded`; to take a refund back, set `refunded` to 0.", "/status"
        )
    now = opened.clock.now()
    key, stands = await standing(opened, workspace_id, order)
    async with opened.sessions(workspace_id) as db:
        at = await aware(db, workspace_id, change.changed_at if "changed_at" in said else None) or now
    if at > now:
        raise Invalid("This lies in the future: leave it out if it is now.", "/changed_at")
    after = stands.after(
        change.status if "status" in said else None, change.refunded if "refunded" in said else None, at
    )
    row = Coming(workspace_id, now, EventKind.ORDER_CHANGE, at, {"key": key, **after})
    await keep(opened, [row])
    return OrderKeyOut(key=key)


def shown(row: Order) -> OrderOut:
    amounts = {"total": money.shown(row.total), "refunded": money.shown(row.refunded)}
    return OrderOut.model_validate({**vars(row), **amounts})


def _named(given: dict[str, Any]) -> str | None:
    name = given.get("order_id")
    return _whole(name[:255]) if isinstance(name, str) else None


def _whole(text: str) -> str:
    """Without what can be neither stored nor answered."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")

"""Conditions on what somebody did: orders, events, one event after another, and messages."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import Field, ValidationInfo, field_validator, model_validator

from domain.comparisons import Name, Node, Property, all_hold, scalar
from domain.conditions import CLOCK
from domain.events import ORDER_PLACED
from domain.facts import Did, Person
from domain.measures import OF_TIME, Size, count, meets, suits
from domain.moments import Span, When, Window, length, moment, moves, within
from domain.money import Code
from domain.values import as_number

MOST_PRODUCTS = 1_000
MOST_PROPERTIES = 20
MOST_STEPS = 5

Where = Annotated[tuple[Property, ...], Field(max_length=MOST_PROPERTIES)]
MeasureOp = Literal["is", ">", ">=", "<", "<=", "before", "on or after"]


def _reads_clock(window: Window | None, *moments: Any) -> Iterator[str]:
    if (window is not None and window.moves) or any(
        isinstance(each, str) and moves(each) for each in moments
    ):
        yield CLOCK


def _known(name: str, *, has_properties: bool) -> None:
    """Raises `ValueError` where an order's properties are asked for: as an event it has none."""
    if name == ORDER_PLACED and has_properties:
        raise ValueError(
            f'Of "{ORDER_PLACED}" it is known here how often it happened, and when: ask by a condition of '
            'the kind "orders" what was ordered, and leave the properties out.'
        )


def did(name: str, where: Where, window: Window | None, person: Person, when: When) -> list[Did]:
    """What the person did of this. Their orders are events as well, unless they were cancelled."""
    of_orders = (Did(ORDER_PLACED, each.at) for each in person.purchases if name == ORDER_PLACED)
    return [
        each
        for each in (*of_orders, *person.events)
        if each.name == name and within(window, each.at, when) and all_hold(where, each.properties)
    ]


def _read_by(name: str) -> str:
    return "orders" if name == ORDER_PLACED else f"event:{name}"


class Orders(Node):
    """What the profile's orders add up to, in one currency.

    `total`, `average` and `largest` are money, compared exactly: a number, or a text such as "100.50".
    `count` is a whole number, `first` and `last` are the first and last order's instants. Who has no such
    order has a total and a count of 0, and none of the others. With `products`, orders that have one of these
    in a line count, and as a whole.
    """

    kind: Literal["orders"] = "orders"
    measure: Literal["total", "count", "average", "largest", "first", "last"]
    op: MeasureOp
    value: str | int | float
    currency: Code | None = None  # None: the workspace's.
    window: Window | None = None  # Of when they were placed.
    products: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MOST_PRODUCTS)] | None = None

    @field_validator("op")
    @classmethod
    def _suits(cls, op: str, info: ValidationInfo) -> str:
        return suits(op, info.data["measure"]) if "measure" in info.data else op

    @field_validator("value", mode="before")
    @classmethod
    def _fits(cls, value: Any, info: ValidationInfo) -> str | int | float:
        match info.data.get("measure"):
            case "total" | "average" | "largest":
                if isinstance(value, str) and as_number(value) is None:
                    raise ValueError("Write an amount as 100 or 100.50, without a currency.")
                if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
                    raise ValueError("Give an amount of money to compare with, such as 100.50.")
                return str(value) if isinstance(value, Decimal) else scalar(value)
            case "count":
                return count(value)
            case "first" | "last":
                return moment(value)
        return ""  # The measure is wrong, and said to be.

    @property
    def weight(self) -> int:
        return 10 if self.products else 5 if self.window else 2

    def reads(self) -> Iterator[str]:
        yield "orders"
        yield from _reads_clock(self.window, self.value if self.measure in ("first", "last") else None)

    def holds(self, person: Person, when: When) -> bool:
        counted = [
            each
            for each in person.purchases
            if each.currency == (self.currency or when.currency)
            and within(self.window, each.at, when)
            and (self.products is None or not each.products.isdisjoint(self.products))
        ]
        times, amounts = [each.at for each in counted], [each.total for each in counted]
        return meets(self.measure, self.op, self.value, times, amounts, when)


class Event(Node):
    """How often somebody did something, or what a property of it adds up to.

    Only what was done in the `window` counts, and only where all of `where` holds of its properties. Who
    never did it has a count and a sum of 0, and nothing else; a property that is no number is not added up.
    """

    kind: Literal["event"] = "event"
    name: Name
    where: Where = ()
    window: Window | None = None
    measure: Literal["count", "sum", "average", "largest", "first", "last"] = "count"
    property_: Name | None = Field(default=None, alias="property")  # What is added up.
    op: MeasureOp = ">="
    value: str | int | float = 1

    @field_validator("op")
    @classmethod
    def _suits(cls, op: str, info: ValidationInfo) -> str:
        return suits(op, info.data["measure"]) if "measure" in info.data else op

    @field_validator("value", mode="before")
    @classmethod
    def _fits(cls, value: Any, info: ValidationInfo) -> str | int | float:
        match info.data.get("measure"):
            case "count":
                return count(value)
            case "first" | "last":
                return moment(value)
            case "sum" | "average" | "largest":
                if isinstance(value, bool) or as_number(value) is None:
                    raise ValueError("Give a number to compare with.")
                return scalar(value)
        return ""

    @model_validator(mode="after")
    def _is_whole(self) -> Event:
        adds_up = self.measure in ("sum", "average", "largest")
        if adds_up != (self.property_ is not None):
            raise ValueError(
                f'Name the "property" whose {self.measure} it is.'
                if adds_up
                else f'To ask for the {self.measure} no "property" is needed: leave it out.'
            )
        _known(self.name, has_properties=bool(self.where or adds_up))
        if (self.where or adds_up) and (self.window is None or self.window.after is None):
            raise ValueError(
                "To look into the properties of every such event that there ever was would take too long: "
                'give a "window" with an "after", such as {"after": "90 days ago"}.'
            )
        if self.measure in OF_TIME and not {"op", "value"} <= self.model_fields_set:
            raise ValueError(f'Say when the {self.measure} was: add an "op" and a "value".')
        return self

    @property
    def weight(self) -> int:
        return 15 if self.where or self.property_ else 8

    def reads(self) -> Iterator[str]:
        yield _read_by(self.name)
        yield from _reads_clock(self.window, self.value if self.measure in ("first", "last") else None)

    def holds(self, person: Person, when: When) -> bool:
        counted = did(self.name, self.where, self.window, person, when)
        amounts = []
        if self.property_ is not None:
            found = (as_number(each.properties.get(self.property_)) for each in counted)
            amounts = [number for number in found if number is not None]
        return meets(self.measure, self.op, self.value, [each.at for each in counted], amounts, when)


class Then(Node):
    """One of a sequence: what was done, and how soon after what came before."""

    name: Name
    where: Where = ()
    within: Span | None = None

    @model_validator(mode="after")
    def _is_known(self) -> Then:
        _known(self.name, has_properties=bool(self.where))
        return self


class Sequence_(Node):
    """One thing after another, each later than the one before it, and all of them in the window."""

    kind: Literal["sequence"] = "sequence"
    steps: Annotated[tuple[Then, ...], Field(min_length=2, max_length=MOST_STEPS)]
    window: Window

    @model_validator(mode="after")
    def _is_bounded(self) -> Sequence_:
        if self.window.after is None:
            raise ValueError(
                "To look for it among all events that there ever were would take too long: give the window "
                'an "after", such as "60 days ago".'
            )
        if self.steps[0].within is not None:
            raise ValueError('Nothing comes before the first step: leave its "within" out.')
        return self

    @property
    def weight(self) -> int:
        return 15 * len(self.steps)

    def reads(self) -> Iterator[str]:
        yield from (_read_by(step.name) for step in self.steps)
        yield from _reads_clock(self.window)

    def holds(self, person: Person, when: When) -> bool:
        reached: list[datetime] = []  # When the steps so far were complete, the earliest first.
        for nth, step in enumerate(self.steps):
            soon = length(step.within) if step.within else timedelta.max
            found = sorted(each.at for each in did(step.name, step.where, self.window, person, when))
            reached = found if nth == 0 else [at for at in found if _soon_after(reached, at, soon)]
        return bool(reached)


def _soon_after(earlier: Sequence[datetime], at: datetime, soon: timedelta) -> bool:
    """Whether the last of these, in their order, that was before `at` was no longer before it than `soon`."""
    place = bisect_left(earlier, at)
    return place > 0 and at - earlier[place - 1] <= soon


class Messages(Node):
    """How many messages of the ledger the person received, opened or clicked, or bounced.

    `received`: the provider took it. The window is of when that was, or of the first open or click; of a
    bounce, of when the message was sent.
    """

    kind: Literal["messages"] = "messages"
    did: Literal["received", "opened", "clicked", "bounced"]
    channel: Literal["email", "sms", "whatsapp", "push"] | None = None
    campaign_id: UUID | None = None
    flow_id: UUID | None = None
    window: Window | None = None
    op: Size = ">="
    value: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 1

    @model_validator(mode="after")
    def _is_bounded(self) -> Messages:
        if self.campaign_id and self.flow_id:
            raise ValueError("A message is a campaign's or a flow's: name one of them.")
        if self.source_id is None and (self.window is None or self.window.after is None):
            raise ValueError(
                "To look at every message that was ever sent would take too long: name a campaign or a flow, "
                'or give a "window" with an "after", such as {"after": "90 days ago"}.'
            )
        return self

    weight: ClassVar[int] = 10

    @property
    def source_id(self) -> UUID | None:
        return self.campaign_id or self.flow_id

    def reads(self) -> Iterator[str]:
        yield "messages"
        yield from _reads_clock(self.window)

    def holds(self, person: Person, when: When) -> bool:
        times = []
        for sent in person.messages:
            at = {
                "received": sent.at if sent.received else None,
                "opened": sent.opened_at,
                "clicked": sent.clicked_at,
                "bounced": sent.at if sent.bounced else None,
            }[self.did]
            if (
                at is not None
                and self.channel in (None, sent.channel)
                and self.source_id in (None, sent.source_id)
                and within(self.window, at, when)
            ):
                times.append(at)
        return meets("count", self.op, self.value, times, [], when)


class Message(Node):
    """What became of a message of this very journey: of a flow's step, in a branch of the flow.

    `received` says that the provider took it, which is all we know at once. Where a loop sent the
    message more than once, any of them counts.
    """

    kind: Literal["message"] = "message"
    did: Literal["received", "opened", "clicked"]
    step: Name

    weight: ClassVar[int] = 2

    def reads(self) -> Iterator[str]:
        yield from ()

    def holds(self, person: Person, when: When) -> bool:
        return self.did in person.replies.get(self.step, frozenset())

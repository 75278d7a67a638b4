"""A segment is a rule: a tree of `all`, `any` and `not` over conditions on one profile.

{"all": [{"kind": "orders", "measure": "total", "op": ">=", "value": "100"},
         {"not": {"kind": "attribute", "name": "country", "op": "is", "value": "DE"}}]}

Everything here is either true or false, never unknown: a condition on something that a profile does
not have is false, and so its `not` is true. `{"all": []}` is everybody, `{"any": []}` nobody.
`holds` says what a rule means for one profile; `models/queries/segments.py` says it for all of them. A
new kind of condition is a class in `Condition` and `Rule`, a case in `holds`, and a case in there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias, assert_never
from zoneinfo import ZoneInfo

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from domain.comparisons import Comparison, Name, Node, scalar
from domain.errors import Invalid
from domain.money import Code
from domain.values import COMPARE, as_number

DEEPEST = 20  # Levels of a tree.
MOST_CONDITIONS = 200
MOST_ORDERS = 1_000_000_000

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INSTANT = re.compile(_DATE.pattern + r"[T ][0-9]{2}:[0-9]{2}.*(Z|[+-][0-9]{2}:?[0-9]{2})")


class All(Node):
    all: tuple[Part, ...]


class Any_(Node):
    any: tuple[Part, ...]


class Not(Node):
    not_: Part = Field(alias="not")


class Attribute(Comparison):
    """What the profile's attribute says, read as `Comparison` has it."""

    kind: Literal["attribute"] = "attribute"


class Orders(Node):
    """What the profile's orders add up to, in one currency.

    `total` is money, compared exactly: a number, or a text such as "100.50". `count` is a whole number.
    Who never ordered in that currency has a total and a count of 0. `first` and `last` are the first and
    last order's instants: a date means midnight in the workspace's time zone, as both `before` and `on
    or after` want it; who never ordered has neither.
    """

    kind: Literal["orders"] = "orders"
    measure: Literal["total", "count", "first", "last"]
    op: Literal["is", ">", ">=", "<", "<=", "before", "on or after"]
    value: str | int | float
    currency: Code | None = None  # None: the workspace's.

    @field_validator("op")
    @classmethod
    def _suits(cls, op: str, info: ValidationInfo) -> str:
        is_time = info.data.get("measure") in ("first", "last")
        if "measure" in info.data and is_time != (op in ("before", "on or after")):
            allowed = '"before" or "on or after"' if is_time else "is, >, >=, <, or <="
            raise ValueError(f'Compare "{info.data["measure"]}" by {allowed}.')
        return op

    @field_validator("value", mode="before")
    @classmethod
    def _fits(cls, value: Any, info: ValidationInfo) -> str | int | float:
        match info.data.get("measure"):
            case "total":
                if isinstance(value, str) and as_number(value) is None:
                    raise ValueError("Write an amount as 100 or 100.50, without a currency.")
                if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
                    raise ValueError("Give an amount of money to compare with, such as 100.50.")
                return str(value) if isinstance(value, Decimal) else scalar(value)
            case "count":
                if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_ORDERS:
                    raise ValueError(f"Give a whole number between 0 and {MOST_ORDERS:,}.")
                return value
            case "first" | "last":
                return _moment(value)
        return ""  # The measure is wrong, and said to be.

    def operand(self, time_zone: str) -> Decimal | int | datetime:
        """What the measure is compared with: money, a number of orders, or an instant."""
        match self.measure:
            case "total":
                amount = as_number(self.value)
                assert amount is not None, "The validator refuses anything else."
                return amount
            case "count":
                return int(self.value)
            case "first" | "last":
                text = str(self.value)
                if _DATE.fullmatch(text):
                    return datetime.combine(date.fromisoformat(text), time(), ZoneInfo(time_zone))
                return datetime.fromisoformat(text)


def _moment(value: Any) -> str:
    """A date, or an instant with its offset from UTC, as it was written (ISO 8601)."""
    try:
        if isinstance(value, str) and _DATE.fullmatch(value):
            date.fromisoformat(value)
            return value
        if isinstance(value, str) and _INSTANT.fullmatch(value):
            datetime.fromisoformat(value)
            return value
    except ValueError:
        pass
    raise ValueError("Give a date such as 1998-01-31, or an instant such as 1998-01-31T08:00:00+01:00.")


class Message(Node):
    """What became of a message: in a flow, of the step's message in this very journey.

    `received` says that the provider took it, which is all we know at once. Where a loop sent the
    message more than once, any of them counts.
    """

    kind: Literal["message"] = "message"
    did: Literal["received", "opened", "clicked"]
    step: Name


def _tag(value: Any) -> str | None:
    match value:
        case dict():
            kind = value.get("kind")
            return next((word for word in _GROUPS if word in value), kind if isinstance(kind, str) else None)
        case All():
            return "all"
        case Any_():
            return "any"
        case Not():
            return "not"
        case _:
            return getattr(value, "kind", None)


_GROUPS = ("all", "any", "not")

Condition: TypeAlias = Attribute | Orders | Message


def _about_the_profile(value: Any) -> Any:
    """Says where conditions on an event belong, to somebody who puts one among those on a profile."""
    if isinstance(value, dict) and value.get("kind") == "property":
        raise ValueError(
            'A condition on a property of an event stands in the "where" of an event trigger or of a '
            "wait_for_event step; a segment or a branch can't ask about it yet."
        )
    return value


Part = Annotated[
    Annotated[All, Tag("all")]
    | Annotated[Any_, Tag("any")]
    | Annotated[Not, Tag("not")]
    | Annotated[Attribute, Tag("attribute")]
    | Annotated[Orders, Tag("orders")]
    | Annotated[Message, Tag("message")],
    Discriminator(
        _tag,
        custom_error_type="rule",
        custom_error_message='Write {"all": […]}, {"any": […]}, {"not": …}, or a condition whose "kind" is '
        "attribute, orders or message.",
    ),
    BeforeValidator(_about_the_profile),
]


def _within_limits(value: Any) -> Any:
    """Look at the shape before anything walks down the tree."""
    leaves, ahead = 0, [(value, 1)]
    while ahead:
        node, depth = ahead.pop()
        parts: list[Any] = []
        if isinstance(node, dict):
            for inside in (node[word] for word in _GROUPS if word in node):
                parts += inside if isinstance(inside, list | tuple) else [inside]
        elif isinstance(node, All | Any_ | Not):
            parts += _parts(node)
        leaves += not parts
        if depth > DEEPEST:
            raise ValueError(f"The rule is nested more than {DEEPEST} levels deep; flatten it.")
        if leaves > MOST_CONDITIONS:
            raise ValueError(f"The rule has more than {MOST_CONDITIONS} conditions; make do with fewer.")
        ahead += [(part, depth + 1) for part in parts]
    return value


Rule = Annotated[Part, BeforeValidator(_within_limits)]

_RULE: TypeAdapter[Rule] = TypeAdapter(Rule)


def parse(data: Any, field: str = "/rule", in_flow: bool = False) -> Rule:
    """The rule that JSON says, which stands at the JSON pointer `field` of what was sent.

    Raises `Invalid`, in one sentence and with the pointer to what is wrong: the first thing, if there
    are several. A condition on a message has a meaning only in a flow.
    """
    try:
        rule = _RULE.validate_python(data)
    except ValidationError as errors:
        error = errors.errors(include_url=False)[0]
        raise Invalid(_sentence(error), field + _pointer(error["loc"])) from None
    if not in_flow and any(isinstance(each, Message) for each in conditions(rule)):
        raise Invalid("Only a branch of a flow can ask about a message of its own journey.", field)
    return rule


def _sentence(error: Any) -> str:
    match error["type"]:
        case "missing":
            return f'"{error["loc"][-1]}" is missing; add it.'
        case "extra_forbidden":
            return f'There is no "{error["loc"][-1]}" here; take it out.'
        case "literal_error":
            choices = error["ctx"]["expected"].replace("' or '", "', '")
            return f"Write one of these: {choices}."
        case "tuple_type":
            return "Give a list of conditions."
        case "rule" | "value_error":
            return str(error["msg"]).removeprefix("Value error, ")
    return str(error["msg"]).replace("Input should", "This should") + "."


def _pointer(loc: tuple[int | str, ...]) -> str:
    """The JSON pointer to an error, without the tags that pydantic puts wherever a rule begins."""
    pointer, rest = "", list(loc)
    while rest:
        tag = rest.pop(0)
        steps = rest[: {"all": 2, "any": 2, "not": 1}.get(str(tag), len(rest))]
        pointer += "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)
        del rest[: len(steps)]
    return pointer


def _parts(rule: All | Any_ | Not) -> tuple[Part, ...]:
    match rule:
        case All(all=parts) | Any_(any=parts):
            return parts
        case Not(not_=part):
            return (part,)


def conditions(rule: Part) -> Iterator[Condition]:
    """The leaves of the tree."""
    match rule:
        case All() | Any_() | Not():
            for part in _parts(rule):
                yield from conditions(part)
        case _:
            yield rule


@dataclass(frozen=True, slots=True)
class Rollup:
    """What a profile's orders in one currency add up to."""

    total: Decimal
    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Person:
    """What a rule may ask about one profile."""

    attributes: Mapping[str, Any] = field(default_factory=dict)  # As JSON.
    orders: Mapping[str, Rollup] = field(default_factory=dict)  # By currency.
    # What was done with this journey's messages, by step: words of Message.did.
    messages: Mapping[str, frozenset[str]] = field(default_factory=dict)


def holds(rule: Part, person: Person, *, now: datetime, time_zone: str, currency: str) -> bool:
    """Whether the rule is true for one profile.

    `now` is what "ago" counts from; `time_zone` (IANA) and `currency` (ISO 4217) are the workspace's.
    """

    def met(part: Part) -> bool:
        match part:
            case All(all=parts):
                return all(met(each) for each in parts)
            case Any_(any=parts):
                return any(met(each) for each in parts)
            case Not(not_=negated):
                return not met(negated)
            case Attribute():
                return part.holds(person.attributes.get(part.name))
            case Orders():
                found = _measured(part, person.orders.get(part.currency or currency))
                return found is not None and bool(COMPARE[part.op](found, part.operand(time_zone)))
            case Message():
                return part.did in person.messages.get(part.step, frozenset())
            case _:
                assert_never(part)

    return met(rule)


def _measured(condition: Orders, rollup: Rollup | None) -> Decimal | int | datetime | None:
    match condition.measure:
        case "total":
            return rollup.total if rollup else Decimal(0)
        case "count":
            return rollup.count if rollup else 0
        case "first":
            return rollup.first_at if rollup else None
        case "last":
            return rollup.last_at if rollup else None

"""A segment is a rule: a tree of `all`, `any` and `not` over conditions on one profile.

{"all": [{"kind": "orders", "measure": "total", "op": ">=", "value": "100"},
         {"not": {"kind": "attribute", "name": "country", "op": "is", "value": "DE"}}]}
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag


class Node(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class All(Node):
    all: tuple[Rule, ...]


class Any_(Node):
    any: tuple[Rule, ...]


class Not(Node):
    not_: Rule = Field(alias="not")


class Attribute(Node):
    """What the profile's attribute says."""

    kind: Literal["attribute"]
    name: str
    op: str
    value: Any = None


class Orders(Node):
    """What the profile's orders add up to, in one currency."""

    kind: Literal["orders"]
    measure: Literal["total", "count", "first", "last"]
    op: str
    value: Any
    currency: str | None = None


class Message(Node):
    """What became of a message: in a flow, of the step's message in this very journey."""

    kind: Literal["message"]
    did: Literal["received", "opened", "clicked"]
    step: str


def _tag(value: Any) -> str | None:
    if isinstance(value, dict):
        return next((word for word in ("all", "any", "not") if word in value), value.get("kind"))
    return {All: "all", Any_: "any", Not: "not"}.get(type(value), getattr(value, "kind", None))


Rule = Annotated[
    Annotated[All, Tag("all")]
    | Annotated[Any_, Tag("any")]
    | Annotated[Not, Tag("not")]
    | Annotated[Attribute, Tag("attribute")]
    | Annotated[Orders, Tag("orders")]
    | Annotated[Message, Tag("message")],
    Discriminator(_tag),
]


Condition = Attribute | Orders | Message


def conditions(rule: Rule) -> Iterator[Condition]:
    """The leaves of the tree."""
    match rule:
        case All(all=parts) | Any_(any=parts):
            for part in parts:
                yield from conditions(part)
        case Not(not_=part):
            yield from conditions(part)
        case _:
            yield rule

"""A segment is a rule: a tree of `all`, `any` and `not` over conditions on one profile.

{"all": [{"kind": "orders", "measure": "total", "op": ">=", "value": "100"},
         {"not": {"kind": "attribute", "name": "country", "op": "is", "value": "DE"}}]}

Everything here is either true or false, never unknown: a condition on something that a profile does
not have is false, and so its `not` is true. `{"all": []}` is everybody, `{"any": []}` nobody.
`holds` says what a rule means for one profile; `models/queries/segments.py` says it for all of them. A
new kind of condition is a class in `domain.conditions` or `domain.deeds`, a member of `Condition`, a case in
there, and a sentence in `domain.sentences`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, TypeAlias, get_args
from uuid import UUID

from pydantic import BeforeValidator, Discriminator, Field, Tag, TypeAdapter, ValidationError

from domain.comparisons import Node
from domain.conditions import (
    Attribute,
    Consent,
    Identity,
    InFlow,
    InSegment,
    Known,
    OnList,
    Share,
    Suppressed,
    Tagged,
    Topic,
)
from domain.deeds import Event, Message, Messages, Orders, Sequence_
from domain.errors import Invalid
from domain.facts import Person
from domain.moments import When

DEEPEST = 20  # Levels of a tree.
MOST_CONDITIONS = 200
HEAVIEST = 400  # Of all the conditions' weights.


class All(Node):
    all: tuple[Part, ...]


class Any_(Node):
    any: tuple[Part, ...]


class Not(Node):
    not_: Part = Field(alias="not")


Condition: TypeAlias = (
    Attribute
    | Identity
    | Known
    | Orders
    | Event
    | Sequence_
    | Messages
    | Message
    | Consent
    | Topic
    | Suppressed
    | OnList
    | Tagged
    | InSegment
    | InFlow
    | Share
)
KINDS = tuple(each.model_fields["kind"].default for each in get_args(Condition))


_GROUPS = ("all", "any", "not")


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


def _about_the_profile(value: Any) -> Any:
    """Says where conditions on an event belong, to somebody who puts one among those on a profile."""
    if isinstance(value, dict) and value.get("kind") == "property":
        raise ValueError(
            'A condition on a property of an event stands in the "where" of a condition of the kind event or '
            "sequence, or of a flow's event trigger or wait_for_event step."
        )
    return value


Part = Annotated[
    Annotated[All, Tag("all")]
    | Annotated[Any_, Tag("any")]
    | Annotated[Not, Tag("not")]
    | Annotated[Attribute, Tag("attribute")]
    | Annotated[Identity, Tag("identity")]
    | Annotated[Known, Tag("known")]
    | Annotated[Orders, Tag("orders")]
    | Annotated[Event, Tag("event")]
    | Annotated[Sequence_, Tag("sequence")]
    | Annotated[Messages, Tag("messages")]
    | Annotated[Message, Tag("message")]
    | Annotated[Consent, Tag("consent")]
    | Annotated[Topic, Tag("topic")]
    | Annotated[Suppressed, Tag("suppressed")]
    | Annotated[OnList, Tag("list")]
    | Annotated[Tagged, Tag("tag")]
    | Annotated[InSegment, Tag("segment")]
    | Annotated[InFlow, Tag("flow")]
    | Annotated[Share, Tag("share")],
    Discriminator(
        _tag,
        custom_error_type="rule",
        custom_error_message='Write {"all": […]}, {"any": […]}, {"not": …}, or a condition whose "kind" is '
        f"{', '.join(KINDS[:-1])} or {KINDS[-1]}.",
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
    are several. A condition on a message of a journey has a meaning only in a flow.
    """
    try:
        rule = _RULE.validate_python(data)
    except ValidationError as errors:
        error = errors.errors(include_url=False)[0]
        raise Invalid(_sentence(error), field + _pointer(error["loc"])) from None
    if not in_flow and any(isinstance(each, Message) for each in conditions(rule)):
        raise Invalid(
            'Only a branch of a flow can ask about a message of its own journey: "messages" asks about all.',
            field,
        )
    check_weight(rule, field)
    return rule


def as_json(rule: Rule) -> dict[str, Any]:
    """The rule as it is stored and shown: what has its default is left out where that is None."""
    written = _RULE.dump_python(rule, mode="json", by_alias=True, exclude_none=True)
    assert isinstance(written, dict)
    return written


def check_weight(rule: Part, field: str = "/rule") -> None:
    """Raises `Invalid` for a rule that would keep the database busy for too long."""
    leaves = [*conditions(rule)]
    weight = sum(each.weight for each in leaves)
    if weight > HEAVIEST or len(leaves) > MOST_CONDITIONS:
        raise Invalid(
            f"The rule has {len(leaves)} conditions, with those of the segments that it names, and costs as "
            f"much as {weight} plain attributes; {MOST_CONDITIONS} and {HEAVIEST} are allowed. Leave some "
            "out, first those on events and sequences.",
            field,
        )


def _sentence(error: Any) -> str:
    field = error["loc"][-1] if error["loc"] else ""
    match error["type"]:
        case "missing":
            return f'"{field}" is missing; add it.'
        case "extra_forbidden":
            return f'There is no "{field}" here; take it out.'
        case "literal_error" | "enum":
            choices = error["ctx"]["expected"].replace("' or '", "', '")
            return f"Write one of these: {choices}."
        case "tuple_type":
            return "Give a list of conditions." if field in _GROUPS else "Give a list."
        case "too_short" | "too_long" as wrong:
            least = wrong == "too_short"
            number = error["ctx"]["min_length" if least else "max_length"]
            return f"Give {'at least' if least else 'at most'} {number:,} of them."
        case "string_too_short":
            return "This is empty: write something, or leave the condition out."
        case "model_type" | "dict_type":
            shapes = {"window": '{"after": "30 days ago"}', "steps": '{"name": "Cart Left"}'}
            shape = next((shapes[each] for each in error["loc"] if each in shapes), '{"kind": …}')
            return f"Give an object here, such as {shape}."
        case "uuid_parsing" | "uuid_type":
            return "This is no id: copy it from where such things are listed, as GET /segments/schema does."
        case "float_parsing" | "float_type" | "int_parsing" | "int_type" | "int_from_float":
            return "Give a number here, without quotation marks."
        case "rule":
            return _unknown(error["input"]) + str(error["msg"])
        case "value_error":
            return str(error["msg"]).removeprefix("Value error, ")
    return str(error["msg"]).replace("Input should", "This should") + "."


def _unknown(found: Any) -> str:
    """Repeats the word that was meant for a kind."""
    kind = found.get("kind") if isinstance(found, dict) else None
    return f'There is no condition of the kind "{kind}". ' if isinstance(kind, str) else ""


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


def segments(rule: Part) -> frozenset[UUID]:
    """The other segments that a rule names itself."""
    return frozenset(each.segment_id for each in conditions(rule) if isinstance(each, InSegment))


def expand(rule: Part, others: Mapping[UUID, Part], field: str = "/rule") -> Part:
    """The rule with those of the segments that it names in their places, and so on.

    Raises `Invalid` for a segment that is not in `others`, for one that names itself in the end, and for
    a rule that becomes too large or too deep.
    """
    if not segments(rule):
        return rule
    _measure(rule, others, field)

    def whole(part: Part) -> Part:
        match part:
            case All(all=parts):
                return All(all=tuple(map(whole, parts)))
            case Any_(any=parts):
                return Any_(any=tuple(map(whole, parts)))
            case Not(not_=negated):
                return Not(not_=whole(negated))
            case InSegment(segment_id=other):
                return whole(others[other])
        return part

    expanded = whole(rule)
    check_weight(expanded, field)
    return expanded


def _measure(rule: Part, others: Mapping[UUID, Part], field: str) -> None:
    """Raises `Invalid` before a rule is written out that would be too large: it may double at every level."""
    known: dict[UUID, tuple[int, int]] = {}  # Of a segment's rule: how many conditions, and levels.

    def of(part: Part, path: tuple[UUID, ...]) -> tuple[int, int]:
        if isinstance(part, All | Any_ | Not):
            inside = [of(each, path) for each in _parts(part)]
            return sum(size for size, _ in inside) or 1, 1 + max((depth for _, depth in inside), default=0)
        if not isinstance(part, InSegment):
            return 1, 1
        if part.segment_id in path:
            raise Invalid("The segments name each other in a circle: take one of them out.", field)
        if part.segment_id not in others:
            raise Invalid(f"There is no segment {part.segment_id}: it was deleted, or never was.", field)
        if len(path) >= DEEPEST:
            raise Invalid(f"Segments name one another more than {DEEPEST} deep; flatten them.", field)
        if part.segment_id not in known:
            known[part.segment_id] = of(others[part.segment_id], (*path, part.segment_id))
        return known[part.segment_id]

    size, depth = of(rule, ())
    if size > MOST_CONDITIONS:
        raise Invalid(
            f"The rule has {size} conditions, with those of the segments that it names; {MOST_CONDITIONS} "
            "are allowed.",
            field,
        )
    if depth > DEEPEST:
        raise Invalid(
            f"With the segments that it names the rule is nested {depth} levels deep; {DEEPEST} are allowed: "
            "flatten them.",
            field,
        )


def reads(rule: Part) -> frozenset[str]:
    """What an expanded rule depends on, in these words:

    attribute:<name>, identities, orders, event:<name>, messages, consents, topics, suppressions, list:<id>,
    tags, flow:<id>, "time zone" (of the person), and clock: time alone may bring somebody in, or out.
    """
    return frozenset(word for each in conditions(rule) for word in each.reads())


def holds(rule: Part, person: Person, *, now: datetime, time_zone: str, currency: str) -> bool:
    """Whether the expanded rule is true for one profile.

    `now` is what "ago" counts from; `time_zone` (IANA) and `currency` (ISO 4217) are the workspace's.
    """
    when = When(now, time_zone, currency)

    def met(part: Part) -> bool:
        match part:
            case All(all=parts):
                return all(met(each) for each in parts)
            case Any_(any=parts):
                return any(met(each) for each in parts)
            case Not(not_=negated):
                return not met(negated)
        return part.holds(person, when)

    return met(rule)

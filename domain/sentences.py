"""A rule in the words of a marketer, and why it holds of somebody or does not.

"spent at least $100 over at least 2 orders and bought nothing in the last 180 days". The words go behind
"people who" and have no full stop. What stands in a `not` is said the other way round, so no denial reaches
over more than one condition. Groups in groups are told apart by "either" and "both", and by a comma or a
semicolon before the "and" or "or" that joins what is larger; where that is not enough, by brackets.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from domain import wording
from domain.conditions import InFlow, InSegment, OnList, Topic
from domain.deeds import Messages, Orders
from domain.facts import Person
from domain.findings import found
from domain.moments import When
from domain.phrases import Names, is_none, is_some, phrase, scope, size, spaced
from domain.segments import All, Any_, Condition, Not, Part, conditions, expand
from domain.wording import counted

__all__ = ["Explained", "Names", "explained", "sentence", "spoken_of"]

Joint = Literal["and", "or"]
Kind = Literal["list", "segment", "campaign", "flow", "topic"]


@dataclass(frozen=True, slots=True)
class Explained:
    """A part of a rule, asked about one person."""

    sentence: str
    holds: bool
    found: str | None = (
        None  # Of a condition: what there was to see, such as "the last order was on 3 May 2026".
    )
    parts: tuple[
        "Explained", ...
    ] = ()  # Of a group, of a `not`, and of another segment: what it consists of.


@dataclass(frozen=True, slots=True)
class _Leaf:
    condition: Condition
    denied: bool


@dataclass(frozen=True, slots=True)
class _Group:
    joint: Joint
    parts: "tuple[_Leaf | _Group, ...]"


def sentence(rule: Part, names: Names) -> str:
    """The rule in words. An id without a name in `names` is said to be unknown."""
    return _said(_plain(rule, False), names, None)[0]


def spoken_of(rule: Part) -> frozenset[tuple[Kind, UUID]]:
    """What a rule names by its id: what `Names` should know."""
    return frozenset(pair for each in conditions(rule) for pair in _ids(each))


def explained(
    rule: Part,
    person: Person,
    *,
    now: datetime,
    time_zone: str,
    currency: str,
    names: Names,
    others: Mapping[UUID, Part] | None = None,
) -> Explained:
    """Why the rule holds of a person, or why not: as `domain.segments.holds` has it of the expanded rule.

    `others` has the rules of the segments that it names, and of those that these name. Raises `Invalid` where
    one is missing, or where they go in a circle.
    """
    rules = others or {}
    expand(rule, rules)
    when = When(now, time_zone, currency)

    def of(part: Part) -> Explained:
        parts: tuple[Explained, ...] = ()
        seen: str | None = None
        match part:
            case All(all=inside):
                parts = tuple(of(each) for each in inside)
                holds = all(each.holds for each in parts)
            case Any_(any=inside):
                parts = tuple(of(each) for each in inside)
                holds = any(each.holds for each in parts)
            case Not(not_=negated):
                parts = (of(negated),)
                holds = not parts[0].holds
            case InSegment(segment_id=segment):
                parts = (of(rules[segment]),)
                holds = parts[0].holds
            case _:
                holds = part.holds(person, when)
                seen = found(part, person, when)
        return Explained(sentence(part, names), holds, seen, parts)

    return of(rule)


def _ids(condition: Condition) -> Iterable[tuple[Kind, UUID]]:
    match condition:
        case OnList(list_id=its_id):
            yield "list", its_id
        case InSegment(segment_id=its_id):
            yield "segment", its_id
        case Topic(topic_id=its_id):
            yield "topic", its_id
        case InFlow(flow_id=its_id) | Messages(flow_id=UUID() as its_id):
            yield "flow", its_id
        case Messages(campaign_id=UUID() as its_id):
            yield "campaign", its_id


def _plain(rule: Part, denied: bool) -> _Leaf | _Group:
    """The same rule without `not` but at its leaves, and without groups in groups of the same kind."""
    match rule:
        case Not(not_=negated):
            return _plain(negated, not denied)
        case All(all=inside) | Any_(any=inside):
            joint: Joint = "and" if isinstance(rule, All) != denied else "or"
            parts: list[_Leaf | _Group] = []
            for part in (_plain(each, denied) for each in inside):
                parts += part.parts if isinstance(part, _Group) and part.joint == joint else (part,)
            return parts[0] if len(parts) == 1 else _Group(joint, tuple(parts))
    return _Leaf(rule, denied)


def _said(part: _Leaf | _Group, names: Names, above: Joint | None) -> tuple[str, int]:
    """The words, and how many levels of groups are in them."""
    if isinstance(part, _Leaf):
        return phrase(part.condition, names)[part.denied], 0
    if not part.parts:
        return ("everybody" if part.joint == "and" else "nobody"), 0
    leaves = [each for each in part.parts if isinstance(each, _Leaf)]
    said = [(words, 0) for words in _put_together(leaves, part.joint, names)]
    said += [_said(each, names, part.joint) for each in part.parts if isinstance(each, _Group)]
    if len(said) == 1:
        return said[0]
    level = 1 + max(height for _, height in said)
    words = [f"({text})" if height > 2 else text for text, height in said]
    if level == 1 and above is None and not any(", " in text for text in words):
        return f"{', '.join(words[:-1])} {part.joint} {words[-1]}", level
    text = ("", " ", ", ", "; ")[min(level, 3)].join(
        [words[0], *(f"{part.joint} {each}" for each in words[1:])]
    )
    before = "" if above is None or level > 2 else "either " if part.joint == "or" else "both "
    return before + text, level


def _put_together(leaves: Sequence[_Leaf], joint: Joint, names: Names) -> list[str]:
    """The words for each, where what all say of the same orders is said in one."""
    said: list[str] = []
    ahead = list(leaves)
    while ahead:
        leaf = ahead.pop(0)
        for other in ahead if joint == "and" else ():
            if together := _both(leaf, other, names):
                said.append(together)
                ahead.remove(other)
                break
        else:
            said.append(phrase(leaf.condition, names)[leaf.denied])
    return said


def _both(one: _Leaf, other: _Leaf, names: Names) -> str | None:
    """What two conditions say of the same orders, if one can say it in one."""
    match one, other:
        case _Leaf(Orders() as first, False), _Leaf(Orders() as second, False):
            pass
        case _:
            return None
    if _asks_of(first, names) != _asks_of(second, names):
        return None
    if first.measure == second.measure:
        return _range(first, second, names)
    by_measure = {each.measure: each for each in (first, second)}
    if by_measure.keys() != {"total", "count"}:
        return None
    total, count = by_measure["total"], by_measure["count"]
    if is_some(count.op, count.value) or is_none(count.op, count.value):
        return None
    which, when = scope(total, names)
    spent, over = _sized(total, names), _sized(count, names)
    return spaced("spent", spent, "over", over, which, when)


def _asks_of(asked: Orders, names: Names) -> tuple[object, ...]:
    return asked.products, asked.window, asked.currency or names.currency


def _range(one: Orders, other: Orders, names: Names) -> str | None:
    """Two ends of the same measure."""
    which, when = scope(one, names)
    low, high = (one, other) if one.op in (">", ">=", "on or after") else (other, one)
    if low.op not in (">", ">=", "on or after") or high.op not in ("<", "<=", "before"):
        return None
    match low.measure:
        case "first" | "last" as measure:
            then = wording.between(str(low.value), str(high.value))
            return spaced(f"the {measure} order", which, when, "was", then)
        case "total":
            on = "on orders " + which if low.products else which
            return spaced("spent", f"{_sized(low, names)} and {_sized(high, names)}", on, when)
        case "count":
            many = size(low.op, f"{low.value:,}", True)
            return spaced("placed", f"{many} and {_sized(high, names)}", which, when)
    return None


def _sized(asked: Orders, names: Names) -> str:
    if asked.measure == "count":
        return size(asked.op, counted(int(asked.value), "order"), True)
    return size(asked.op, wording.money(asked.value, asked.currency or names.currency))

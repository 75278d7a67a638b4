from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as some

from domain.comparisons import Property
from domain.conditions import Attribute, Identity
from domain.deeds import Event, Orders
from domain.facts import Person
from domain.moments import Window
from domain.segments import Condition, holds, parse
from domain.sentences import Names, sentence, spoken_of
from domain.wording import money, window
from tests.domain.spoken import (
    LATELY,
    NAMES,
    NEWS,
    NOWHERE,
    SPOKEN,
    SPRING,
    TOPIC,
    VIP,
    WELCOME,
    attribute,
    event,
    orders,
)

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
A, B, C, D, E = (attribute("is", number, name) for number, name in enumerate("abcde", 1))


def said(rule: dict[str, Any], names: Names = NAMES) -> str:
    return sentence(parse(rule, in_flow=True), names)


@pytest.mark.parametrize(("rule", "words", "denied"), SPOKEN)
def test_a_condition_and_its_denial_are_said_so(rule: dict[str, Any], words: str, denied: str) -> None:
    assert said(rule) == words
    assert said({"not": rule}) == denied
    assert said({"not": {"not": rule}}) == words


def _choices(annotation: Any) -> set[str]:
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return set(annotation)
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    return set().union(*(_choices(each) for each in get_args(annotation)))


@pytest.mark.parametrize("kind", get_args(Condition))
def test_no_choice_of_a_field_was_forgotten(kind: type[Condition]) -> None:
    """Where a choice decides on the other fields, the table has it; else it takes the place of another."""
    spoken = (parse(rule, in_flow=True) for rule, _, _ in SPOKEN)
    rules = [rule for rule in spoken if isinstance(rule, kind)]
    assert rules
    for field, about in kind.model_fields.items():
        if field == "measure" or (kind, field) in ((Attribute, "op"), (Orders, "op")):
            assert _choices(about.annotation) == {getattr(rule, field) for rule in rules}
        elif kind not in (Identity, Event):  # They compare as attributes and orders do.
            for choice in _choices(about.annotation):
                assert sentence(rules[0].model_copy(update={field: choice}), NAMES)


def test_groups_are_told_apart_by_words_then_commas_then_semicolons_then_brackets() -> None:
    assert said({"all": []}) == "everybody"
    assert said({"any": []}) == "nobody"
    assert said({"all": [A]}) == "a is 1"
    assert said({"all": [A, B, C]}) == "a is 1, b is 2 and c is 3"
    assert said({"any": [A, B]}) == "a is 1 or b is 2"
    both = {"all": [A, B]}
    assert said({"any": [both, C]}) == "c is 3, or both a is 1 and b is 2"
    assert said({"all": [C, {"any": [A, B]}]}) == "c is 3, and either a is 1 or b is 2"
    deep = {"all": [{"any": [both, C]}, D]}
    assert said(deep) == "d is 4; and either c is 3, or both a is 1 and b is 2"
    assert said({"any": [deep, E]}) == "e is 5; or (d is 4; and either c is 3, or both a is 1 and b is 2)"


def _outside(text: str, between: str) -> list[str]:
    """What stands between these words, where they are in no brackets."""
    parts, depth, start = [], 0, 0
    for at, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0 and at >= start and text.startswith(between, at):
            parts.append(text[start:at])
            start = at + len(between)
    return [*parts, text[start:]]


def _read(text: str, person: Person) -> bool:
    """Whether a sentence about attributes is true of somebody, to a reader who knows but its words."""
    for mark in ("; ", ", ", " "):
        for joint, opening, each in (("and", "both ", all), ("or", "either ", any)):
            parts = _outside(text.removeprefix(opening), f"{mark}{joint} ")
            if len(parts) > 1:
                ahead = _outside(parts[0], ", ") if mark == " " else parts[:1]  # As in "a, b and c".
                return each([_read(part, person) for part in (*ahead, *parts[1:])])
    if text.startswith("("):
        return _read(text[1:-1], person)
    name, value = text.replace(" not ", " ").split(" is ")
    return (str(person.attributes[name]) == value) != (" not " in text)


def _deeper(parts: some.SearchStrategy[dict[str, Any]]) -> some.SearchStrategy[dict[str, Any]]:
    several = some.lists(parts, min_size=2, max_size=3)
    return (
        _letters
        | several.map(lambda them: {"all": them})
        | several.map(lambda them: {"any": them})
        | parts.map(lambda it: {"not": it})
    )


_letters: some.SearchStrategy[dict[str, Any]] = some.sampled_from((A, B, C, D, E))
_nested = _letters
for _ in range(5):
    _nested = _deeper(_nested)


@given(_nested, some.lists(some.booleans(), min_size=5, max_size=5))
def test_whoever_reads_the_words_alone_understands_the_rule(rule: dict[str, Any], true: list[bool]) -> None:
    values = {name: number * met for (number, name), met in zip(enumerate("abcde", 1), true, strict=True)}
    person = Person(attributes=values)
    assert _read(said(rule), person) == holds(parse(rule), person, now=NOW, time_zone="UTC", currency="USD")


def test_a_group_in_one_of_its_kind_is_said_as_part_of_it() -> None:
    assert said({"all": [A, {"all": [B, {"all": [C]}]}]}) == "a is 1, b is 2 and c is 3"


def test_a_not_is_said_the_other_way_round() -> None:
    assert said({"not": {"any": [A, B]}}) == "a is not 1 and b is not 2"
    assert said({"not": {"all": [A, {"any": [B, C]}]}}) == "a is not 1, or both b is not 2 and c is not 3"
    assert said({"not": {"all": []}}) == "nobody"


def test_what_is_said_of_the_same_orders_is_said_in_one() -> None:
    spent, often = orders("total", ">=", 100), orders("count", ">=", 2)
    quiet = {"not": orders("last", "on or after", "180 days ago")}
    words = "spent at least $100 over at least 2 orders and bought nothing in the last 180 days"
    assert said({"all": [spent, often, quiet]}) == words
    cold = orders("last", "before", "90 days ago"), orders("last", "on or after", "180 days ago")
    assert said({"all": [*cold]}) == "the last order was between 180 and 90 days ago"
    some = orders("count", ">=", 2), orders("count", "<=", 3)
    assert said({"all": [*some]}) == "placed at least 2 and at most 3 orders"
    much = [orders("total", op, value, products=["a"]) for op, value in ((">", 10), ("<", 20))]
    assert said({"all": much}) == 'spent more than $10 and less than $20 on orders with "a"'


def test_what_is_said_of_other_orders_stays_apart() -> None:
    spent = orders("total", ">=", 100)
    for other in ({"currency": "EUR"}, {"window": LATELY}, {"products": ["a"]}):
        assert " and placed at least 2 orders" in said({"all": [spent, orders("count", ">=", 2, **other)]})
    assert (
        said({"any": [spent, orders("count", ">=", 2)]}) == "spent at least $100 or placed at least 2 orders"
    )
    impossible = {
        "all": [orders("last", "before", "90 days ago"), orders("last", "on or after", "30 days ago")]
    }
    assert said(impossible) == "the last order was in the last 30 days and more than 90 days ago"


@pytest.mark.parametrize(
    ("after", "before", "words"),
    [
        ("1 day ago", None, "in the last day"),
        ("24 hours ago", None, "in the last 24 hours"),
        ("today", None, "today"),
        ("2026-05-03", None, "since 3 May 2026"),
        ("2026-05-03T08:00:00+02:00", None, "since 3 May 2026 at 08:00 (UTC+02:00)"),
        ("in 3 days", None, "3 days from now or later"),
        (None, "30 days ago", "more than 30 days ago"),
        (None, "today", "before today"),
        (None, "now", "before now"),
        (None, "in 1 week", "earlier than 1 week from now"),
        (None, "2026-05-03T08:00:01Z", "before 3 May 2026 at 08:00:01 (UTC)"),
        ("30 days ago", "7 days ago", "between 30 and 7 days ago"),
        ("2 months ago", "7 days ago", "between 2 months ago and 7 days ago"),
        ("30 days ago", "now", "between 30 days ago and now"),
        ("30 days ago", "today", "between 30 days ago and the start of today"),
        ("now", "in 3 days", "in the next 3 days"),
        ("now", "in 1 day", "in the next day"),
        ("1 day ago", "in 2 days", "between 1 day ago and 2 days from now"),
        ("2026-05-01", "2026-06-01", "from 1 May 2026 to 31 May 2026"),
        ("2026-05-01", "2026-05-02", "on 1 May 2026"),
        ("2026-05-01", "30 days ago", "since 1 May 2026 and more than 30 days ago"),
    ],
)
def test_a_window_is_said_so(after: str | None, before: str | None, words: str) -> None:
    assert window(Window(after=after, before=before)) == words


def test_money_is_written_as_people_write_it() -> None:
    assert money(100, "USD") == "$100"
    assert money("1250.5", "EUR") == "€1,250.50"
    assert money(Decimal("-0.1255"), "GBP") == "-£0.1255"
    assert money("100.00", "SEK") == "100 SEK"


def test_what_a_rule_names_by_ids_is_listed_with_what_it_is() -> None:
    found = {each for rule, _, _ in SPOKEN for each in spoken_of(parse(rule, in_flow=True))}
    listed = {("list", VIP), ("segment", NEWS), ("campaign", SPRING), ("flow", WELCOME), ("topic", TOPIC)}
    assert found == listed | {("list", NOWHERE)}


def test_a_condition_on_a_property_has_the_words_of_one_on_an_attribute() -> None:
    where = [Property(name="price", op="between", value=(1, 2)).model_dump()]
    assert said(event(where=where, window=LATELY)) == (
        'did "product viewed" in the last 30 days (where price is from 1 to 2)'
    )

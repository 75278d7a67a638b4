from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal, get_args, get_origin
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as some

from domain.comparisons import Property
from domain.conditions import Attribute, Identity
from domain.deeds import Event, Orders
from domain.errors import Invalid
from domain.facts import Did, Journey, Person, Purchase, Sent
from domain.moments import Window
from domain.segments import Condition, Part, expand, holds, parse
from domain.sentences import Explained, Names, explained, sentence, spoken_of
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
    messages,
    orders,
)

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
A, B, C, D, E = (attribute("is", number, name) for number, name in enumerate("abcde", 1))


def said(rule: dict[str, Any], names: Names = NAMES) -> str:
    return sentence(parse(rule, in_flow=True), names)


def why(rule: dict[str, Any], person: Person, others: dict[UUID, Part] | None = None) -> Explained:
    return explained(
        parse(rule, in_flow=True),
        person,
        now=NOW,
        time_zone="Europe/Berlin",
        currency="USD",
        names=NAMES,
        others=others,
    )


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


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
        ("7 days ago", "30 days ago", "in the last 7 days and more than 30 days ago"),
        ("2026-05-02", "2026-05-01", "since 2 May 2026 and before 1 May 2026"),
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


PERSON = Person(
    known_since=ago(100),
    attributes={"country": "DE", "age": 31, "interests": ["jazz", "soul"]},
    names={"email": frozenset({"ada@example.com"}), "user_id": frozenset({"r1", "r2"})},
    purchases=(
        Purchase(datetime(2026, 5, 2, 23, tzinfo=UTC), Decimal(80), "USD", frozenset({"LP-1"})),
        Purchase(ago(200), Decimal("40.50"), "USD"),
        Purchase(ago(10), Decimal(9), "EUR"),
    ),
    events=(
        Did("product viewed", ago(3), {"category": "shoes", "price": 12}),
        Did("product viewed", ago(2), {"category": "shoes", "price": "8.5"}),
        Did("cart left", ago(1)),
    ),
    messages=(Sent(SPRING, "email", ago(5), opened_at=ago(4)), Sent(WELCOME, "sms", ago(50), bounced=True)),
    consents={"email": "granted"},
    topics={TOPIC: "denied"},
    suppressed={"sms": "manual"},
    lists=frozenset({VIP}),
    tags=frozenset({"press"}),
    journeys=(Journey(WELCOME, "a day"),),
    replies={"welcome": frozenset({"received", "opened"})},
)


@pytest.mark.parametrize(
    ("rule", "fact"),
    [
        (attribute("is", "IT"), 'country is "DE"'),
        (attribute("exists", name="plan"), "plan has no value"),
        (attribute("includes", "jazz", "interests"), 'interests is "jazz" and "soul"'),
        ({"kind": "identity", "name": "email", "op": "exists"}, 'the email address is "ada@example.com"'),
        ({"kind": "identity", "name": "user_id", "op": "is", "value": "x"}, 'the user IDs are "r1" and "r2"'),
        ({"kind": "identity", "name": "phone", "op": "exists"}, "there is no phone number"),
        ({"kind": "known", "op": "before", "value": "now"}, "they became known on 9 February 2026"),
        (orders("last", "before", "30 days ago"), "the last order was on 3 May 2026"),  # In Berlin.
        (orders("total", ">=", 500), "they spent $120.50 over 2 orders"),
        (orders("total", ">=", 500, currency="EUR"), "they spent €9 over 1 order"),
        (orders("average", ">=", 500), "the average order is about $60.25"),
        (orders("largest", ">=", 500, products=["LP-1"]), "the largest order is $80"),
        (orders("count", "is", 0), "there are 2 orders"),
        (orders("count", "is", 0, currency="SEK"), "there is no such order"),
        (event(window=LATELY), "they did it 2 times, last on 18 May 2026"),
        (event("cart left"), "they did it once, on 19 May 2026"),
        (event("page viewed"), "there is no such event"),
        (event(measure="first", op="before", value="now"), "the first one was on 17 May 2026"),
        (event(measure="sum", property="price", window=LATELY), "price adds up to 20.5 in 2 events"),
        (event(measure="largest", property="price", window=LATELY), "price is at most 12 in 2 events"),
        (event(measure="sum", property="size", window=LATELY), "size is a number in none of 2 events"),
        (messages("opened", window=LATELY), "there is 1 such message"),
        (messages("clicked", window=LATELY), "there is no such message"),
        ({"kind": "message", "did": "clicked", "step": "welcome"}, "they opened and received it"),
        ({"kind": "consent", "purpose": "email"}, "they agreed, as to email"),
        ({"kind": "topic", "topic_id": TOPIC}, "they declined"),
        ({"kind": "suppressed", "channel": "sms"}, "it is suppressed by hand"),
        ({"kind": "suppressed", "channel": "email"}, "it is not suppressed"),
        ({"kind": "tag", "tag": "vip"}, 'the tag is "press"'),
        ({"kind": "flow", "flow_id": WELCOME}, 'they are at "a day"'),
        ({"kind": "flow", "flow_id": SPRING}, "they never entered it"),
    ],
)
def test_what_was_found_of_a_person_is_said(rule: dict[str, Any], fact: str) -> None:
    assert why(rule, PERSON).found == fact


def test_a_sequence_says_how_far_somebody_came() -> None:
    steps = [{"name": "product viewed"}, {"name": "cart left"}, {"name": "order placed"}]
    rule = {"kind": "sequence", "steps": steps, "window": LATELY}
    assert why(rule, PERSON).found == 'there is no such "order placed" after "cart left"'
    assert why({**rule, "steps": steps[::-1]}, PERSON).found == 'there is no such "order placed"'
    assert why({**rule, "steps": steps[:2]}, PERSON).found is None


def test_an_explanation_is_a_tree_with_those_of_other_segments_in_it() -> None:
    rule = {"all": [{"not": {"kind": "segment", "segment_id": NEWS}}, attribute("is", "DE")]}
    others = {NEWS: parse({"kind": "list", "list_id": NOWHERE})}
    assert asdict(why(rule, PERSON, others)) == {
        "sentence": 'is not in the segment "Readers" and country is "DE"',
        "holds": True,
        "found": None,
        "parts": (
            {
                "sentence": 'is not in the segment "Readers"',
                "holds": True,
                "found": None,
                "parts": (
                    {
                        "sentence": 'is in the segment "Readers"',
                        "holds": False,
                        "found": None,
                        "parts": (
                            {
                                "sentence": f"is on the unknown list {NOWHERE}",
                                "holds": False,
                                "found": None,
                                "parts": (),
                            },
                        ),
                    },
                ),
            },
            {"sentence": 'country is "DE"', "holds": True, "found": 'country is "DE"', "parts": ()},
        ),
    }


def test_segments_in_a_circle_have_no_explanation() -> None:
    rule = {"kind": "segment", "segment_id": NEWS}
    with pytest.raises(Invalid):
        why(rule, PERSON, {NEWS: parse(rule)})


_conditions = some.sampled_from([rule for rule, _, _ in SPOKEN])
_rules = some.recursive(
    _conditions,
    lambda parts: (
        some.lists(parts, max_size=3).map(lambda them: {"all": them})
        | some.lists(parts, max_size=3).map(lambda them: {"any": them})
        | parts.map(lambda it: {"not": it})
    ),
    max_leaves=6,
)
_purchases = some.builds(
    Purchase,
    some.integers(0, 400).map(ago),
    some.sampled_from((Decimal(0), Decimal("99.99"), Decimal(100))),
    some.sampled_from(("USD", "EUR")),
    some.sampled_from((frozenset(), frozenset({"LP-1"}))),
)
_people = some.just(PERSON) | some.builds(
    Person,
    attributes=some.dictionaries(
        some.sampled_from(("country", "age", "a")), some.sampled_from((None, 1, 31, "DE", "2026-05-03"))
    ),
    purchases=some.lists(_purchases, max_size=3).map(tuple),
)


@given(_rules, _people)
def test_any_rule_has_a_sentence_and_is_explained_as_it_holds(rule: dict[str, Any], person: Person) -> None:
    others = {NEWS: parse({"any": [attribute("exists", name="age"), orders("count", ">", 1)]})}
    words = said(rule)
    assert words
    assert not words.endswith(".")
    assert words == " ".join(words.split())
    assert not any(odd in words for odd in ("None", "{", "}", "[", "]"))

    met = holds(
        expand(parse(rule, in_flow=True), others),
        person,
        now=NOW,
        time_zone="Europe/Berlin",
        currency="USD",
    )
    assert why(rule, person, others).holds == met


@given(_people, some.sampled_from(("30 days ago", "2026-05-01", "today")))
def test_a_denial_that_is_said_in_other_words_means_the_same(person: Person, moment: str) -> None:
    """ "The last order was in the last 30 days" is denied by "bought nothing in the last 30 days"."""
    for denied, instead in (
        (orders("last", "on or after", moment), orders("count", "is", 0, window={"after": moment})),
        (orders("first", "before", moment), orders("count", "is", 0, window={"before": moment})),
    ):
        assert said({"not": denied}) == said(instead)
        assert why({"not": denied}, person).holds == why(instead, person).holds


def test_a_condition_on_a_property_has_the_words_of_one_on_an_attribute() -> None:
    where = [Property(name="price", op="between", value=(1, 2)).model_dump()]
    assert said(event(where=where, window=LATELY)) == (
        'did "product viewed" in the last 30 days (where price is from 1 to 2)'
    )

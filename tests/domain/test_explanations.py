"""Why a rule holds of somebody, or does not."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as some

from domain.errors import Invalid
from domain.facts import Did, Journey, Person, Purchase, Sent
from domain.segments import Part, expand, holds, parse
from domain.sentences import Explained, explained, sentence
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


def said(rule: dict[str, Any]) -> str:
    return sentence(parse(rule, in_flow=True), NAMES)


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
        ({"kind": "consent", "purpose": "email"}, "they agreed to email"),
        ({"kind": "topic", "topic_id": TOPIC}, "they declined it"),
        ({"kind": "consent", "purpose": "sms"}, "they never said anything about SMS"),
        ({"kind": "suppressed", "channel": "sms"}, "it is suppressed by hand"),
        ({"kind": "suppressed", "channel": "email"}, "it is not suppressed"),
        ({"kind": "tag", "tag": "vip"}, 'the tag is "press"'),
        ({"kind": "flow", "flow_id": WELCOME}, 'they are at "a day"'),
        ({"kind": "flow", "flow_id": SPRING}, "they never entered it"),
    ],
)
def test_what_was_found_of_a_person_is_said(rule: dict[str, Any], fact: str) -> None:
    assert why(rule, PERSON).found == fact


@pytest.mark.parametrize(
    ("measure", "found", "fact"),
    [
        ("average", [1e30, 1e30], "price averages about 1e+30 in 2 events"),
        ("average", ["9" * 100, 1e-300], "price averages about 5e+99 in 2 events"),
        ("average", [1.7e308, 1.7e308], "price averages about 1.7e+308 in 2 events"),
        ("average", [-0.001, -0.001], "price averages about 0 in 2 events"),
        ("average", [1, 1, 0], "price averages about 0.67 in 3 events"),
        ("sum", [1.7e308, 1.7e308], "price adds up to 3.4e+308 in 2 events"),
        ("sum", [1e30, 1, -1e30], "price adds up to 1 in 3 events"),
        ("sum", [0.1, 0.2], "price adds up to 0.3 in 2 events"),
        ("sum", [1e300, 1e-300, -1e300], "price adds up to 1e-300 in 3 events"),
        ("largest", [-0.0], "price is at most 0 in 1 event"),
    ],
)
def test_no_number_is_too_large_or_too_small_to_be_explained(
    measure: str, found: list[Any], fact: str
) -> None:
    person = Person(events=tuple(Did("product viewed", ago(1), {"price": each}) for each in found))

    assert why(event(measure=measure, property="price", window=LATELY), person).found == fact


def test_large_amounts_are_explained_to_the_last_digit() -> None:
    dear = Decimal("12345678901234567890123456789012.34")
    person = Person(purchases=(Purchase(ago(1), dear, "USD"),) * 2)

    shown = "$12,345,678,901,234,567,890,123,456,789,012.34"
    assert why(orders("average", ">=", 500), person).found == f"the average order is about {shown}"
    assert why(orders("largest", ">=", 500), person).found == f"the largest order is {shown}"


def test_a_sequence_says_how_far_somebody_came() -> None:
    steps = [{"name": "product viewed"}, {"name": "cart left"}, {"name": "returned"}]
    rule = {"kind": "sequence", "steps": steps, "window": LATELY}
    assert why(rule, PERSON).found == 'there is no such "returned" after "cart left"'
    assert why({**rule, "steps": steps[::-1]}, PERSON).found == 'there is no such "returned"'
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

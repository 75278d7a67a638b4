from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import TypeAdapter

from domain.conditions import Attribute
from domain.errors import Invalid
from domain.facts import Person, Purchase
from domain.flows import Branch
from domain.segments import (
    DEEPEST,
    MOST_CONDITIONS,
    Rule,
    conditions,
    expand,
    holds,
    parse,
)
from tests.made_up import people
from tests.rules import NOON, ZONES, branches

BUYER = Person(
    purchases=(
        Purchase(datetime(1997, 6, 1, tzinfo=UTC), Decimal("60.00"), "USD"),
        Purchase(datetime(1998, 1, 1, 4, 30, tzinfo=UTC), Decimal("40.00"), "USD", frozenset({"LP-1"})),
    )
)
NOT_YET = {"kind": "attribute", "name": "plan", "op": "is", "value": "gold"}


def picks(rule: dict[str, Any], person: Person = BUYER, time_zone: str = "UTC") -> bool:
    return holds(parse(rule, in_flow=True), person, now=NOON, time_zone=time_zone, currency="USD")


def attribute(op: str, value: Any = None, **attributes: Any) -> bool:
    """Whether a condition on the attribute `it` holds for someone with these attributes."""
    return picks({"kind": "attribute", "name": "it", "op": op, "value": value}, Person(attributes=attributes))


def orders(measure: str, op: str, value: Any, person: Person = BUYER, **more: str) -> bool:
    zone = more.pop("time_zone", "UTC")
    return picks({"kind": "orders", "measure": measure, "op": op, "value": value, **more}, person, zone)


def refusal(data: Any) -> tuple[str, str | None]:
    with pytest.raises(Invalid) as refused:
        parse(data)
    return refused.value.message, refused.value.field


def test_an_empty_all_is_everybody_and_an_empty_any_is_nobody() -> None:
    assert picks({"all": []})
    assert not picks({"any": []})


def test_what_is_missing_fails_every_condition_and_so_passes_its_not() -> None:
    for op, value in [("is", "x"), (">", 1), ("<", 1), ("contains", ""), ("in", ["x"]), ("exists", None)]:
        condition = {"kind": "attribute", "name": "it", "op": op, "value": value}
        for person in (Person(), Person(attributes={"it": None})):
            assert not picks(condition, person)
            assert picks({"not": condition}, person)
    assert attribute("is not", "x")


def test_a_number_is_compared_exactly_and_also_with_text_that_is_written_like_one() -> None:
    assert attribute("is", 12, it="12.00")
    assert attribute("is", 0.1, it="0.1")
    assert attribute(">", 9, it="10")
    assert not attribute("is", 12, it="12 pieces")
    assert not attribute(">", 0, it=True)
    assert attribute("is not", 12, it="twelve")


def test_text_is_compared_by_code_points_with_case() -> None:
    assert attribute(">", "Z", it="a")
    assert not attribute("is", "de", it="DE")
    assert attribute(">=", "1998-01-01", it="1998-01-01T08:00:00Z")
    assert attribute("contains", "%", it="10 % off")
    assert attribute("starts with", "10", it=10.50)
    assert attribute("is", "10.5", it=10.50)


def test_a_boolean_is_also_found_as_a_word() -> None:
    assert attribute("is", True, it="TRUE")
    assert attribute("is", "true", it=True)
    assert not attribute("is", True, it=1)
    assert not attribute("is", 1, it=True)


def test_one_of_several_values_is_enough() -> None:
    assert attribute("in", ["a", 1, True], it="1.0")
    assert not attribute("in", ["a", 1, True], it="b")


def test_lists_and_objects_exist_and_nothing_more() -> None:
    assert attribute("exists", it=[])
    assert not attribute("contains", "a", it=["a"])
    assert not attribute("is", "{}", it={})


def test_who_never_ordered_has_a_total_and_a_count_of_nothing_and_no_first_or_last_order() -> None:
    assert orders("total", "<", "0.01", Person())
    assert orders("count", "is", 0, Person())
    assert not orders("last", "before", "2100-01-01", Person())
    assert not orders("first", "on or after", "1900-01-01", Person())


def test_money_is_compared_exactly_and_in_its_own_currency() -> None:
    assert orders("total", ">=", "100.00")
    assert orders("total", "is", 100)
    assert not orders("total", ">", 100)
    assert not orders("total", ">", "0", currency="EUR")


def test_a_date_is_its_midnight_in_the_workspaces_time_zone() -> None:
    # The last order was half past four in London, and still half an hour before midnight in New York.
    assert orders("last", "on or after", "1998-01-01")
    assert orders("last", "before", "1998-01-01", time_zone="America/New_York")
    assert orders("last", "on or after", "1998-01-01T05:30:00+01:00", time_zone="America/New_York")
    assert orders("first", "on or after", "0001-01-01", time_zone="Pacific/Auckland")
    assert orders("first", "before", "9999-12-31", time_zone="Pacific/Pago_Pago")


def test_a_message_condition_asks_about_this_journey() -> None:
    person = Person(replies={"welcome": frozenset({"received", "clicked"})})

    assert picks({"kind": "message", "did": "clicked", "step": "welcome"}, person)
    assert not picks({"kind": "message", "did": "opened", "step": "welcome"}, person)
    assert not picks({"kind": "message", "did": "received", "step": "reminder"}, person)


def test_the_leaves_of_a_tree_are_its_conditions() -> None:
    rule = parse({"all": [NOT_YET, {"not": {"any": [NOT_YET, NOT_YET]}}]})

    assert [condition.kind for condition in conditions(rule)] == ["attribute"] * 3


@pytest.mark.parametrize(
    ("data", "pointer", "words"),
    [
        ({"kind": "attribute", "name": "a", "op": "like", "value": "x"}, "/op", "'starts with'"),
        ({"kind": "attribute", "name": "a", "op": "is"}, "/value", "a text, a number, true or false"),
        ({"kind": "attribute", "name": "a", "op": ">", "value": True}, "/value", "have no order"),
        ({"kind": "attribute", "name": "a", "op": "contains", "value": 1}, "/value", "wants a text"),
        ({"kind": "attribute", "name": "a", "op": "in", "value": []}, "/value", "a list of 1 to 1,000"),
        ({"kind": "attribute", "name": "a", "op": "in", "value": [[]]}, "/value", "a text, a number"),
        ({"kind": "attribute", "name": "a", "op": "is", "value": float("nan")}, "/value", "a number"),
        ({"kind": "attribute", "name": "a", "op": "is", "value": "a\0b"}, "/value", "NUL"),
        ({"kind": "attribute", "name": "a", "op": "exists", "value": 1}, "/value", "leave the value out"),
        ({"kind": "attribute", "op": "exists"}, "/name", '"name" is missing'),
        ({"kind": "attribute", "name": "a", "op": "exists", "a/b": 1}, "/a~1b", "take it out"),
        ({"kind": "orders", "measure": "mean", "op": "is", "value": 1}, "/measure", "'total', 'count'"),
        ({"kind": "orders", "measure": "last", "op": ">", "value": "1998-01-01"}, "/op", '"before"'),
        ({"kind": "orders", "measure": "total", "op": "before", "value": 1}, "/op", "is, >, >=, <, or <="),
        ({"kind": "orders", "measure": "last", "op": "before", "value": "1998-02-30"}, "/value", "a date"),
        ({"kind": "orders", "measure": "last", "op": "before", "value": "1998-02-01T08:00"}, "/value", "+01"),
        ({"kind": "orders", "measure": "last", "op": "before", "value": 1998}, "/value", "a date"),
        ({"kind": "orders", "measure": "total", "op": "is", "value": "$5"}, "/value", "without a currency"),
        ({"kind": "orders", "measure": "total", "op": "is", "value": float("inf")}, "/value", "a number"),
        ({"kind": "orders", "measure": "total", "op": "is"}, "/value", "is missing"),
        ({"kind": "orders", "measure": "count", "op": "is", "value": 1.5}, "/value", "whole number"),
        ({"kind": "orders", "measure": "count", "op": "is", "value": -1}, "/value", "whole number"),
        ({"kind": "orders", "measure": "count", "op": "is", "value": 1, "currency": "$"}, "/currency", ""),
        ({"kind": "weather"}, "", "flow or share"),
        ({"kind": ["attribute"]}, "", "flow or share"),
        ({"kind": "message", "did": "opened", "step": "a"}, "", "Only a branch of a flow"),
        ({"all": {}}, "/all", "a list of conditions"),
        ({"all": [], "any": []}, "/any", "take it out"),
        ([], "", '{"all": […]}'),
        (None, "", '{"all": […]}'),
    ],
)
def test_a_refusal_is_one_sentence_with_a_pointer_to_the_field(data: Any, pointer: str, words: str) -> None:
    message, field = refusal(data)
    assert (field, words in message) == ("/rule" + pointer, True), message
    assert message.endswith((".", "?"))

    _, inside = refusal({"all": [NOT_YET, {"not": {"any": [data]}}]})
    assert inside in ("/rule/all/1/not/any/0" + pointer, "/rule")


def test_a_rule_has_at_most_so_many_levels_and_conditions() -> None:
    rule: Any = NOT_YET
    for _ in range(DEEPEST - 1):
        rule = {"not": rule}
    parse(rule)
    assert "levels deep" in refusal({"not": rule})[0]

    parse({"any": [NOT_YET] * MOST_CONDITIONS})
    assert "conditions" in refusal({"any": [NOT_YET] * (MOST_CONDITIONS + 1)})[0]
    with pytest.raises(ValueError, match="conditions"):
        Branch.model_validate({"condition": {"any": [NOT_YET] * (MOST_CONDITIONS + 1)}})


def _nested(inner: some.SearchStrategy[Any]) -> some.SearchStrategy[Any]:
    words = some.sampled_from(("all", "any", "not", "kind", "name", "op", "measure", "value"))
    return some.lists(inner) | some.dictionaries(words, inner)


@given(some.recursive(some.none() | some.integers() | some.text(), _nested))
def test_whatever_json_is_sent_it_is_a_rule_or_refused(data: Any) -> None:
    with suppress(Invalid):
        parse(data)


@given(branches)
def test_a_rule_that_was_stored_means_what_it_meant(data: Any) -> None:
    rule = parse(data, in_flow=True)
    adapter: TypeAdapter[Rule] = TypeAdapter(Rule)

    assert parse(adapter.dump_python(rule, mode="json"), in_flow=True) == rule
    assert parse(adapter.dump_python(rule, mode="json", exclude_none=True), in_flow=True) == rule


@given(branches, people, some.sampled_from(ZONES))
def test_a_rule_or_its_not_holds_for_anyone(data: Any, person: Person, zone: str) -> None:
    assert picks(data, person, zone) != picks({"not": data}, person, zone)


def test_who_asks_about_an_event_in_a_segment_is_told_where_that_belongs() -> None:
    of_an_event = {"kind": "property", "name": "total", "op": ">", "value": 1}

    message, pointer = refusal({"all": [NOT_YET, {"not": of_an_event}]})

    assert "wait_for_event" in message
    assert pointer == "/rule/all/1/not"


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30 + 1])
def test_a_whole_number_of_more_than_64_bits_is_refused_by_its_field(number: int) -> None:
    for value, op in ((number, "is"), (number, ">"), ([1, number], "in")):
        rule = {"all": [{"kind": "attribute", "name": "it", "op": op, "value": value}]}
        assert refusal(rule) == (
            "This whole number has more than 64 bits: write it as a text.",
            "/rule/all/0/value",
        )
    total = {"kind": "orders", "measure": "total", "op": ">", "value": number}
    assert "64 bits" in refusal(total)[0]
    largest = {"kind": "attribute", "name": "it", "op": "is", "value": 2**63 - 1}
    assert picks(largest, Person(attributes={"it": 2**63 - 1}))


def test_a_large_number_that_postgresql_wrote_out_is_the_number_that_it_was() -> None:
    rule = parse({"kind": "attribute", "name": "n", "op": ">", "value": 10**300})
    assert isinstance(rule, Attribute)
    assert rule.value == 1e300


def test_an_order_is_an_event_of_which_no_properties_are_known() -> None:
    assert picks({"kind": "event", "name": "order placed", "value": 2})
    assert not picks({"kind": "event", "name": "order placed", "value": 3})
    window = {"after": "1997-01-01"}
    asked = {"kind": "event", "name": "order placed", "window": window}
    message, _ = refusal(asked | {"where": [{"name": "total", "op": ">", "value": 1}]})
    assert 'kind "orders"' in message


@pytest.mark.parametrize("pattern", ["(a|aa){20}b", "(a+)+", "(a?){20}", ".*a.*b.*c", "a?a?a?a?a?a?"])
def test_a_pattern_that_may_never_end_is_refused(pattern: str) -> None:
    message, field = refusal({"kind": "attribute", "name": "a", "op": "matches", "value": pattern})
    assert field == "/rule/value"
    assert message.endswith(".")


def _naming(*segments: UUID) -> Rule:
    return parse({"any": [{"kind": "segment", "segment_id": str(each)} for each in segments]})


def test_segments_that_double_or_nest_without_end_are_refused_before_they_are_written_out() -> None:
    one, two, three, four = (uuid4() for _ in range(4))
    doubled = {one: parse({"all": []}), two: _naming(*[one] * 50), three: _naming(*[two] * 50)}
    with pytest.raises(Invalid, match="125000 conditions"):
        expand(_naming(*[three] * 50), doubled)
    deep = parse({"not": {"not": {"not": {"not": {"not": {"not": NOT_YET}}}}}})
    nested: dict[UUID, Rule] = {one: deep}
    for below, above in ((one, two), (two, three), (three, four)):
        below_it: Any = {"kind": "segment", "segment_id": str(below)}
        for _ in range(6):
            below_it = {"not": below_it}
        nested[above] = parse(below_it)
    with pytest.raises(Invalid, match="levels deep"):
        expand(_naming(four), nested)
    with pytest.raises(Invalid, match="in a circle"):
        expand(_naming(one), {one: _naming(two), two: _naming(one)})

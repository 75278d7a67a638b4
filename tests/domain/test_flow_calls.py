"""What a flow's call says, and how its members are grouped, whatever they have to say."""

from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.announcements import LARGEST
from domain.errors import Invalid
from domain.extras import DEEPEST
from domain.extras import LARGEST as LARGEST_DATA
from domain.flow_calls import LARGEST_MEMBER, MOST, Member, Place, groups
from domain.flows import Call, Flow, check, next_step
from tests.support import GivenClock

NOW = GivenClock().now()
WEBHOOK = str(UUID(int=1))
URL = "https://records.example/api/v1/callbacks/x"


def nested(levels: int) -> dict[str, Any]:
    """So many levels of objects and lists."""
    within: Any = []
    for _ in range(levels - 2):
        within = [within]
    return {"x": within}


def call(**values: Any) -> dict[str, Any]:
    return {"kind": "webhook", "webhook_id": WEBHOOK, **values}


def a_graph(**steps: dict[str, Any]) -> Flow:
    return Flow.model_validate({"trigger": {"kind": "api"}, "first": next(iter(steps)), "steps": steps})


def a_place(**values: Any) -> Place:
    return Place(uuid4(), "Welcome", "ask", Call.model_validate(call(**values)))


def a_member(**values: Any) -> Member:
    known: dict[str, Any] = dict.fromkeys(("user_id", "email", "phone"))
    return Member(
        **{"id": uuid4(), "profile_id": uuid4(), **known, "properties": {}, "attributes": {}} | values
    )


def test_a_call_leads_one_way_if_all_was_well_and_another_if_not() -> None:
    step = Call.model_validate(call(callback={"within": "PT1H"}, then="a", otherwise="b"))

    assert (next_step(step, True), next_step(step, False)) == ("a", "b")
    assert step.callback
    assert step.callback.within == timedelta(hours=1)


@pytest.mark.parametrize(
    "values",
    [
        {"webhook_id": "n8n"},
        {"data": []},
        {"data": {"x": "a" * LARGEST_DATA}},
        {"data": {"x": 2**70}},
        {"data": {"x": ["half a \ud800"]}},
        {"data": {"a\0": 1}},
        {"data": nested(DEEPEST + 1)},
        {"callback": {}},
        {"callback": {"within": 0}},
        {"callback": {"within": "P31D"}},
        {"callback": "PT1H"},
        {"attributes": ["x"] * 51},
        {"url": "https://n8n.example"},
    ],
)
def test_a_call_says_little_and_waits_for_an_answer_for_a_while_at_most(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        a_graph(ask=call(**values))


def test_what_a_call_takes_along_can_be_said() -> None:
    body = a_place(data=nested(DEEPEST)).body(uuid4(), URL, [], NOW)

    assert orjson.loads(body)["data"]["data"] == nested(DEEPEST)


def test_a_call_reads_back_as_it_was_written() -> None:
    step = call(data={"a": [1, {"b": None}]}, attributes=["plan"], callback={"within": 90}, otherwise="ask")
    flow = a_graph(ask=step)

    assert Flow.model_validate(flow.model_dump(mode="json", by_alias=True)) == flow


def test_a_loop_may_go_round_by_a_call_that_is_answered_and_by_no_other() -> None:
    check(a_graph(ask=call(callback={"within": 60}, then="ask")))
    with pytest.raises(Invalid, match="no wait in it"):
        check(a_graph(ask=call(then="ask")))


def test_the_body_says_where_to_answer_only_if_somebody_waits() -> None:
    id_ = uuid4()
    waiting = orjson.loads(a_place(callback={"within": 60}).body(id_, URL, [], NOW))
    passing = orjson.loads(a_place().body(id_, URL, [], NOW))

    assert waiting["type"] == passing["type"] == "flow.call"
    assert waiting["data"]["callback_url"] == URL
    assert waiting["data"]["deadline"] == "2026-03-02T12:01:00.000000Z"
    assert (passing["data"]["callback_url"], passing["data"]["deadline"]) == (None, None)


def test_what_is_too_long_is_left_out_and_the_body_says_so() -> None:
    long = {"x": "a" * LARGEST_MEMBER}
    short = {"plan": "pro"}

    assert a_member(attributes=short).said()["truncated"] is False
    half = a_member(attributes=long, properties=short).said()
    assert (half["attributes"], half["properties"], half["truncated"]) == ({}, short, True)
    nothing = a_member(attributes=long, properties=long).said()
    assert (nothing["attributes"], nothing["properties"], nothing["truncated"]) == ({}, {}, True)


@pytest.mark.parametrize("levels", [251, 254, 300])
def test_what_is_nested_too_deeply_to_be_said_is_left_out_and_no_more(levels: int) -> None:
    said = a_member(attributes={"plan": "pro"}, properties=nested(levels)).said()

    assert (said["attributes"], said["properties"], said["truncated"]) == ({"plan": "pro"}, {}, True)
    deepest = a_member(properties=nested(250)).said()
    assert deepest["truncated"] is False
    assert (
        nested(250)
        == orjson.loads(a_place().body(uuid4(), URL, [deepest], NOW))["data"]["members"][0]["properties"]
    )


@given(st.lists(st.integers(0, LARGEST_MEMBER + 1000), max_size=40))
def test_every_member_is_in_one_group_and_no_body_is_too_large(sizes: list[int]) -> None:
    place = a_place(data={"x": "ü" * 4000}, callback={"within": 60})
    said = [a_member(attributes={"x": "a" * size}).said() for size in sizes]

    found = list(groups(said, place.room(URL, NOW)))

    assert [each for group in found for each in group] == said
    assert all(found)
    for group in found:
        assert len(place.body(uuid4(), URL, group, NOW).encode()) <= LARGEST
    for one, next_ in pairwise(found):  # None is split without need.
        assert len(place.body(uuid4(), URL, [*one, next_[0]], NOW).encode()) > LARGEST


def test_a_group_is_never_larger_than_a_callback_can_answer() -> None:
    said = [a_member().said() for _ in range(2 * MOST + 1)]

    assert [len(group) for group in groups(said, LARGEST * 9)] == [MOST, MOST, 1]

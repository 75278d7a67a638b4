"""Which step comes next, and which graphs would strand or spin their members."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from domain.comparisons import Property, all_hold
from domain.errors import Invalid
from domain.flows import Branch, Flow, Send, Wait, WaitForEvent, check, next_step

TEMPLATE = str(UUID(int=1))


def send(then: str | None = None) -> dict[str, Any]:
    return {"kind": "send", "template_id": TEMPLATE, "then": then}


def wait(then: str | None = None, duration: Any = 60) -> dict[str, Any]:
    return {"kind": "wait", "duration": duration, "then": then}


def wait_for(then: str | None = None, otherwise: str | None = None, **values: Any) -> dict[str, Any]:
    ways = {"then": then, "otherwise": otherwise}
    return {"kind": "wait_for_event", "event": "order placed", "at_most": "PT1H"} | ways | values


def fork(then: str | None, otherwise: str | None, step: str = "hello") -> dict[str, Any]:
    condition = {"kind": "message", "did": "clicked", "step": step}
    return {"kind": "branch", "condition": condition, "then": then, "otherwise": otherwise}


def a_graph(first: str = "hello", **steps: dict[str, Any]) -> Flow:
    return Flow.model_validate({"trigger": {"kind": "api"}, "first": first, "steps": steps})


def test_a_send_and_a_wait_lead_on_and_a_branch_leads_either_way() -> None:
    branch = a_graph(hello=send(), fork=fork("yes", "no")).steps["fork"]

    assert next_step(Send(template_id=uuid4(), then="a")) == "a"
    assert next_step(Wait(duration=timedelta(1), then="b")) == "b"
    assert isinstance(branch, Branch)
    assert (next_step(branch, True), next_step(branch, False)) == ("yes", "no")
    assert next_step(Wait(duration=timedelta(1))) is None


def test_a_wait_for_an_event_leads_one_way_if_it_came_and_another_if_it_did_not() -> None:
    step = WaitForEvent(event="order placed", at_most=timedelta(1), then="a")

    assert (next_step(step, True), next_step(step, False)) == ("a", None)


@pytest.mark.parametrize(
    "values",
    [
        {"at_most": 0},
        {"at_most": "P3000000D"},
        {"at_most": None},
        {"event": ""},
        {"event": "half a \ud800"},
        {"where": [{"kind": "property", "name": "total", "op": "over", "value": 1}]},
        {"where": [{"kind": "property", "name": "x", "op": "exists"}] * 21},
        {"where": {"kind": "property", "name": "x", "op": "exists"}},
    ],
)
def test_a_wait_for_an_event_has_an_end_a_name_and_conditions_that_can_be_asked(
    values: dict[str, Any],
) -> None:
    with pytest.raises(ValidationError):
        a_graph("x", x=wait_for(**values))


def test_who_asks_about_the_profile_where_the_event_is_asked_about_is_told_so() -> None:
    about_the_profile = {"kind": "attribute", "name": "plan", "op": "is", "value": "gold"}
    with pytest.raises(ValidationError, match="event's own properties"):
        a_graph("x", x=wait_for(where=[about_the_profile]))


def test_all_conditions_on_an_event_have_to_hold_and_none_is_true() -> None:
    dear, german = (
        Property(name="total", op=">=", value=100),
        Property(name="country", op="is", value="DE"),
    )

    assert all_hold([dear, german], {"total": "120.00", "country": "DE"})
    assert not all_hold([dear, german], {"total": 120})
    assert all_hold([], {})


def test_a_flow_reads_back_as_it_was_written() -> None:
    where = [{"kind": "property", "name": "total", "op": "in", "value": [1, True, "x"]}]
    graph = {
        "trigger": {"kind": "event", "event": "cart filled", "where": where},
        "first": "x",
        "steps": {"x": wait_for(where=where)},
    }
    flow = Flow.model_validate(graph)

    assert Flow.model_validate(flow.model_dump(mode="json", by_alias=True)) == flow


@pytest.mark.parametrize(("duration", "seconds"), [(90, 90), (0.5, 0.5), ("PT2H", 7200), ("P1D", 86400)])
def test_a_wait_is_given_in_seconds_or_as_iso_8601_has_it(duration: Any, seconds: float) -> None:
    step = a_graph("nap", nap=wait(duration=duration)).steps["nap"]

    assert isinstance(step, Wait)
    assert step.duration.total_seconds() == seconds


@pytest.mark.parametrize("duration", [0, -1, "soon", None, "P3000000D", 1e13])
def test_a_wait_takes_some_time_and_ends_while_there_are_dates(duration: Any) -> None:
    with pytest.raises(ValidationError):
        a_graph("nap", nap=wait(duration=duration))


@pytest.mark.parametrize("name", ["", "x" * 201, "half a \ud800"])
def test_a_step_has_a_name_that_can_be_kept_and_indexed(name: str) -> None:
    with pytest.raises(ValidationError):
        a_graph(name, **{name: wait()})


def test_a_branch_costs_no_more_than_a_segment() -> None:
    seen = {"kind": "event", "name": "x", "window": {"after": "30 days ago"}}
    steps = [{"name": "x"}] * 5
    after_each_other = {"kind": "sequence", "steps": steps, "window": {"after": "30 days ago"}}
    fine, heavy = ({"kind": "branch", "condition": {"any": [each] * 50}} for each in (seen, after_each_other))

    check(a_graph("fork", fork=fine))
    with pytest.raises(Invalid, match="costs") as refusal:
        check(a_graph("fork", fork=heavy))
    assert refusal.value.field == "/steps/fork/condition"


@pytest.mark.parametrize("graph", [{}, {"steps": {}}, {"steps": {"x": {"kind": "dance"}}}])
def test_a_flow_has_steps_of_a_kind_that_we_know(graph: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Flow.model_validate({"trigger": {"kind": "api"}, "first": "x", **graph})


@pytest.mark.parametrize(
    "graph",
    [
        a_graph(hello=send()),
        a_graph(hello=send("fork"), fork=fork(None, "hello2"), hello2=send()),
        a_graph(hello=send("nap"), nap=wait("hello")),  # A loop, with a wait in it.
        a_graph(hello=send("fork"), fork=fork("nap", None), nap=wait("hello")),
        a_graph("nap", nap=wait("nap")),
        a_graph("bought", bought=wait_for(None, "bought")),
        a_graph(hello=send("bought"), bought=wait_for("hello", None)),
    ],
)
def test_a_sound_graph_is_taken(graph: Flow) -> None:
    check(graph)


@pytest.mark.parametrize(
    ("graph", "pointer"),
    [
        (a_graph("elsewhere", hello=send()), "/first"),
        (a_graph(hello=send("elsewhere")), "/steps/hello/then"),
        (a_graph(hello=send("fork"), fork=fork(None, "elsewhere")), "/steps/fork/otherwise"),
        (a_graph("x", x=wait_for(None, "elsewhere")), "/steps/x/otherwise"),
        (a_graph(hello=send(), start=send()), "/steps/start"),
        (a_graph(hello=send(), end=send()), "/steps/end"),
        (a_graph(hello=send("fork"), fork=fork(None, None, "elsewhere")), "/steps/fork/condition"),
        (a_graph(hello=send("nap"), nap=wait("fork"), fork=fork(None, None, "nap")), "/steps/fork/condition"),
        (a_graph(hello=send("hello")), "/steps/hello"),
        (a_graph(hello=send("fork"), fork=fork("hello", None)), "/steps/hello"),
        (a_graph(hello=send("fork"), fork=fork("fork", None)), "/steps/fork"),
        (a_graph(hello=send(), a=send("b"), b=send("a")), "/steps/a"),  # Also where nobody comes yet.
    ],
)
def test_a_graph_that_would_strand_or_spin_its_members_is_refused(graph: Flow, pointer: str) -> None:
    with pytest.raises(Invalid) as refusal:
        check(graph)

    assert refusal.value.field == pointer
    assert refusal.value.message.endswith(".")

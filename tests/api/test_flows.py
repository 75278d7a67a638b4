import json
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from httpx2 import AsyncClient
from sqlalchemy import text, update

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.flows import Flow
from models.queries import flows
from tests.api.support import V1, a_profile, a_segment, a_sender, a_template, created, refusal

AT = f"{V1}/flows"


def a_definition(template: str, **values: Any) -> dict[str, Any]:
    """A message, a wait, and a second message for those who clicked."""
    clicked = {"kind": "message", "did": "clicked", "step": "hello"}
    return {
        "trigger": {"kind": "api"},
        "first": "hello",
        "steps": {
            "hello": {"kind": "send", "template_id": template, "then": "wait"},
            "wait": {"kind": "wait", "duration": "PT5S", "then": "clicked?"},
            "clicked?": {"kind": "branch", "condition": clicked, "then": "thanks"},
            "thanks": {"kind": "send", "template_id": template},
        },
    } | values


async def a_flow(api: AsyncClient, **values: Any) -> str:
    definition = a_definition(await a_template(api), **values)
    return str((await created(await api.post(AT, json={"name": "Welcome!", "definition": definition})))["id"])


async def published(sessions: Sessions, flow: str) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await flows.publish(db, UUID(flow))


async def test_a_flow_is_kept_as_it_was_sent(api: AsyncClient) -> None:
    definition = a_definition(
        await a_template(api), trigger={"kind": "segment", "segment_id": await a_segment(api)}
    )

    made = (await api.post(AT, json={"name": "Welcome", "definition": definition})).json()

    assert made["state"] == "draft"
    assert made["version"] is None
    assert made["definition"]["trigger"] == definition["trigger"]
    assert made["definition"]["steps"]["clicked?"]["condition"]["did"] == "clicked"
    again = await api.patch(f"{AT}/{made['id']}", json={"definition": made["definition"]})
    assert again.json()["definition"] == made["definition"]


async def test_what_a_flow_listens_to_is_kept_as_it_was_sent(api: AsyncClient) -> None:
    where = [{"kind": "property", "name": "total", "op": ">=", "value": 50}]
    waits = {"kind": "wait_for_event", "event": "order placed", "where": where, "at_most": "PT4H"}
    ways = {"then": None, "otherwise": None}
    definition = {
        "trigger": {"kind": "event", "event": "cart filled", "where": where},
        "first": "order?",
        "steps": {"order?": waits | ways},
    }

    made = await created(await api.post(AT, json={"name": "Cart", "definition": definition}))

    assert made["definition"] == definition | {"reentry": "once"}


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"first": "nowhere"}, "/definition/first"),
        (
            {"trigger": {"kind": "event", "event": "x", "where": [{"kind": "attribute", "name": "plan"}]}},
            "/definition/trigger/where/0",
        ),
        (
            {
                "trigger": {
                    "kind": "event",
                    "event": "x",
                    "where": [{"kind": "property", "name": "total", "op": "is", "value": 10**30 + 1}],
                }
            },
            "/definition/trigger/where/0/value",
        ),
        (
            {"steps": {"hello": {"kind": "wait_for_event", "event": "x", "at_most": 0}}},
            "/definition/steps/hello/at_most",
        ),
        (
            {
                "steps": {
                    "hello": {
                        "kind": "branch",
                        "condition": {"kind": "property", "name": "x", "op": "exists"},
                    }
                }
            },
            "/definition/steps/hello/condition",
        ),
        ({"trigger": {"kind": "moon"}}, "/definition/trigger"),
        ({"steps": {}}, "/definition/steps"),
        ({"steps": {"hello": {"kind": "wait", "duration": "PT0S"}}}, "/definition/steps/hello/duration"),
        (
            {"trigger": {"kind": "segment", "segment_id": "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f"}},
            "/definition/trigger/segment_id",
        ),
        (
            {"steps": {"hello": {"kind": "send", "template_id": "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f"}}},
            "/definition/steps/hello/template_id",
        ),
    ],
)
async def test_a_graph_that_would_strand_people_is_pointed_at(
    api: AsyncClient, change: dict[str, Any], pointer: str
) -> None:
    definition = a_definition(await a_template(api), **change)

    problem = refusal(await api.post(AT, json={"name": "x", "definition": definition}), 422)

    assert problem["errors"][0]["pointer"] == pointer


WHICH = '"where": [{"name": "segment_id", "op": "is", "value": …}]'
BEGINS = f'{{"kind": "event", "event": "segment entered", {WHICH}}}'


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        (
            {"kind": "segment entered", "segment_id": str(DEFAULT_WORKSPACE)},
            f'The "kind" of a trigger is segment, event or api; this is an event: {BEGINS}.',
        ),
        (
            {"kind": "event", "event": "segment entered", "segment_id": str(DEFAULT_WORKSPACE)},
            f"Which segment it is stands in the where: {WHICH}.",
        ),
    ],
)
async def test_who_does_not_know_how_a_segment_begins_a_flow_is_told(
    api: AsyncClient, trigger: dict[str, Any], said: str
) -> None:
    definition = a_definition(await a_template(api), trigger=trigger)
    told = refusal(await api.post(AT, json={"name": "Welcome", "definition": definition}), 422)
    assert told["errors"] == [{"pointer": "/definition/trigger", "in": "body", "detail": said}]


async def test_a_flow_begins_with_those_who_enter_a_segment(api: AsyncClient) -> None:
    page = (Path(__file__).parents[2] / "docs" / "segments.md").read_text()
    [example] = [
        each
        for each in re.findall(r"^```json\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
        if '"trigger"' in each
    ]
    segment, template = await a_segment(api), await a_template(api)
    body = json.loads(example.replace("SEGMENT", segment).replace("TEMPLATE", template))

    made = await created(await api.post(AT, json=body))

    assert made["definition"]["trigger"]["where"][0]["value"] == segment
    assert (await api.get(f"{V1}/segments/{segment}")).json()["used_by"] == 1
    refusal(await api.delete(f"{V1}/segments/{segment}"), 409)


async def test_a_flow_can_not_be_published_without_a_sender(api: AsyncClient) -> None:
    flow = await a_flow(api)

    assert "sender_email" in refusal(await api.post(f"{AT}/{flow}/publish"), 422)["detail"]


async def test_a_flow_that_sends_nothing_needs_no_sender(lonely_api: AsyncClient) -> None:
    definition = {
        "trigger": {"kind": "api"},
        "first": "a day",
        "steps": {"a day": {"kind": "wait", "duration": "P1D"}},
    }
    flow = (await created(await lonely_api.post(AT, json={"name": "Wait", "definition": definition})))["id"]

    assert "Temporal" in refusal(await lonely_api.post(f"{AT}/{flow}/publish"), 503)["detail"]


async def test_publishing_without_temporal_says_so(lonely_api: AsyncClient) -> None:
    await a_sender(lonely_api)
    flow = await a_flow(lonely_api)

    assert "Temporal" in refusal(await lonely_api.post(f"{AT}/{flow}/publish"), 503)["detail"]


@pytest.mark.parametrize("word", ["pause", "resume", "archive"])
async def test_a_draft_can_not_be_steered(api: AsyncClient, word: str) -> None:
    flow = await a_flow(api)

    assert "draft" in refusal(await api.post(f"{AT}/{flow}/{word}"), 409)["detail"]


async def test_a_draft_can_be_deleted_and_a_live_flow_can_not(api: AsyncClient, sessions: Sessions) -> None:
    draft, live = await a_flow(api), await a_flow(api)
    await published(sessions, live)

    assert (await api.delete(f"{AT}/{draft}")).status_code == 204
    assert "live" in refusal(await api.delete(f"{AT}/{live}"), 409)["detail"]


async def test_an_archived_flow_can_be_neither_changed_nor_published(
    api: AsyncClient, sessions: Sessions
) -> None:
    await a_sender(api)
    flow = await a_flow(api)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(update(Flow).where(Flow.id == UUID(flow)).values(state="archived"))

    refusal(await api.patch(f"{AT}/{flow}", json={"name": "x"}), 409)
    refusal(await api.post(f"{AT}/{flow}/publish"), 409)
    entering = await api.post(f"{AT}/{flow}/enroll", json={"profiles": ["ada@example.com"]})
    assert "make a new one" in refusal(entering, 409)["detail"]
    assert "Archive" not in refusal(await api.delete(f"{AT}/{flow}"), 409)["detail"]
    assert "can be paused" in refusal(await api.post(f"{AT}/{flow}/pause"), 409)["detail"]


async def test_people_enter_by_id_or_email_once_and_strangers_are_named(
    api: AsyncClient, sessions: Sessions
) -> None:
    ada, bob = await a_profile(sessions), await a_profile(sessions, "bob@example.com")
    flow = await a_flow(api)
    await published(sessions, flow)
    body = {"profiles": [str(ada), "BOB@example.com", str(bob), "who@example.com"], "properties": {"n": 1}}

    first = (await api.post(f"{AT}/{flow}/enroll", json=body)).json()
    second = (await api.post(f"{AT}/{flow}/enroll", json=body)).json()

    assert first == {"entered": 2, "already_in": 0, "unknown": ["who@example.com"]}
    assert second == {"entered": 0, "already_in": 2, "unknown": ["who@example.com"]}
    async with sessions.engine() as db:
        assert str(await db.scalar(text("select queue_id from pokes"))) == flow


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("properties", '{"note": "' + "x" * 10_000 + '"}'),
        ("properties", '{"x": ' + "[" * 20 + "]" * 20 + "}"),
        ("properties", '{"x": ' + "[" * 400 + "]" * 400 + "}"),
        ("properties", '{"x": 1180591620717411303424}'),
        ("properties", '{"x": "\\ud800"}'),
        ("properties", '{"\\u0000": 1}'),
        ("entry", '"\\u0000"'),
        ("entry", '"\\ud800"'),
    ],
)
async def test_who_enters_takes_little_along_that_can_be_kept(
    api: AsyncClient, sessions: Sessions, pointer: str, value: str
) -> None:
    flow = await a_flow(api)
    await a_profile(sessions)
    await published(sessions, flow)
    body = f'{{"profiles": ["ada@example.com"], "{pointer}": {value}}}'
    headers = {"content-type": "application/json"}

    problem = refusal(await api.post(f"{AT}/{flow}/enroll", content=body, headers=headers), 422)

    assert problem["errors"][0]["pointer"] == f"/{pointer}"


async def test_where_entering_again_is_allowed_an_entry_tells_journeys_apart(
    api: AsyncClient, sessions: Sessions
) -> None:
    await a_profile(sessions)
    flow = await a_flow(api, reentry="always")
    await published(sessions, flow)

    async def enter(**values: str) -> int:
        body = {"profiles": ["ada@example.com"]} | values
        return int((await api.post(f"{AT}/{flow}/enroll", json=body)).json()["entered"])

    assert [await enter(), await enter(), await enter(entry="a"), await enter(entry="a")] == [1, 1, 1, 0]


async def test_nobody_enters_a_draft(api: AsyncClient, sessions: Sessions) -> None:
    await a_profile(sessions)
    flow = await a_flow(api)

    refusal(await api.post(f"{AT}/{flow}/enroll", json={"profiles": ["ada@example.com"]}), 409)


async def test_stats_say_where_everyone_is(api: AsyncClient, sessions: Sessions) -> None:
    await a_profile(sessions)
    flow = await a_flow(api)
    await published(sessions, flow)
    await api.post(f"{AT}/{flow}/enroll", json={"profiles": ["ada@example.com"]})

    stats = (await api.get(f"{AT}/{flow}/stats")).json()

    assert (stats["state"], stats["entered"], stats["under_way"]) == ("live", 1, 1)
    by_step = {step["step"]: step for step in stats["steps"]}
    assert list(by_step) == ["start", "hello", "wait", "clicked?", "thanks"]
    assert (by_step["start"]["waiting"], by_step["start"]["passed"]) == (0, 1)
    assert by_step["hello"]["waiting"] == 1
    assert by_step["wait"] == {
        "step": "wait",
        "waiting": 0,
        "next_due_at": None,
        "passed": 0,
        "reasons": {},
        "messages": None,
    }


@pytest.mark.parametrize("duration", ["5 minutes", "P1Day", "soon", []])
async def test_a_duration_that_is_none_says_how_to_write_one(api: AsyncClient, duration: object) -> None:
    definition = {
        "trigger": {"kind": "api"},
        "first": "nap",
        "steps": {"nap": {"kind": "wait", "duration": duration}},
    }
    problem = refusal(await api.post(f"{V1}/flows", json={"name": "Welcome", "definition": definition}), 422)

    told = [each for each in problem["errors"] if each["pointer"].endswith("/duration")]
    assert [each["detail"] for each in told if "PT5M" in each["detail"]], problem

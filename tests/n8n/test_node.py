"""The node Campanile at work: in a stand-in for n8n, on the real API."""

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.n8n.standin import N8n, Refusal
from tests.sdk.site import Site

BUYERS = '{"kind": "orders", "measure": "count", "op": ">=", "value": 1}'
PAGE = {"returnAll": True, "filters": {}}


def test_a_profile_is_made_changed_tagged_found_and_erased(n8n: N8n) -> None:
    email = f"{uuid4()}@records.example"
    [made] = n8n.run(
        "profile",
        "upsert",
        {"email": email, "additionalFields": {"attributes": '{"plan": "gold"}', "userId": uuid4().hex}},
    )
    profile = {"profileId": made["json"]["id"]}
    assert made["json"]["attributes"]["plan"] == "gold"

    n8n.run("profile", "update", {**profile, "additionalFields": {"attributes": {"plan": None, "size": 3}}})
    [tagged] = n8n.run("profile", "addTag", {**profile, "tag": "a b&c?"})
    [found] = n8n.run("profile", "getAll", {**PAGE, "filters": {"email": email}})
    n8n.run("profile", "removeTag", {**profile, "tag": "a b&c?"})
    [got] = n8n.run("profile", "get", profile)
    n8n.run("profile", "delete", profile)

    assert tagged["json"] == {"success": True}
    assert found["json"]["tags"] == ["a b&c?"]
    assert got["json"]["attributes"] == {"size": 3}
    assert got["json"]["tags"] == []
    assert n8n.run("profile", "getAll", {**PAGE, "filters": {"email": email}}) == []


def test_all_pages_are_read_and_a_limit_holds(n8n: N8n) -> None:
    tag = uuid4().hex
    made = n8n.run(
        "profile", "upsert", *({"email": f"{uuid4()}@x.example", "additionalFields": {}} for _ in range(3))
    )
    for each in made:
        n8n.run("profile", "addTag", {"profileId": each["json"]["id"], "tag": tag})
    filters = {"filters": {"tag": tag}}

    everybody = n8n.run("profile", "getAll", {"returnAll": True, **filters})
    some = n8n.run("profile", "getAll", {"returnAll": False, "limit": 2, **filters})

    assert {each["json"]["id"] for each in everybody} == {each["json"]["id"] for each in made}
    assert len(some) == 2
    assert [each["pairedItem"] for each in made] == [{"item": 0}, {"item": 1}, {"item": 2}]


def test_n8n_trying_the_same_execution_again_does_nothing_twice(n8n: N8n, running: Site) -> None:
    campaign = {"name": "Winter letter", **_picked(running), "additionalFields": {}}

    first = n8n.run("campaign", "create", campaign, campaign, execution="12")
    again = n8n.run("campaign", "create", campaign, campaign, execution="12")
    looped = n8n.run("campaign", "create", campaign, execution="12", run=1)
    other = n8n.run("campaign", "create", campaign, execution="13")

    def ids(found: list[dict[str, Any]]) -> list[str]:
        return [each["json"]["id"] for each in found]

    assert ids(first) == ids(again)
    assert len({*ids(first), *ids(looped), *ids(other)}) == 4
    listed = n8n.run("campaign", "getAll", PAGE)
    assert set(ids(listed)) == {*ids(first), *ids(looped), *ids(other)}


def test_a_key_of_ones_own_goes_before_the_execution_s(n8n: N8n) -> None:
    order = {"orderId": uuid4().hex, "email": "ada@records.example", "total": "49.90"}

    n8n.run("order", "place", {**order, "additionalFields": {"idempotencyKey": "2026-11-21"}})

    [asked] = n8n.asked
    assert asked["headers"]["Idempotency-Key"] == "2026-11-21"
    assert asked["body"] == {"order_id": order["orderId"], "email": "ada@records.example", "total": "49.90"}


async def test_an_event_counts_once_however_often_its_execution_is_tried(n8n: N8n, running: Site) -> None:
    name = f"Bell {uuid4()}"
    event = {
        "name": name,
        "email": f"{uuid4()}@records.example",
        "properties": '{"times": 3}',
        "additionalFields": {},
    }

    n8n.run("event", "track", event, execution="44")
    [answer] = n8n.run("event", "track", event, execution="44")
    await running.work_in()

    assert answer["json"]["accepted"] == 1
    [kept] = n8n.run("event", "getAll", {**PAGE, "filters": {"name": name}})
    assert kept["json"]["properties"] == {"times": 3}


def test_what_there_is_is_picked_by_name(n8n: N8n, running: Site) -> None:
    template = _a_template(running)

    found = n8n.does("search", method="searchTemplates", filter="LETTER")["results"]

    assert template in {each["value"] for each in found}
    assert n8n.does("search", method="searchTemplates", filter="no such")["results"] == []
    for method in ("searchSegments", "searchCampaigns", "searchFlows"):
        assert isinstance(n8n.does("search", method=method)["results"], list)


def test_a_rule_is_estimated(n8n: N8n) -> None:
    [estimated] = n8n.run("segment", "estimate", {"rule": BUYERS})

    assert "count" in estimated["json"]


def test_a_message_that_can_t_be_sent_is_refused_in_our_words(n8n: N8n, running: Site) -> None:
    template = {"mode": "list", "value": _a_template(running)}
    message = {"channel": "email", "to": '{"email": "ada@records.example"}', "templateId": template}

    with pytest.raises(Refusal) as refused:
        n8n.run("message", "send", {**message, "additionalFields": {"expiresIn": 60}})

    assert "There is no sender: set sender_email" in refused.value.message
    [asked] = n8n.asked
    assert asked["body"] == {
        "channel": "email",
        "to": {"email": "ada@records.example"},
        "template_id": template["value"],
        "expires_in": 60,
    }


def test_a_refusal_is_told_in_our_words_with_the_field(n8n: N8n) -> None:
    with pytest.raises(Refusal) as refused:
        n8n.run("order", "place", {"email": "ada@records.example", "total": "much", "additionalFields": {}})

    assert refused.value.name == "NodeApiError"
    assert refused.value.httpCode == "422"
    assert refused.value.message.startswith("The request breaks a rule")
    assert refused.value.description is not None
    assert "total" in refused.value.description
    assert refused.value.item == 0


def test_a_workflow_may_go_on_after_a_failed_item(n8n: N8n) -> None:
    good, bad = {"profileId": str(uuid4())}, {"email": "ada@records.example", "additionalFields": {}}
    found = n8n.run("profile", "get", good, good, continueOnFail=True)
    [made] = n8n.run("profile", "upsert", bad, continueOnFail=True)

    assert [each["pairedItem"] for each in found] == [{"item": 0}, {"item": 1}]
    assert all(each["json"]["error"].startswith("There is no such thing") for each in found)
    assert "error" not in made["json"]


def test_what_is_missing_or_no_json_is_told_before_anything_is_asked(n8n: N8n) -> None:
    with pytest.raises(Refusal) as refused:
        n8n.run(
            "event",
            "track",
            {"name": "Bell", "email": "a@b.example", "properties": "{", "additionalFields": {}},
        )
    assert (refused.value.name, refused.value.message) == ("NodeOperationError", '"Properties" is no JSON')
    with pytest.raises(Refusal) as refused:
        n8n.run("profile", "get", {"profileId": ""})
    assert refused.value.message == '"Profile ID" is missing'
    assert n8n.asked == []


def test_an_api_that_is_away_is_an_error_of_n8n_s(described: N8n) -> None:
    with pytest.raises(Refusal) as refused:
        described.run("profile", "get", {"profileId": str(uuid4())})

    assert refused.value.name == "NodeApiError"


def test_a_callback_may_be_given_as_its_whole_address(n8n: N8n) -> None:
    call = {
        "callbackToken": f"{n8n.url}api/v1/callbacks/to.ken-1?x=1",
        "outcome": "done",
        "additionalFields": {"reason": "So"},
    }

    with pytest.raises(Refusal) as refused:
        n8n.run("callback", "answerMember", {**call, "member": str(uuid4())})

    assert refused.value.httpCode in ("404", "405")
    [asked] = n8n.asked
    assert asked["path"] == "/api/v1/callbacks/to.ken-1"
    assert list(asked["body"]["members"][0]) == ["member", "outcome", "reason"]


def _picked(site: Site) -> dict[str, Any]:
    segment = site.ask("POST", "/segments", json={"name": f"Buyers {uuid4()}", "rule": json.loads(BUYERS)})[
        "id"
    ]
    template = _a_template(site)
    return {
        "segmentId": {"mode": "id", "value": segment},
        "templateId": {"mode": "list", "value": template},
    }


def _a_template(site: Site) -> str:
    """The node makes none."""
    content = {"name": f"Letter {uuid4()}", "subject": "Hi", "html": "<p>Hello</p>"}
    return str(site.ask("POST", "/templates", json=content)["id"])

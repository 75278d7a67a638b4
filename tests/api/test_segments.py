"""Segments over HTTP: made, changed, described, and looked at again."""

from typing import Any
from uuid import UUID

import pytest
from httpx2 import AsyncClient
from sqlalchemy import text

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from tests.api.support import EVERYBODY, V1, a_campaign, a_profile, a_segment, created, refusal

AT = f"{V1}/segments"
NOTHING = "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f"
PLAN: dict[str, Any] = {"kind": "attribute", "name": "plan", "op": "is", "value": "pro"}


async def made(api: AsyncClient, rule: dict[str, Any], name: str = "Some") -> dict[str, Any]:
    return await created(await api.post(AT, json={"name": name, "rule": rule}))


async def put_in(sessions: Sessions, segment_id: str, *profile_ids: UUID) -> None:
    """As the look at everybody does."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        here = {"workspace": DEFAULT_WORKSPACE, "segment": segment_id}
        known = "update segments set materialized_at = created_at, members = :n where id = :segment"
        await db.execute(text(known), here | {"n": len(profile_ids)})
        for who in profile_ids:
            row = """
                insert into segment_members (workspace_id, segment_id, profile_id, entered_at)
                values (:workspace, :segment, :who, now())
            """
            await db.execute(text(row), here | {"who": who})


async def test_a_segment_says_in_words_whom_it_picks_and_that_nobody_was_looked_at_yet(
    api: AsyncClient,
) -> None:
    found = await made(api, {"all": [PLAN, {"kind": "orders", "measure": "count", "op": ">=", "value": 2}]})

    assert "plan" in found["sentence"]
    assert found | {"version": 1, "members": None, "looked_at": None, "problem": None, "used_by": 0} == found
    assert (await api.get(f"{AT}/{found['id']}")).json() == found
    assert (await api.get(AT)).json()["items"] == [found]


async def test_a_sentence_has_the_names_of_things_as_they_are_now(api: AsyncClient) -> None:
    news = (await created(await api.post(f"{V1}/lists", json={"name": "News"})))["id"]
    found = await made(api, {"kind": "list", "list_id": news})
    assert "News" in found["sentence"]

    await created(await api.patch(f"{V1}/lists/{news}", json={"name": "Letters"}))

    assert "Letters" in (await api.get(f"{AT}/{found['id']}")).json()["sentence"]


async def test_a_new_rule_makes_a_version_and_a_new_name_makes_none(api: AsyncClient) -> None:
    at = f"{AT}/{(await made(api, EVERYBODY))['id']}"

    renamed = await created(await api.patch(at, json={"name": "Pros"}))
    edited = await created(await api.patch(at, json={"rule": PLAN, "announce": True}))

    assert (renamed["version"], edited["version"]) == (1, 2)
    versions = (await api.get(f"{at}/versions")).json()
    assert [each["number"] for each in versions["items"]] == [2, 1]
    assert versions["items"][0]["rule"] == PLAN
    assert versions["next_before"] is None
    newest = (await api.get(f"{at}/versions", params={"limit": 1})).json()
    assert newest["next_before"] == 2
    older = (await api.get(f"{at}/versions", params={"before": 2})).json()
    assert [each["number"] for each in older["items"]] == [1]


async def test_only_a_new_rule_can_be_announced(api: AsyncClient) -> None:
    at = f"{AT}/{await a_segment(api)}"

    problem = refusal(await api.patch(at, json={"name": "Pros", "announce": True}), 422)

    assert problem["errors"][0]["pointer"] == "/announce"


async def test_members_who_come_and_go_do_not_keep_anybody_from_editing(
    api: AsyncClient, sessions: Sessions
) -> None:
    its_id = await a_segment(api)
    seen = (await api.get(f"{AT}/{its_id}")).headers["etag"]
    await put_in(sessions, its_id, await a_profile(sessions))

    grown = await api.get(f"{AT}/{its_id}", headers={"If-None-Match": seen})
    won = await api.patch(f"{AT}/{its_id}", json={"name": "All"}, headers={"If-Match": seen})
    lost = await api.patch(f"{AT}/{its_id}", json={"name": "Each"}, headers={"If-Match": seen})

    assert (grown.status_code, grown.json()["members"]) == (200, 1)
    assert won.status_code == 200, won.text
    refusal(lost, 412)


async def test_what_a_rule_names_must_be_there_and_each_place_is_shown(api: AsyncClient) -> None:
    flow, topic = {"kind": "flow", "flow_id": NOTHING}, {"kind": "topic", "topic_id": NOTHING}
    mails = {"kind": "messages", "did": "opened", "campaign_id": NOTHING}
    rule = {
        "all": [
            {"not": {"kind": "list", "list_id": NOTHING}},
            {"any": [flow, topic, mails, {"kind": "segment", "segment_id": NOTHING}]},
        ]
    }
    at = f"{AT}/{await a_segment(api)}"

    for asked in (
        api.post(AT, json={"name": "x", "rule": rule}),
        api.patch(at, json={"rule": rule}),
        api.post(f"{AT}/estimate", json={"rule": rule}),
    ):
        problem = refusal(await asked, 422)
        assert [each["pointer"] for each in problem["errors"]] == [
            "/rule/all/0/not/list_id",
            "/rule/all/1/any/0/flow_id",
            "/rule/all/1/any/1/topic_id",
            "/rule/all/1/any/2/campaign_id",
            "/rule/all/1/any/3/segment_id",
        ]


@pytest.mark.parametrize(
    ("rule", "pointer"),
    [
        ({"all": [PLAN, {"kind": "attribute", "name": "x", "op": "like"}]}, "/rule/all/1/op"),
        ({"any": [{"not": {"kind": "event", "name": "x", "where": [{}]}}]}, "/rule/any/0/not/where/0"),
        ({"kind": "list", "list_id": "x"}, "/rule/list_id"),
    ],
)
async def test_a_mistake_in_a_rule_is_pointed_at(
    strict_api: AsyncClient, rule: dict[str, Any], pointer: str
) -> None:
    problem = refusal(await strict_api.post(AT, json={"name": "x", "rule": rule}), 422)

    assert problem["errors"][0]["pointer"].startswith(pointer)


async def test_segments_that_name_each_other_in_a_circle_are_refused(api: AsyncClient) -> None:
    first = (await made(api, EVERYBODY))["id"]
    second = (await made(api, {"not": {"kind": "segment", "segment_id": first}}))["id"]

    problem = refusal(
        await api.patch(f"{AT}/{first}", json={"rule": {"kind": "segment", "segment_id": second}}), 422
    )

    assert "circle" in problem["detail"]


async def test_who_uses_a_segment_is_counted_and_keeps_it(api: AsyncClient) -> None:
    its_id = await a_segment(api)
    await a_campaign(api, segment_id=its_id)
    await made(api, {"all": [PLAN, {"kind": "segment", "segment_id": its_id}]}, "Pros among them")

    assert (await api.get(f"{AT}/{its_id}")).json()["used_by"] == 2
    problem = refusal(await api.delete(f"{AT}/{its_id}"), 409)
    assert "Winter letter" in problem["detail"]
    assert "Pros among them" in problem["detail"]


async def test_everybody_can_be_looked_at_again(api: AsyncClient, sessions: Sessions) -> None:
    its_id = await a_segment(api)
    await put_in(sessions, its_id)

    asked = await api.post(f"{AT}/{its_id}/recalculate", params={"announce": "true"})

    assert asked.status_code == 202, asked.text
    assert asked.json()["due_at"] is not None
    refusal(await api.post(f"{AT}/{NOTHING}/recalculate"), 404)


@pytest.mark.parametrize("change", [{"time_zone": "Asia/Tokyo"}, {"currency": "EUR"}])
async def test_another_calendar_or_currency_has_all_segments_looked_at_again(
    api: AsyncClient, sessions: Sessions, change: dict[str, str]
) -> None:
    known, new = await a_segment(api), await a_segment(api)
    await put_in(sessions, known)

    await created(await api.patch(f"{V1}/workspace", json={"name": "Records"}))
    assert (await api.get(f"{AT}/{known}")).json()["due_at"] is None
    await created(await api.patch(f"{V1}/workspace", json=change))

    assert (await api.get(f"{AT}/{known}")).json()["due_at"] is not None
    assert (await api.get(f"{AT}/{new}")).json()["due_at"] is None  # Everybody will be looked at anyway.


ODD = [
    "' or 1=1 --",
    '"; drop table segments; --',
    "100%",
    ":workspace",
    "$1",
    "%(id)s",
    "\\",
    "🦆",
    "{a}",
    "_",
]


@pytest.mark.parametrize("odd", ODD)
async def test_odd_names_and_values_are_only_names_and_values(
    api: AsyncClient, sessions: Sessions, odd: str
) -> None:
    said: dict[str, Any] = {odd: odd}
    who = await a_profile(sessions, **said)
    await a_profile(sessions, "bob@example.com", **(said | {odd: "another"}))
    window = {"after": "9 days ago"}
    rule = {
        "all": [
            {"kind": "attribute", "name": odd, "op": "is", "value": odd},
            {"kind": "attribute", "name": odd, "op": "in", "value": [odd, "x"]},
            {"kind": "attribute", "name": odd, "op": "starts with", "value": odd},
            {"kind": "attribute", "name": odd, "op": "contains", "value": odd},
            {"not": {"kind": "tag", "tag": odd}},
            {"not": {"kind": "identity", "name": "email", "op": "ends with", "value": odd}},
            {"not": {"kind": "orders", "measure": "count", "op": ">", "value": 0, "products": [odd]}},
            {"not": {"kind": "share", "percent": 0, "salt": odd}},
            {
                "kind": "event",
                "name": odd,
                "window": window,
                "where": [{"kind": "property", "name": odd, "op": "is", "value": odd}],
                "op": "is",
                "value": 0,
            },
            {"not": {"kind": "sequence", "window": window, "steps": [{"name": odd}, {"name": odd}]}},
        ]
    }

    its_id = (await made(api, rule, odd))["id"]
    found = await created(await api.post(f"{AT}/estimate", json={"rule": rule}))
    explained = await created(await api.get(f"{AT}/{its_id}/explain", params={"profile": str(who)}))
    searched = await api.get(f"{AT}/{its_id}/members", params={"q": odd})

    assert [each["profile_id"] for each in found["members"]] == [str(who)]
    assert explained["holds"]
    assert searched.json()["items"] == []
    assert (await api.get(f"{AT}/{its_id}")).json()["name"] == odd


async def test_what_no_database_keeps_is_refused(strict_api: AsyncClient) -> None:
    for rule in ({**PLAN, "name": "a\0"}, {**PLAN, "value": "a\0"}, {"kind": "tag", "tag": "\0"}):
        refusal(await strict_api.post(AT, json={"name": "x", "rule": rule}), 422)
    refusal(await strict_api.get(f"{AT}/{NOTHING}/members", params={"q": "a\0"}), 422)
    refusal(await strict_api.get(f"{AT}/{NOTHING}/explain", params={"profile": "abc\0"}), 422)

"""What a newcomer learns from what the tracking API refuses: by the answer, and in the debugger."""

from typing import Any

import pytest

from domain.roles import KeyKind
from models.base import Sessions
from tests.api.sending import ADA, a_key, arrivals, close, refusals, refused, served
from tests.databases import Database

LOOK = "stage, kind, name, pointer"


async def test_a_call_of_the_wrong_type_is_noted_with_its_field_and_name(sessions: Sessions) -> None:
    async with served(sessions, await a_key(sessions)) as (site, _, _):
        answer = await site.post("/track", json={"email": 5, "name": "x"})
    assert answer.json()["detail"] == "email: Send a text here, not a number."
    assert refused(answer) == [(0, "/email")]
    assert await refusals(sessions, LOOK) == [("request", "track", "x", "/email")]


async def test_an_event_of_a_batch_is_noted_with_its_kind_and_name(sessions: Sessions) -> None:
    events: list[Any] = [
        {**ADA, "name": "good"},
        {"name": "nobody"},
        {"name": "wrong type", "email": 5},
        {"type": "page", "name": "Pricing", "email": 5},
        7,
    ]
    async with served(sessions, await a_key(sessions)) as (site, _, _):
        await site.post("/track/batch", json={"events": events})
        await site.post("/track/batch", json={"events": []})
    assert await refusals(sessions, LOOK) == [
        ("request", "track", "nobody", "/events/1/email"),
        ("request", "track", "wrong type", "/events/2/email"),
        ("request", "page", "Pricing", "/events/3/email"),
        ("request", None, None, "/events/4"),
        ("request", None, None, "/events"),
    ]


async def test_traits_that_only_a_server_sets_are_left_out_and_noted(
    sessions: Sessions, database: Database
) -> None:
    await close(sessions, "vip", "attributes")
    traits = {"age": 3, "vip": True, "country": "Austria", "visits": {"$inc": 1}}
    async with served(sessions, await a_key(sessions)) as (site, _, _):
        assert (await site.post("/identify", json={**ADA, "traits": traits})).status_code == 202
        assert (await site.post("/identify", json={**ADA, "traits": {"vip": None}})).status_code == 202
    assert arrivals(database, "properties") == [{"age": 3, "country": "Austria"}, {}]
    assert await refusals(sessions, LOOK) == [
        ("field", "identify", None, "/traits/vip"),
        ("field", "identify", None, "/traits/visits"),
        ("field", "identify", None, "/traits/country"),
        ("field", "identify", None, "/traits/vip"),
    ]


async def test_a_group_may_have_traits_that_are_server_only_of_people(
    sessions: Sessions, database: Database
) -> None:
    await close(sessions, "vip", "attributes")
    async with served(sessions, await a_key(sessions)) as (site, _, _):
        await site.post("/group", json={**ADA, "groupId": "g", "traits": {"vip": True}})
    assert arrivals(database, "properties") == [{"group_id": "g", "traits": {"vip": True}}]
    assert await refusals(sessions) == []


@pytest.mark.parametrize("given", ["shop-7.1", "", "not allowed: ü", 200 * "x"])
async def test_problems_carry_a_request_id_which_is_the_senders_own_where_it_can_be(
    sessions: Sessions, given: str
) -> None:
    headers = {b"X-Request-Id": given.encode()} if given else {}
    async with served(sessions, await a_key(sessions, KeyKind.SECRET)) as (server, _, _):
        answers = [
            await server.post("/track", json={"name": "x"}, headers=headers),
            await server.post("/v1/nothing", json={}, headers=headers),
            await server.get("/track", headers=headers),
            await server.post(
                "/track", content=b"{", headers={**headers, b"Origin": b"https://shop.example"}
            ),
        ]
        kept = await server.post("/track", json={**ADA, "name": "x"}, headers=headers)
    for answer in answers:
        assert answer.status_code >= 400
        id_ = answer.headers["x-request-id"]
        assert answer.json()["request_id"] == id_
        assert (id_ == given) is (given == "shop-7.1")
        assert len(answer.content) == int(answer.headers["content-length"])
    assert "X-Request-Id" in answers[-1].headers["access-control-expose-headers"]
    assert "x-request-id" not in kept.headers

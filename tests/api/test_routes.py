"""Routes: drawn, changed, deleted; and the plan that says which way messages would go now."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from httpx2 import AsyncClient
from sqlalchemy import text
from uuid_utils.compat import uuid7

from domain.breakers import Standing, Tally, after
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.providers import Provider, ProviderDay, Route
from models.queries import breakers
from models.queries.routes import MOST
from models.reports import Hold
from tests.api.conftest import the_app
from tests.api.support import V1, created, refusal
from tests.api.test_providers import pigeon_account
from tests.support import GivenClock

AT = f"{V1}/routes"
NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)


@pytest.fixture
async def api(lonely_api: AsyncClient) -> AsyncClient:
    the_app().state.stack.clock = GivenClock(NOW)
    return lonely_api


async def a_provider(api: AsyncClient, name: str = "Pigeons", **values: Any) -> str:
    return str((await pigeon_account(api, name=name, **values))["id"])


async def a_route(api: AsyncClient, provider: str, **values: Any) -> dict[str, Any]:
    body = {"channel": "email", "class": "marketing", "provider_id": provider, **values}
    return await created(await api.post(AT, json=body))


async def the_plan(api: AsyncClient, **values: str) -> dict[str, Any]:
    asked = {"channel": "email", "class": "marketing", **values}
    return await created(await api.get(f"{AT}/plan", params=asked))


async def failing(sessions: Sessions, provider: str, reason: str = "It answered 503") -> None:
    """Three calls in a row failed by the provider's fault."""
    bad = Tally(calls=3, bad_calls=3, badly=30, reason=reason)

    def opened(before: Standing) -> Standing:
        return after(before, bad, NOW)

    async with sessions(DEFAULT_WORKSPACE) as db:
        await breakers.change(db, DEFAULT_WORKSPACE, UUID(provider), opened, NOW)


async def test_a_route_is_drawn_read_changed_and_deleted(api: AsyncClient) -> None:
    provider = await a_provider(api)
    made = await a_route(api, provider)

    assert (made["class"], made["provider"], made["priority"], made["weight"]) == (
        "marketing",
        "Pigeons",
        1,
        1,
    )
    assert (await api.get(f"{AT}/{made['id']}")).json() == made
    changed = await created(await api.patch(f"{AT}/{made['id']}", json={"priority": 2, "weight": 5}))
    assert (changed["priority"], changed["weight"]) == (2, 5)
    assert changed["updated_at"] > made["updated_at"]
    assert (await api.get(AT)).json()["items"] == [changed]
    assert (await api.get(f"{AT}?class=transactional")).json()["items"] == []
    assert (await api.get(f"{AT}?channel=sms")).json()["items"] == []
    assert (await api.delete(f"{AT}/{made['id']}")).status_code == 204
    refusal(await api.get(f"{AT}/{made['id']}"), 404)
    refusal(await api.delete(f"{AT}/{made['id']}"), 404)


async def test_a_route_that_can_not_be_is_refused_at_its_field(api: AsyncClient) -> None:
    provider = await a_provider(api)

    async def wrong_with(**values: Any) -> list[str]:
        body = {"channel": "email", "class": "marketing", "provider_id": provider, **values}
        return [each["pointer"] for each in refusal(await api.post(AT, json=body), 422)["errors"]]

    assert await wrong_with(channel="sms") == ["/channel"]
    assert await wrong_with(provider_id=str(uuid4())) == ["/provider_id"]
    assert await wrong_with(**{"class": "test"}) == ["/class"]
    assert await wrong_with(priority=0, weight=0) == ["/priority", "/weight"]
    await a_route(api, provider)
    body = {"channel": "email", "class": "marketing", "provider_id": provider}
    assert "already" in refusal(await api.post(AT, json=body), 409)["detail"]
    assert (await api.delete(f"{V1}/providers/{await a_provider(api, 'More')}")).status_code == 204


async def test_a_route_to_a_deleted_provider_is_refused(api: AsyncClient) -> None:
    provider = await a_provider(api)
    assert (await api.delete(f"{V1}/providers/{provider}")).status_code == 204

    body = {"channel": "email", "class": "marketing", "provider_id": provider}
    assert "There is no provider" in refusal(await api.post(AT, json=body), 422)["detail"]


async def test_two_who_change_the_same_route_do_not_both_win(api: AsyncClient) -> None:
    made = await a_route(api, await a_provider(api))
    at = f"{AT}/{made['id']}"
    tag = (await api.get(at)).headers["etag"]

    first = await api.patch(at, json={"weight": 2}, headers={"If-Match": tag})
    second = await api.patch(at, json={"weight": 3}, headers={"If-Match": tag})

    assert (first.status_code, second.status_code) == (200, 412)
    assert (await api.delete(at, headers={"If-Match": tag})).status_code == 412


async def test_there_is_room_for_so_many(api: AsyncClient, sessions: Sessions) -> None:
    provider = await a_provider(api)
    here = {"workspace_id": DEFAULT_WORKSPACE, "channel": "email"}
    async with sessions(DEFAULT_WORKSPACE) as db:
        ids = [uuid7() for _ in range(MOST)]
        db.add_all([Provider(**here, id=each, name="x", kind="pigeons") for each in ids])
        await db.flush()
        db.add_all([Route(**here, message_class="marketing", provider_id=each) for each in ids])

    body = {"channel": "email", "class": "marketing", "provider_id": provider}
    assert f"at most {MOST}" in refusal(await api.post(AT, json=body), 409)["detail"]


async def test_without_a_route_mail_goes_by_the_installations_own_server(api: AsyncClient) -> None:
    mail, texts = await the_plan(api), await the_plan(api, channel="sms")

    assert (mail["turns"], texts["turns"]) == ([], [])
    assert mail["summary"] == "There is no route, so mail goes by the installation's own server."
    assert "so messages wait" in texts["summary"]


async def test_the_plan_goes_by_priority_and_weight(api: AsyncClient) -> None:
    for name, priority, weight in (("Late", 2, 1), ("Small", 1, 1), ("Big", 1, 3)):
        await a_route(api, await a_provider(api, name), priority=priority, weight=weight)
    await a_route(api, await a_provider(api, "Other"), **{"class": "transactional"})

    plan = await the_plan(api)

    assert [(each["provider"], each["share"]) for each in plan["turns"]] == [
        ("Big", 0.75),
        ("Small", 0.25),
        ("Late", 1),
    ]
    assert plan["summary"] == "Messages go by Big (75%) and Small (25%). If that fails: Late."
    assert {each["why_not"] for each in plan["turns"]} == {None}


async def test_the_plan_says_why_a_provider_is_left_out(api: AsyncClient, sessions: Sessions) -> None:
    warm_up = {"starts_on": "2026-11-23", "days": [100, 200]}
    names = ("Broken", "Held", "Warm", "Good")
    ids = {name: await a_provider(api, name, warm_up=warm_up if name == "Warm" else None) for name in names}
    for name in names:
        await a_route(api, ids[name], priority=names.index(name) + 1)
    await failing(sessions, ids["Broken"])
    await api.post(f"{V1}/providers/{ids['Held']}/hold", json={"reason": "Cats."})
    async with sessions(DEFAULT_WORKSPACE) as db:
        its = {"workspace_id": DEFAULT_WORKSPACE, "provider_id": UUID(ids["Warm"])}
        db.add(ProviderDay(**its, day=NOW.date(), leased=100))

    plan = await the_plan(api)

    assert [
        (each["provider"], each["why_not"], each["share"], each["left_today"]) for each in plan["turns"]
    ] == [
        ("Broken", "It is left alone until 09:00:05 UTC: It answered 503.", None, None),
        ("Held", "It is held by hand until somebody releases it: Cats.", None, None),
        ("Warm", "Its warm-up allows no more messages today.", None, 0),
        ("Good", None, 1, None),
    ]
    assert plan["summary"] == "Messages go by Good."
    health = (await api.get(f"{V1}/providers/{ids['Broken']}/health")).json()
    assert (health["state"], health["trips"], health["until"]) == ("open", 1, "2026-11-23T09:00:05Z")
    history = (await api.get(f"{V1}/providers/{ids['Broken']}/history")).json()["items"]
    assert [(each["state"], each["reason"]) for each in history] == [("open", "It answered 503")]
    warm = (await api.get(f"{V1}/providers/{ids['Warm']}/health")).json()
    assert warm["today"]["warm_up"] == 100


async def test_when_nothing_can_take_messages_they_wait(api: AsyncClient, sessions: Sessions) -> None:
    provider = await a_provider(api)
    await a_route(api, provider)
    await failing(sessions, provider)

    assert (await the_plan(api))["summary"] == "No provider can take messages now: they wait in the queue."
    clock = the_app().state.stack.clock
    clock.move(timedelta(minutes=1))
    assert (await the_plan(api))["summary"] == "Messages go by Pigeons."


async def test_marketing_that_is_held_goes_nowhere(api: AsyncClient, sessions: Sessions) -> None:
    await a_route(api, await a_provider(api))
    async with sessions(DEFAULT_WORKSPACE) as db:
        db.add(Hold(workspace_id=DEFAULT_WORKSPACE, channel="email", at=NOW, reason="Complaints."))

    assert (await the_plan(api))["summary"] == (
        "Marketing by email is held: Complaints. POST /api/v1/deliverability/email/release lets it go on."
    )
    assert "own server" in (await the_plan(api, **{"class": "transactional"}))["summary"]


async def test_the_workspaces_calendar_says_what_a_warm_up_allows(
    api: AsyncClient, sessions: Sessions
) -> None:
    """It is the next day already in Auckland."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update workspaces set time_zone = 'Pacific/Auckland'"))
    the_app().state.stack.clock.move(timedelta(hours=3))
    warm_up = {"starts_on": "2026-11-23", "days": [100, 200]}
    await a_route(api, await a_provider(api, warm_up=warm_up))

    [turn] = (await the_plan(api))["turns"]

    assert turn["left_today"] == 200


async def test_a_class_that_is_none_is_answered_with_those_that_there_are(lonely_api: AsyncClient) -> None:
    asked = {"channel": "email", "class": "loud"}
    problem = refusal(await lonely_api.get(f"{V1}/routes/plan", params=asked), 422)

    [error] = problem["errors"]
    assert error["detail"] == "This should be 'marketing' or 'transactional'."

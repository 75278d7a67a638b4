"""Campaigns are scheduled, listed by their day, and let go of again."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from httpx2 import AsyncClient
from sqlalchemy import text, update

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.campaigns import Campaign
from tests.api.support import (
    NOBODY,
    V1,
    a_campaign,
    a_profile,
    a_segment,
    a_sender,
    created,
    refusal,
    soon,
)
from tests.sending import some

AT = f"{V1}/campaigns"
ALARMS = "select coalesce(rings_at::text, 'remove it') from alarms"


@pytest.fixture
async def campaign(lonely_api: AsyncClient, sessions: Sessions) -> str:
    """One that could start, of an API without Temporal: to schedule it takes none."""
    await a_sender(lonely_api)
    await a_profile(sessions)
    return await a_campaign(lonely_api)


async def scheduled(api: AsyncClient, campaign: str, at: str, **values: Any) -> dict[str, Any]:
    return await created(await api.post(f"{AT}/{campaign}/schedule", json={"at": at, **values}))


async def found(sessions: Sessions, asked: str) -> list[Any]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return await some(db, asked)


async def test_a_campaign_is_scheduled_scheduled_anew_and_unscheduled_and_its_alarm_and_webhooks_hear_of_it(
    lonely_api: AsyncClient, sessions: Sessions, campaign: str
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        webhook = (
            "insert into webhooks (workspace_id, name, url, event_types, secret) "
            "values (:here, 'n8n', 'https://n8n.example/x', '{campaign.*}', 'sealed')"
        )
        await db.execute(text(webhook), {"here": DEFAULT_WORKSPACE})
    day = (datetime.now(UTC) + timedelta(days=3)).date()

    first = await scheduled(lonely_api, campaign, f"{day}T08:00", time_zone="Asia/Tokyo")
    rings = await found(sessions, "select rings_at from alarms")
    by_n8n = await scheduled(lonely_api, campaign, f"{day}T08:00:30.25", time_zone="UTC", starter="n8n")
    later = await scheduled(lonely_api, campaign, f"{day}T09:00")
    alarms = await found(sessions, ALARMS)
    draft = (await lonely_api.post(f"{AT}/{campaign}/unschedule")).json()

    assert (first["state"], by_n8n["state"], draft["state"]) == ("scheduled", "scheduled", "draft")
    assert first["schedule"] == {
        "at": f"{day - timedelta(days=1)}T23:00:00Z",
        "local": f"{day}T08:00:00+09:00",
        "time_zone": "Asia/Tokyo",
        "starter": "campanile",
        "note": None,
    }
    assert rings == [datetime.fromisoformat(first["schedule"]["at"])]
    assert (by_n8n["schedule"]["at"], by_n8n["schedule"]["time_zone"]) == (f"{day}T08:00:30Z", "UTC")
    assert later["schedule"]["at"] == f"{day}T09:00:00Z"
    assert (later["schedule"]["time_zone"], later["schedule"]["starter"]) == ("UTC", "n8n")
    assert alarms == ["remove it"]
    assert draft["schedule"] is None
    told = "select body::jsonb -> 'data' ->> 'starter' from webhook_deliveries order by id"
    assert await found(sessions, told) == ["campanile", "n8n", "n8n"]
    refusal(await lonely_api.post(f"{AT}/{campaign}/unschedule"), 409)


async def test_what_was_decided_where_the_clocks_change_is_shown(
    lonely_api: AsyncClient, campaign: str
) -> None:
    skipped = next(
        day
        for day in ("2027-03-28", "2028-03-26", "2029-03-25", "2030-03-31")
        if datetime.fromisoformat(f"{day}T00:00Z") > datetime.now(UTC)
    )

    shown = await scheduled(lonely_api, campaign, f"{skipped}T02:30", time_zone="Europe/Berlin")

    assert shown["schedule"]["local"] == f"{skipped}T03:30:00+02:00"
    assert "skip 02:30" in shown["schedule"]["note"]


async def test_a_schedule_is_refused_for_what_a_start_is_refused_for_and_for_a_time_that_is_past(
    lonely_api: AsyncClient, sessions: Sessions, campaign: str
) -> None:
    empty = await a_campaign(lonely_api, segment_id=await a_segment(lonely_api, NOBODY))
    past = {"at": "2026-01-01T08:00"}
    nowhere = {"at": soon(), "time_zone": "Europe/Atlantis"}

    reaches_nobody = refusal(await lonely_api.post(f"{AT}/{empty}/schedule", json={"at": soon()}), 422)
    assert "empty" in reaches_nobody["detail"]
    for body, pointer in ((past, "/at"), (nowhere, "/time_zone")):
        problem = refusal(await lonely_api.post(f"{AT}/{campaign}/schedule", json=body), 422)
        assert problem["errors"][0]["pointer"] == pointer
    assert await found(sessions, "select distinct state from campaigns") == ["draft"]
    assert await found(sessions, ALARMS) == []


async def test_campaigns_are_listed_by_their_day_in_the_workspaces_time_zone_by_state_and_by_starter(
    lonely_api: AsyncClient, campaign: str
) -> None:
    await created(await lonely_api.patch(f"{V1}/workspace", json={"time_zone": "Asia/Tokyo"}))
    day = (datetime.now(UTC) + timedelta(days=5)).date()
    at_its_beginning, at_its_end, after_it, draft = [campaign] + [
        await a_campaign(lonely_api) for _ in range(3)
    ]
    for each, at in ((at_its_beginning, "00:00"), (at_its_end, "23:59:59")):
        await scheduled(lonely_api, each, f"{day}T{at}", starter="n8n")
    await scheduled(lonely_api, after_it, f"{day + timedelta(days=1)}T00:00")

    async def listed(**which: Any) -> list[str]:
        page = await created(await lonely_api.get(AT, params=which))
        return [each["id"] for each in page["items"]]

    today = {"scheduled_on": str(day), "state": "scheduled", "starter": "n8n"}
    first = (await lonely_api.get(AT, params={**today, "limit": 1})).json()
    assert await listed(**today) == [at_its_end, at_its_beginning]
    assert [each["id"] for each in first["items"]] == [at_its_end]
    assert await listed(**today, limit=1, cursor=first["next_cursor"]) == [at_its_beginning]
    assert await listed(starter="campanile") == [after_it]
    assert await listed(state="draft") == [draft]
    assert await listed(scheduled_on=str(day + timedelta(days=1))) == [after_it]
    refusal(await lonely_api.get(AT, params={"scheduled_on": "0001-01-01"}), 422)


async def test_a_scheduled_campaign_is_edited_cancelled_and_deleted_without_temporal(
    lonely_api: AsyncClient, sessions: Sessions, campaign: str
) -> None:
    other = await a_campaign(lonely_api)
    for each in (campaign, other):
        await scheduled(lonely_api, each, soon())

    edited = await lonely_api.patch(f"{AT}/{campaign}", json={"name": "Later letter"})
    workspace = await lonely_api.get(f"{V1}/workspace")
    busy = await lonely_api.delete(f"{V1}/workspaces/{workspace.json()['id']}")
    cancelled = await lonely_api.post(f"{AT}/{campaign}/cancel")
    deleted = await lonely_api.delete(f"{AT}/{other}")

    assert (edited.json()["name"], edited.json()["state"]) == ("Later letter", "scheduled")
    assert busy.status_code in (403, 409)
    assert cancelled.json() == {"state": "cancelled", "not_sent": 0}
    assert deleted.status_code == 204
    assert await found(sessions, ALARMS) == ["remove it"] * 2
    assert (
        "cancelled"
        in refusal(await lonely_api.post(f"{AT}/{campaign}/schedule", json={"at": soon()}), 409)["detail"]
    )


async def test_what_failed_before_it_began_is_scheduled_anew_like_a_draft(
    lonely_api: AsyncClient, sessions: Sessions, campaign: str
) -> None:
    await scheduled(lonely_api, campaign, soon())
    failed = {"state": "failed", "reason": "It was empty.", "finished_at": datetime.now(UTC)}
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(update(Campaign).where(Campaign.id == UUID(campaign)).values(failed))

    again = await scheduled(lonely_api, campaign, soon(3))

    assert (again["state"], again["reason"], again["finished_at"]) == ("scheduled", None, None)

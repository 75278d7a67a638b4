from datetime import UTC, datetime
from uuid import UUID

import pytest
from httpx2 import AsyncClient
from sqlalchemy import select, text, update
from temporalio.client import Client

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.campaigns import Campaign
from models.messages import Message
from models.queries import holds
from tests.api.support import (
    NOBODY,
    V1,
    a_campaign,
    a_profile,
    a_segment,
    a_sender,
    a_template,
    refusal,
    soon,
)

AT = f"{V1}/campaigns"


async def test_a_draft_can_be_changed_and_deleted(api: AsyncClient) -> None:
    campaign = await a_campaign(api)

    changed = await api.patch(f"{AT}/{campaign}", json={"name": "Other", "class": "transactional"})

    assert changed.json() | {"updated_at": ""} == (await api.get(f"{AT}/{campaign}")).json() | {
        "updated_at": ""
    }
    assert (changed.json()["name"], changed.json()["class"]) == ("Other", "transactional")
    assert (await api.delete(f"{AT}/{campaign}")).status_code == 204
    refusal(await api.get(f"{AT}/{campaign}"), 404)


async def test_a_segment_or_template_that_nobody_has_is_pointed_at(api: AsyncClient) -> None:
    nobody = "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f"
    body = {"name": "x", "segment_id": nobody, "template_id": await a_template(api)}

    assert refusal(await api.post(AT, json=body), 422)["errors"][0]["pointer"] == "/segment_id"


@pytest.mark.parametrize("state", ["running", "paused", "completed", "cancelled", "failed"])
async def test_only_what_has_not_begun_can_be_changed_deleted_or_started(
    api: AsyncClient, sessions: Sessions, state: str
) -> None:
    campaign = await a_campaign(api)
    async with sessions(DEFAULT_WORKSPACE) as db:
        values = {"state": state, "started_at": datetime.now(UTC)}
        await db.execute(update(Campaign).where(Campaign.id == UUID(campaign)).values(values))

    for answer in (
        await api.patch(f"{AT}/{campaign}", json={"name": "Other"}),
        await api.delete(f"{AT}/{campaign}"),
        await api.post(f"{AT}/{campaign}/start"),
        await api.post(f"{AT}/{campaign}/schedule", json={"at": soon()}),
        await api.post(f"{AT}/{campaign}/unschedule"),
    ):
        assert state in refusal(answer, 409)["detail"]


async def test_a_start_is_refused_with_everything_that_is_in_its_way(api: AsyncClient) -> None:
    campaign = await a_campaign(api, segment_id=await a_segment(api, NOBODY))

    problem = refusal(await api.post(f"{AT}/{campaign}/start"), 422)

    assert problem["type"].endswith(":refused")
    for word in ("sender_email", "postal_address", "empty"):
        assert word in problem["detail"]


async def test_marketing_that_is_held_is_not_started_and_the_refusal_says_how_to_let_it_go_on(
    api: AsyncClient, sessions: Sessions
) -> None:
    await a_sender(api)
    await a_profile(sessions)
    campaign = await a_campaign(api)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await holds.hold(db, DEFAULT_WORKSPACE, "email", "It was too much.", datetime.now(UTC))

    problem = refusal(await api.post(f"{AT}/{campaign}/start"), 422)

    assert problem["detail"] == (
        "Marketing by email is held: It was too much. "
        "POST /api/v1/deliverability/email/release lets it go on."
    )
    assert (await api.post(f"{V1}/deliverability/email/release")).is_success
    assert (await api.post(f"{AT}/{campaign}/start")).is_success


async def test_a_start_is_refused_when_nobody_has_what_the_template_prints(
    api: AsyncClient, sessions: Sessions
) -> None:
    await a_sender(api)
    await a_profile(sessions, first_name="Ada", nickname=None)
    template = await a_template(api, "<p>{{ first_name }} {{ nickname }} {{ points | default: 0 }}</p>")
    campaign = await a_campaign(api, template_id=template)

    problem = refusal(await api.post(f"{AT}/{campaign}/start"), 422)

    assert "nickname" in problem["detail"]
    assert "first_name" not in problem["detail"]
    assert "points" not in problem["detail"]


@pytest.mark.parametrize("word", ["start", "send"])
async def test_a_start_is_one_workflow_however_often_it_is_asked_for(
    api: AsyncClient, sessions: Sessions, temporal: Client, word: str
) -> None:
    await a_sender(api)
    await a_profile(sessions)
    campaign = await a_campaign(api)

    first = await api.post(f"{AT}/{campaign}/{word}")
    second = await api.post(f"{AT}/{campaign}/{word}")

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()
    workflow_id = first.json()["workflow_id"]
    assert workflow_id == f"campaign/{campaign}/winter-letter"
    handle = temporal.get_workflow_handle(workflow_id)
    description = await handle.describe()
    assert await description.static_summary() == "Campaign: Winter letter"
    await handle.terminate()


async def test_a_campaign_with_a_long_name_in_any_script_can_be_started(
    api: AsyncClient, sessions: Sessions, temporal: Client
) -> None:
    await a_sender(api)
    await a_profile(sessions)
    campaign = await a_campaign(api, name="🎉" * 200)

    begun = await api.post(f"{AT}/{campaign}/start")

    assert begun.status_code == 202
    handle = temporal.get_workflow_handle(begun.json()["workflow_id"])
    summary = await (await handle.describe()).static_summary()
    assert summary is not None
    assert summary.startswith("Campaign: 🎉🎉🎉")
    await handle.terminate()


async def test_a_start_without_temporal_says_so_and_changes_nothing(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    await a_sender(lonely_api)
    await a_profile(sessions)
    campaign = await a_campaign(lonely_api)

    problem = refusal(await lonely_api.post(f"{AT}/{campaign}/start"), 503)

    assert "Temporal" in problem["detail"]
    assert (await lonely_api.get(f"{AT}/{campaign}")).json()["state"] == "draft"


@pytest.mark.parametrize("word", ["pause", "resume", "cancel"])
async def test_what_is_not_under_way_can_not_be_steered(api: AsyncClient, word: str) -> None:
    campaign = await a_campaign(api)

    assert "draft" in refusal(await api.post(f"{AT}/{campaign}/{word}"), 409)["detail"]


async def test_a_preview_is_the_mail_as_it_would_be_sent(api: AsyncClient, sessions: Sessions) -> None:
    await a_sender(api)
    profile = await a_profile(sessions, first_name="<Ada>")
    html = '<p>Hello {{ first_name }}</p><a href="https://records.example/new">New</a>'
    campaign = await a_campaign(api, template_id=await a_template(api, html, "For {{ first_name }}"))

    by_id = (await api.get(f"{AT}/{campaign}/preview", params={"profile": str(profile)})).json()
    by_email = (await api.get(f"{AT}/{campaign}/preview", params={"profile": "ADA@example.com"})).json()

    assert by_id == by_email
    assert by_id["subject"] == "For <Ada>"
    assert "Hello &lt;Ada&gt;" in by_id["html"]
    for expected in ("/o/", "/c/", "/u/", "1 Groove Street"):
        assert expected in by_id["html"]
    assert "Hello <Ada>" in by_id["text"]
    assert by_id["missing"] == []


async def test_a_preview_has_no_pixel_for_who_must_not_be_tracked(
    api: AsyncClient, sessions: Sessions
) -> None:
    await a_profile(sessions, tracking=False)
    html = '<p>Hello</p><a href="https://records.example/new">New</a>'
    campaign = await a_campaign(api, template_id=await a_template(api, html))

    shown = (await api.get(f"{AT}/{campaign}/preview", params={"profile": "ada@example.com"})).json()

    assert "/o/" not in shown["html"]
    assert "https://records.example/new" in shown["html"]


async def test_a_preview_says_in_words_what_the_profile_lacks(api: AsyncClient, sessions: Sessions) -> None:
    await a_profile(sessions)
    campaign = await a_campaign(api, template_id=await a_template(api, "<p>{{ first_name }}</p>"))

    shown = (await api.get(f"{AT}/{campaign}/preview", params={"profile": "ada@example.com"})).json()

    assert "first_name" in shown["missing"][0]
    assert "[first_name]" in shown["html"]


async def test_a_preview_for_a_stranger_is_not_found(api: AsyncClient) -> None:
    campaign = await a_campaign(api)

    refusal(await api.get(f"{AT}/{campaign}/preview", params={"profile": "who@example.com"}), 404)


async def test_a_test_goes_to_the_outbox_and_is_counted_nowhere(api: AsyncClient, sessions: Sessions) -> None:
    await a_sender(api)
    await a_profile(sessions, first_name="Ada")
    campaign = await a_campaign(api, template_id=await a_template(api, "<p>{{ first_name }}</p>"))

    answer = await api.post(
        f"{AT}/{campaign}/test",
        json={"addresses": ["me@records.example", "you@records.example"], "profile": "ada@example.com"},
    )

    assert answer.status_code == 202
    async with sessions(DEFAULT_WORKSPACE) as db:
        rows = list(await db.scalars(select(Message).order_by(Message.id)))
    assert [str(row.id) for row in rows] == answer.json()["message_ids"]
    assert {(row.queue_id, row.message_class, row.holes[0]) for row in rows if row.holes} == {
        (DEFAULT_WORKSPACE, "test", "Ada")
    }
    async with sessions.engine() as db:
        assert (await db.scalars(text("select queue_id from pokes"))).all() == [DEFAULT_WORKSPACE]
    assert (await api.get(f"{AT}/{campaign}/stats")).json()["total"] == 0
    assert (await api.get(f"{AT}/{campaign}/messages")).json()["items"] == []
    tests = (await api.get(f"{AT}/{campaign}/messages", params={"class": "test"})).json()["items"]
    assert [item["id"] for item in tests] == answer.json()["message_ids"][::-1]


async def test_a_test_that_would_break_is_refused_in_words(api: AsyncClient, sessions: Sessions) -> None:
    await a_sender(api)
    campaign = await a_campaign(api, template_id=await a_template(api, "<p>{{ first_name }}</p>"))

    problem = refusal(
        await api.post(f"{AT}/{campaign}/test", json={"addresses": ["me@records.example"]}), 422
    )

    assert "first_name" in problem["detail"]
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert (await db.scalars(select(Message))).all() == []


@pytest.mark.parametrize("addresses", [[], ["nonsense"], ["a@b.example\nBcc: c@d.example"]])
async def test_a_test_wants_addresses(api: AsyncClient, addresses: list[str]) -> None:
    campaign = await a_campaign(api)

    problem = refusal(await api.post(f"{AT}/{campaign}/test", json={"addresses": addresses}), 422)

    assert problem["errors"][0]["pointer"].startswith("/addresses")

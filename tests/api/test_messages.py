import csv
import io
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from httpx2 import AsyncClient

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.messages import Message, MessageEvent, Queued
from models.profiles import Profile
from tests.api.support import V1, a_campaign, a_profile, a_template, refusal

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
AT = f"{V1}/campaigns"


async def a_message(
    api: AsyncClient, sessions: Sessions, campaign: str, profile: UUID, **values: Any
) -> UUID:
    """A line of the ledger for one person; accepted unless told otherwise."""
    template = (await api.get(f"{AT}/{campaign}")).json()["template_id"]
    version = (await api.get(f"{V1}/templates/{template}")).json()["version_id"]
    line: dict[str, Any] = {
        "workspace_id": DEFAULT_WORKSPACE,
        "queue_id": UUID(campaign),
        "source_id": UUID(campaign),
        "source_kind": "campaign",
        "step": "send",
        "profile_id": profile,
        "occasion": UUID(campaign),
        "channel": "email",
        "message_class": "marketing",
        "template_version_id": UUID(version),
        "address": "ada@example.com",
        "state": "accepted",
        "due_at": NOW,
        "closed_at": NOW,
    }
    async with sessions(DEFAULT_WORKSPACE) as db:
        message = Message(**(line | values))
        db.add(message)
        await db.flush()
        if message.state == "queued":
            here = {"workspace_id": DEFAULT_WORKSPACE, "queue_id": UUID(campaign), "due_at": NOW}
            db.add(Queued(message_id=message.id, **here))
        return message.id


async def test_stats_count_every_state_and_what_readers_did(api: AsyncClient, sessions: Sessions) -> None:
    campaign = await a_campaign(api)
    people = [await a_profile(sessions, f"p{n}@example.com") for n in range(7)]
    opened = await a_message(api, sessions, campaign, people[0], opened_at=NOW, clicked_at=NOW)
    await a_message(api, sessions, campaign, people[1], opened_at=NOW)
    await a_message(api, sessions, campaign, people[2], state="skipped", reason="no consent")
    await a_message(api, sessions, campaign, people[3], state="skipped", reason="capped")
    await a_message(api, sessions, campaign, people[4], state="unknown")
    await a_message(api, sessions, campaign, people[5], state="queued", closed_at=None)
    await a_message(api, sessions, campaign, people[6], message_class="test", step="test")
    async with sessions(DEFAULT_WORKSPACE) as db:
        for kind in ("unsubscribed", "unsubscribed", "opened"):
            db.add(MessageEvent(workspace_id=DEFAULT_WORKSPACE, message_id=opened, kind=kind, at=NOW))

    stats = (await api.get(f"{AT}/{campaign}/stats")).json()

    assert [*stats["skipped_by_reason"]] == ["no consent", "capped"]
    assert stats == {
        "state": "draft",
        "started_at": None,
        "finished_at": None,
        "total": 6,
        "queued": 1,
        "claimed": 0,
        "sending": 0,
        "accepted": 2,
        "failed": 0,
        "skipped": 2,
        "unknown": 1,
        "skipped_by_reason": {"no consent": 1, "capped": 1},
        "opened": 2,
        "clicked": 1,
        "unsubscribed": 1,
    }


async def test_messages_are_listed_by_state_page_by_page(api: AsyncClient, sessions: Sessions) -> None:
    campaign = await a_campaign(api)
    made = [
        await a_message(api, sessions, campaign, await a_profile(sessions, f"p{n}@example.com"))
        for n in range(3)
    ]
    await a_message(api, sessions, campaign, await a_profile(sessions), state="failed", reason="550 no")

    first = (await api.get(f"{AT}/{campaign}/messages", params={"state": "accepted", "limit": "2"})).json()
    rest = (
        await api.get(
            f"{AT}/{campaign}/messages",
            params={"state": "accepted", "limit": "2", "cursor": first["next_cursor"]},
        )
    ).json()
    failed = (await api.get(f"{AT}/{campaign}/messages", params={"state": "failed"})).json()

    assert [item["id"] for item in first["items"] + rest["items"]] == [str(each) for each in made[::-1]]
    assert rest["next_cursor"] is None
    assert [item["reason"] for item in failed["items"]] == ["550 no"]
    refusal(await api.get(f"{AT}/{campaign}/messages", params={"state": "lost"}), 422)


async def test_messages_come_as_csv_that_no_spreadsheet_runs(api: AsyncClient, sessions: Sessions) -> None:
    campaign = await a_campaign(api)
    profile = await a_profile(sessions)
    await a_message(
        api,
        sessions,
        campaign,
        profile,
        state="failed",
        reason='=HYPERLINK("http://x","y")',
        address="+a@b.example",
    )

    answer = await api.get(f"{AT}/{campaign}/messages", headers={"Accept": "text/csv"})

    assert answer.headers["content-type"].startswith("text/csv")
    [row] = csv.DictReader(io.StringIO(answer.text))
    assert row["reason"] == '\'=HYPERLINK("http://x","y")'
    assert row["address"] == "'+a@b.example"
    assert row["class"] == "marketing"
    assert row["profile_id"] == str(profile)


async def test_a_persons_messages_include_those_of_merged_profiles(
    api: AsyncClient, sessions: Sessions
) -> None:
    campaign = await a_campaign(api)
    kept = await a_profile(sessions)
    merged = await a_profile(sessions, "alias@example.com")
    first = await a_message(api, sessions, campaign, merged)
    async with sessions(DEFAULT_WORKSPACE) as db:
        row = await db.get_one(Profile, (DEFAULT_WORKSPACE, merged))
        row.merged_into = kept

    for asked in (kept, merged):
        listed = (await api.get(f"{V1}/profiles/{asked}/messages")).json()
        assert [item["id"] for item in listed["items"]] == [str(first)]


async def test_a_profile_is_found_by_email_in_any_case(api: AsyncClient, sessions: Sessions) -> None:
    profile = await a_profile(sessions, first_name="Ada")

    found = (await api.get(f"{V1}/profiles", params={"email": "Ada@Example.com"})).json()["items"]
    stranger = (await api.get(f"{V1}/profiles", params={"email": "who@example.com"})).json()

    assert found == [(await api.get(f"{V1}/profiles/{profile}")).json()]
    assert found[0]["consents"] == {"email": "granted", "tracking": "granted"}
    assert found[0]["attributes"] == {"first_name": "Ada"}
    assert stranger["items"] == []


async def test_a_template_that_messages_were_made_from_is_kept(api: AsyncClient, sessions: Sessions) -> None:
    template = await a_template(api)
    campaign = await a_campaign(api, template_id=template)
    await a_message(api, sessions, campaign, await a_profile(sessions))
    await api.delete(f"{AT}/{campaign}")

    assert "Messages" in refusal(await api.delete(f"{V1}/templates/{template}"), 409)["detail"]

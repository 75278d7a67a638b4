"""The failure log by API: noted from outside, listed, seen to, and tried again."""

import json
from typing import Any
from uuid import UUID

import pytest
from httpx2 import AsyncClient
from sqlalchemy import text

from domain.failures import Subject
from domain.routing import BUILT_IN
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import failures, failures_found
from tests.api.support import V1, created, refusal
from tests.api.things import NOTHING, a_provider
from tests.people import NOON, a_message, a_person
from tests.sending import a_sender

LOGS = f"{V1}/failure-logs"
NOTED = {"title": "n8n: daily", "reason": "It answered 409 to ada@shop.example.", "reference": "n8n/1"}


@pytest.fixture
async def failed(api: AsyncClient, sessions: Sessions) -> list[str]:
    """The failures of three messages: by a provider that was away, to nobody, and unknown."""
    found: list[str] = []
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        for state, reason in (("failed", "451 Not now"), ("failed", "550 5.1.1 Nobody"), ("unknown", "?")):
            person = await a_person(db, f"{len(found)}@shop.example")
            message = await a_message(db, person, state=state, reason=reason)
            await failures.note_messages(db, DEFAULT_WORKSPACE, [message], NOON)
            row = await failures_found.noted(db, DEFAULT_WORKSPACE, Subject.MESSAGE, str(message))
            found.append(str(row.id))
    return found


async def test_a_failure_outside_is_noted_once_for_each_reference(api: AsyncClient) -> None:
    first = await created(await api.post(LOGS, json=NOTED))
    second = await created(await api.post(LOGS, json=NOTED | {"reason": "Otherwise."}))

    assert first == second
    assert (first["subject"], first["subject_id"], first["category"]) == ("outside", "n8n/1", "ours")
    assert first["reason"] == "It answered 409 to …."
    assert (await created(await api.get(LOGS)))["items"] == [first]


async def test_what_acts_on_digests_does_not_hear_of_itself_unless_it_asks(
    api: AsyncClient, sessions: Sessions
) -> None:
    await created(await api.post(LOGS, json=NOTED))
    await created(await api.post(LOGS, json=NOTED | {"reference": "n8n/2", "tell": True}))

    async with sessions(DEFAULT_WORKSPACE) as db:
        quiet = await db.execute(text("select subject_id, quiet from failure_logs order by id"))
        assert [tuple(row) for row in quiet] == [("n8n/1", True), ("n8n/2", False)]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"title": " "}, "/title"),
        ({"reason": "x" * 4_001}, "/reason"),
        ({"detail": {"x": "y" * 17_000}}, "/detail"),
        ({"detail": {"x": 2**70}}, "/detail"),
        ({"detail": {"x": "\ud800"}}, "/detail"),
        ({"detail": {"x": json.loads("[" * 250 + "]" * 250)}}, "/detail"),
        ({"category": "fate"}, "/category"),
        ({"reference": ""}, "/reference"),
    ],
)
async def test_what_can_not_be_noted_names_the_field(
    api: AsyncClient, body: dict[str, Any], pointer: str
) -> None:
    content = json.dumps(NOTED | body)
    said = refusal(await api.post(LOGS, content=content, headers={"Content-Type": "application/json"}), 422)
    assert [each["pointer"] for each in said["errors"]] == [pointer]


async def test_the_list_is_filtered_summed_up_and_paged(api: AsyncClient, failed: list[str]) -> None:
    async def found(**asked: Any) -> list[str]:
        return [each["id"] for each in (await created(await api.get(LOGS, params=asked)))["items"]]

    assert await found() == failed[::-1]
    assert await found(category="address") == [failed[1]]
    assert await found(retryable=True) == [failed[0]]
    assert await found(subject="webhook") == []
    assert await found(until=NOON.isoformat()) == []
    assert await found(provider_id=NOTHING) == []
    assert await found(source_id=str(DEFAULT_WORKSPACE), acknowledged=False) == failed[::-1]
    page = await created(await api.get(LOGS, params={"limit": 2}))
    rest = await created(await api.get(LOGS, params={"limit": 2, "cursor": page["next_cursor"]}))
    assert [each["id"] for each in (*page["items"], *rest["items"])] == failed[::-1]
    sums = await created(await api.get(f"{LOGS}/summary"))
    assert (sums["failures"], sums["open"]) == (3, 3)
    assert [(each["category"], each["failures"]) for each in sums["categories"]] == [
        ("provider", 2),
        ("address", 1),
    ]


async def test_whoever_sees_to_one_first_stays(api: AsyncClient, failed: list[str]) -> None:
    one = await created(await api.post(f"{LOGS}/{failed[0]}/acknowledge"))
    assert one["acknowledged_by"]
    assert await created(await api.post(f"{LOGS}/{failed[0]}/acknowledge")) == one
    seen = await created(await api.post(f"{LOGS}/acknowledge", json={"subject": "message"}))
    assert seen == {"acknowledged": 2}
    assert (await created(await api.get(LOGS, params={"acknowledged": False})))["items"] == []
    refusal(await api.post(f"{LOGS}/{NOTHING}/acknowledge"), 404)


async def test_one_is_tried_again_once(api: AsyncClient, failed: list[str]) -> None:
    again = await created(await api.post(f"{LOGS}/{failed[0]}/retry"))

    story = await created(await api.get(f"{V1}/messages/{again['retried_as']}"))
    assert (story["state"], story["step"]) == ("queued", "send")
    assert any("asked for it" in told["what"] for told in story["story"])
    assert (await created(await api.get(f"{LOGS}/{failed[0]}")))["retried_as"] == again["retried_as"]
    assert "already" in refusal(await api.post(f"{LOGS}/{failed[0]}/retry", json={}), 409)["detail"]
    assert "unknown: true" in refusal(await api.post(f"{LOGS}/{failed[2]}/retry", json={}), 409)["detail"]
    refusal(await api.post(f"{LOGS}/{NOTHING}/retry", json={}), 404)


async def test_one_is_tried_again_by_the_installations_mail_server(
    api: AsyncClient, sessions: Sessions, failed: list[str]
) -> None:
    await created(await api.post(f"{LOGS}/{failed[0]}/retry", json={"provider_id": str(BUILT_IN)}))

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await db.scalar(text("select only_by from messages where resend = 1")) == BUILT_IN


async def test_many_are_tried_again_and_others_are_not_with_reasons(
    api: AsyncClient, sessions: Sessions, failed: list[str]
) -> None:
    provider = await a_provider(api)
    asked = {"ids": [*failed, NOTHING], "provider_id": provider, "unknown": True}
    done = await created(await api.post(f"{LOGS}/retry", json=asked))
    assert done["retried"] == 3
    assert [(each["why"], each["failure_ids"]) for each in done["refused"]] == [
        ("There is no such failure.", [NOTHING])
    ]
    async with sessions(DEFAULT_WORKSPACE) as db:
        by = await db.scalars(text("select only_by from messages where resend = 1"))
        assert set(by) == {UUID(provider)}
    done = await created(await api.post(f"{LOGS}/retry", json={"where": {"category": "provider"}}))
    assert (done["retried"], done["refused"], done["more"]) == (0, [], False)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/ids"),
        ({"ids": [NOTHING], "where": {}}, "/ids"),
        ({"ids": []}, "/ids"),
        ({"ids": [NOTHING], "provider_id": NOTHING}, "/provider_id"),
    ],
)
async def test_a_retry_that_says_too_little_or_too_much(
    api: AsyncClient, body: dict[str, Any], pointer: str
) -> None:
    said = refusal(await api.post(f"{LOGS}/retry", json=body), 422)
    assert [each["pointer"] for each in said["errors"]] == [pointer]


async def test_the_same_request_sent_twice_is_done_once(api: AsyncClient, failed: list[str]) -> None:
    key = {"Idempotency-Key": "retry-1"}
    asked = {"ids": [failed[0]]}
    first = await created(await api.post(f"{LOGS}/retry", json=asked, headers=key))
    second = await created(await api.post(f"{LOGS}/retry", json=asked, headers=key))

    assert first == second
    assert first["retried"] == 1

"""The log of a webhook: what it was told and what became of it; tests, and what is sent again."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
from httpx2 import AsyncClient
from sqlalchemy import select, text

from domain import catalogue
from domain.announcements import Announcement, AnnouncementType
from domain.outboxes import announcements
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import webhook_log, webhooks
from models.queries.announcing import announce
from models.queries.webhook_log import Which, Within
from models.webhooks import WebhookDelivery
from tests.api.support import created, refusal
from tests.api.test_webhooks import AT, a_webhook
from tests.people import NOON

FAILED, OPENED = AnnouncementType.MESSAGE_FAILED, AnnouncementType.BREAKER_OPENED
HOUR = timedelta(hours=1)


@pytest.fixture
async def hook(lonely_api: AsyncClient) -> str:
    return str((await a_webhook(lonely_api))["id"])


async def a_day(sessions: Sessions) -> list[UUID]:
    """Six announcements, an hour apart, of two types in turn: the first two are pending, then two delivered
    and two failed. Their ids, the oldest first."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        for hour in range(6):
            type_ = OPENED if hour % 2 else FAILED
            said = Announcement(type_, catalogue.example(type_))
            await announce(db, DEFAULT_WORKSPACE, [said], NOON + hour * HOUR)
        ids = list(await db.scalars(select(WebhookDelivery.id).order_by(WebhookDelivery.created_at)))
        closed = """
            update webhook_deliveries set state = :state, closed_at = due_at, attempts = 9, reason = 'No.',
                tries = '[{"at": "2026-03-02T12:00:00Z", "seconds": 0.1, "status": 500, "reason": "No.",
                    "answer": "x"}]'
            where id = any(cast(:ids as uuid[]))
        """
        await db.execute(text(closed), {"state": "delivered", "ids": ids[2:4]})
        await db.execute(text(closed), {"state": "failed", "ids": ids[4:]})
    return ids


async def listed(api: AsyncClient, hook: str, **asked: Any) -> list[UUID]:
    answer = await created(await api.get(f"{AT}/{hook}/deliveries", params=asked))
    return [UUID(each["id"]) for each in answer["items"]]


async def test_the_log_has_what_was_told_the_newest_first_and_in_pages(
    lonely_api: AsyncClient, hook: str, sessions: Sessions
) -> None:
    ids = await a_day(sessions)

    first = await created(await lonely_api.get(f"{AT}/{hook}/deliveries", params={"limit": 4}))
    rest = await created(
        await lonely_api.get(f"{AT}/{hook}/deliveries", params={"limit": 4, "cursor": first["next_cursor"]})
    )
    assert [UUID(each["id"]) for each in first["items"] + rest["items"]] == ids[::-1]
    assert rest["next_cursor"] is None


async def test_the_log_is_asked_by_state_type_and_time(
    lonely_api: AsyncClient, hook: str, sessions: Sessions
) -> None:
    ids = await a_day(sessions)

    assert await listed(lonely_api, hook, state="failed") == [ids[5], ids[4]]
    assert await listed(lonely_api, hook, state="pending", event_type=FAILED.value) == [ids[0]]
    within = {"since": (NOON + HOUR).isoformat(), "until": (NOON + 3 * HOUR).isoformat()}
    assert await listed(lonely_api, hook, **within) == [ids[2], ids[1]]
    refusal(await lonely_api.get(f"{AT}/{hook}/deliveries", params={"state": "lost"}), 422)


async def test_one_delivery_is_shown_with_its_body_byte_for_byte_and_its_tries(
    lonely_api: AsyncClient, hook: str, sessions: Sessions
) -> None:
    ids = await a_day(sessions)

    shown = await created(await lonely_api.get(f"{AT}/{hook}/deliveries/{ids[4]}"))

    assert shown["body"] == Announcement(FAILED, catalogue.example(FAILED)).body(NOON + 4 * HOUR)
    assert [each["status"] for each in shown["tries"]] == [500]
    another = (await a_webhook(lonely_api))["id"]
    refusal(await lonely_api.get(f"{AT}/{another}/deliveries/{ids[4]}"), 404)
    assert await listed(lonely_api, another) == []


async def test_a_test_goes_to_the_one_webhook_that_is_tried_though_it_rests(
    lonely_api: AsyncClient, hook: str, sessions: Sessions
) -> None:
    other = (await a_webhook(lonely_api, event_types=["*"]))["id"]
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update webhooks set rests_until = now() + interval '1 hour', failures = 9"))

    answer = await lonely_api.post(f"{AT}/{hook}/test")

    assert answer.status_code == 202
    made = answer.json()
    assert (made["event_type"], made["state"]) == ("webhook.test", "pending")
    assert await listed(lonely_api, hook) == [UUID(made["id"])]
    assert await listed(lonely_api, other) == []
    assert (await lonely_api.get(f"{AT}/{hook}")).json()["rests_until"] is None
    body = orjson.loads((await lonely_api.get(f"{AT}/{hook}/deliveries/{made['id']}")).json()["body"])
    assert (body["type"], body["data"]["webhook_id"]) == ("webhook.test", hook)
    assert await poked(sessions)


async def test_the_log_does_not_show_the_token_by_which_a_flows_call_is_answered(
    lonely_api: AsyncClient, hook: str, sessions: Sessions
) -> None:
    at = "https://campanile.example/api/v1/callbacks"
    called = catalogue.example(AnnouncementType.FLOW_CALL) | {"callback_url": f"{at}/AZ8x-_.4711"}
    said = Announcement(AnnouncementType.FLOW_CALL, called)
    async with sessions(DEFAULT_WORKSPACE) as db:
        row = await webhooks.get(db, UUID(hook), lock=True)
        delivery = (await webhook_log.tell(db, row, said, NOON)).id

    shown = await created(await lonely_api.get(f"{AT}/{hook}/deliveries/{delivery}"))

    assert orjson.loads(shown["body"])["data"]["callback_url"] == f"{at}/[token]"


async def test_a_disabled_webhook_is_sent_nothing_by_hand_either(
    lonely_api: AsyncClient, hook: str, sessions: Sessions
) -> None:
    ids = await a_day(sessions)
    await created(await lonely_api.patch(f"{AT}/{hook}", json={"state": "disabled"}))

    for path, body in (
        ("test", None),
        ("replay", {"since": NOON.isoformat()}),
        (f"deliveries/{ids[5]}/replay", None),
    ):
        answer = await lonely_api.post(f"{AT}/{hook}/{path}", json=body)
        assert "enable it first" in refusal(answer, 409)["detail"]


async def test_a_replay_of_one_keeps_its_id_and_its_body_and_leaves_alone_what_is_on_its_way(
    lonely_api: AsyncClient, hook: str, sessions: Sessions
) -> None:
    ids = await a_day(sessions)
    before = await created(await lonely_api.get(f"{AT}/{hook}/deliveries/{ids[5]}"))
    await unpoked(sessions)

    answer = await lonely_api.post(f"{AT}/{hook}/deliveries/{ids[5]}/replay")

    assert answer.status_code == 202
    after = await created(await lonely_api.get(f"{AT}/{hook}/deliveries/{ids[5]}"))
    assert (after["id"], after["body"], after["tries"]) == (before["id"], before["body"], before["tries"])
    assert (after["state"], after["attempts"], after["closed_at"]) == ("pending", 0, None)
    assert after["replayed_at"] == after["due_at"] == answer.json()["due_at"]
    assert await poked(sessions)
    refusal(await lonely_api.post(f"{AT}/{hook}/deliveries/{ids[5]}/replay"), 409)
    refusal(await lonely_api.post(f"{AT}/{hook}/deliveries/{hook}/replay"), 404)


@pytest.mark.parametrize(
    ("asked", "again"),
    [
        ({}, [4, 5]),
        ({"state": "delivered"}, [2, 3]),
        ({"state": "all"}, [2, 3, 4, 5]),
        ({"state": "all", "from": 3, "to": 5}, [3, 4]),
        ({"from": 6}, []),
    ],
)
async def test_a_range_is_replayed_in_one_go(
    lonely_api: AsyncClient, hook: str, sessions: Sessions, asked: dict[str, Any], again: list[int]
) -> None:
    ids = await a_day(sessions)
    await unpoked(sessions)
    body = {"since": hour(asked.get("from", 0))}
    body |= {"until": hour(asked["to"])} if "to" in asked else {}
    body |= {"state": asked["state"]} if "state" in asked else {}

    answer = await lonely_api.post(f"{AT}/{hook}/replay", json=body)

    assert answer.status_code == 202
    assert answer.json() == {"replayed": len(again), "next_cursor": None}
    async with sessions(DEFAULT_WORKSPACE) as db:
        replayed = select(WebhookDelivery.id).where(WebhookDelivery.replayed_at.is_not(None))
        assert set(await db.scalars(replayed)) == {ids[nth] for nth in again}
    assert await poked(sessions) is bool(again)


async def test_what_is_too_much_for_one_call_is_replayed_by_several(
    lonely_api: AsyncClient, hook: str, sessions: Sessions
) -> None:
    ids = await a_day(sessions)
    within = Within(NOON, NOON + 9 * HOUR, Which.ALL)
    async with sessions(DEFAULT_WORKSPACE) as db:
        row = await webhooks.get(db, UUID(hook), lock=True)
        first = await webhook_log.replay(db, row, within, NOON, limit=3)
        second = await webhook_log.replay(db, row, within, NOON, first.last, limit=3)
    assert (first.n, first.last) == (3, ids[4])
    assert (second.n, second.last) == (1, None)

    assert await listed(lonely_api, hook, state="pending") == ids[::-1]
    none_of_ours = {"since": hour(0), "cursor": "x"}
    problem = refusal(await lonely_api.post(f"{AT}/{hook}/replay", json=none_of_ours), 422)
    assert problem["errors"][0]["pointer"] == "/cursor"


async def test_what_can_hold_nothing_is_refused(lonely_api: AsyncClient, hook: str) -> None:
    turned = {"since": hour(2), "until": hour(1)}
    problem = refusal(await lonely_api.post(f"{AT}/{hook}/replay", json=turned), 422)
    assert problem["errors"][0]["pointer"] == "/since"
    misspelt = {"event_type": "message.fialed"}
    refusal(await lonely_api.get(f"{AT}/{hook}/deliveries", params=misspelt), 422)


def hour(nth: int) -> str:
    return (NOON + nth * HOUR).isoformat()


async def poked(sessions: Sessions) -> bool:
    async with sessions.engine() as db:
        asked = "select exists (select from pokes where queue_id = :queue and work = 'deliver')"
        return bool(await db.scalar(text(asked), {"queue": announcements(DEFAULT_WORKSPACE)}))


async def unpoked(sessions: Sessions) -> None:
    async with sessions.engine() as db:
        await db.execute(text("delete from pokes"))

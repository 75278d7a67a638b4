"""Webhooks by the API: set up, looked at, changed, and their secrets seen by nobody a second time."""

import base64
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from httpx2 import AsyncClient
from sqlalchemy import select, text

from domain import catalogue
from domain.announcements import ADDRESSED, Announcement, AnnouncementType
from domain.catalogue import CATALOGUE
from domain.secrets import Sealer
from domain.webhooks import MOST
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import sealed
from models.queries.announcing import announce
from models.webhooks import Webhook, WebhookDelivery
from settings import DEVELOPMENT_ENCRYPTION_KEY
from tests.api.support import V1, created, refusal
from tests.people import NOON

AT = f"{V1}/webhooks"
HERE = "http://127.0.0.1:9/hook"
GIVEN = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes, ok").decode()


def a_body(**values: Any) -> dict[str, Any]:
    return {"name": "n8n", "url": HERE, "event_types": ["message.failed", "breaker.*"], **values}


async def a_webhook(api: AsyncClient, **values: Any) -> dict[str, Any]:
    return await created(await api.post(AT, json=a_body(**values)))


async def test_a_webhook_is_made_with_a_secret_that_is_shown_once(lonely_api: AsyncClient) -> None:
    made = await a_webhook(lonely_api)

    assert len(base64.b64decode(made["secret"].removeprefix("whsec_"))) == 32
    shown = made["details"]
    assert (shown["state"], shown["pending"], shown["failures"]) == ("enabled", 0, 0)
    one = await lonely_api.get(f"{AT}/{made['id']}")
    assert one.json() == shown
    assert (await lonely_api.get(AT)).json()["items"] == [shown]
    assert "secret" not in one.text.replace("old_secret_until", "")


async def test_secrets_are_sealed_and_in_no_line_of_the_audit_log_and_a_new_key_seals_them_anew(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    made = await a_webhook(lonely_api, secret=GIVEN)
    rotated = await created(await lonely_api.post(f"{AT}/{made['id']}/rotate-secret"))
    opener = Sealer.of(DEVELOPMENT_ENCRYPTION_KEY)

    async with sessions(DEFAULT_WORKSPACE) as db:
        row = (await db.scalars(select(Webhook))).one()
        logged = "\n".join(await db.scalars(text("select audit_log::text from audit_log")))
    belongs_to = f"webhook:{made['id']}"
    assert opener.open(row.secret, belongs_to) == rotated["secret"]
    assert opener.open(row.old_secret or "", belongs_to) == made["secret"] == GIVEN
    assert made["id"] in logged
    secrets = (GIVEN, rotated["secret"], row.secret, row.old_secret or "none")
    assert not [each for each in secrets if each in logged]
    renewed = Sealer.of(f"new:{'A' * 43}=,{DEVELOPMENT_ENCRYPTION_KEY}")
    async with sessions.engine() as db:
        assert await sealed.reseal(db, renewed) == 2


@pytest.mark.parametrize(
    "secret", ["whsec_", "whsec_c2hvcnQ=", "not base64 at all, but long enough", "whsec_" + "A" * 100]
)
async def test_a_secret_that_is_none_is_refused_and_not_repeated(
    strict_api: AsyncClient, secret: str
) -> None:
    answer = await strict_api.post(AT, json=a_body(secret=secret))

    [error] = refusal(answer, 422)["errors"]
    assert error["pointer"] == "/secret"
    assert "24 to 64 random bytes" in error["detail"]
    assert secret not in answer.text.replace("Write whsec_ and", "")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://10.0.0.7/x", "not on the public Internet"),
        ("http://169.254.169.254/latest/meta-data/", "not on the public Internet"),
        ("http://[::1]/", "not on the public Internet"),
        ("http://2852039166/", "not on the public Internet"),
        ("http://0251.0376.0251.0376/", "no URL"),
        ("ftp://shop.example/", "begin with https://"),
        ("file:///etc/passwd", "begin with https://"),
        ("nonsense", "begin with https://"),
        ("https://ada:secret@shop.example/", "no user and no password"),
        ("http://127.0.0.1:9/#top", "after a #"),
        ("https://there-is-no-such-host.invalid/", "There is no host"),
        ("https:///path", "There is no host"),
        ("http://127.0.0.1:9/" + "x" * 2_000, "at most 2000"),
    ],
)
async def test_an_address_that_is_never_called_is_refused_at_once(
    strict_api: AsyncClient, url: str, said: str
) -> None:
    [error] = refusal(await strict_api.post(AT, json=a_body(url=url)), 422)["errors"]

    assert error["pointer"] == "/url"
    assert said in error["detail"]


@pytest.mark.parametrize("name", ["message", "message.*.x", "message.opend", "webhook.test", "flow.call", ""])
async def test_what_nobody_can_ask_for_is_refused(strict_api: AsyncClient, name: str) -> None:
    [error] = refusal(await strict_api.post(AT, json=a_body(event_types=["*", name])), 422)["errors"]

    assert error["pointer"].startswith("/event_types")
    assert error["detail"].startswith(("There is no event type", "webhook.test", "flow.call"))


async def test_each_type_is_asked_for_once(lonely_api: AsyncClient) -> None:
    made = await a_webhook(lonely_api, event_types=["*", "message.*", "*"])

    assert made["details"]["event_types"] == ["*", "message.*"]
    assert (await a_webhook(lonely_api, event_types=[]))["details"]["event_types"] == []


async def test_a_workspace_has_a_hundred(lonely_api: AsyncClient, sessions: Sessions) -> None:
    many = """
        insert into webhooks (workspace_id, name, url, event_types, secret)
        select :here, 'x', 'https://a.example', '{}', 'x' from generate_series(1, :n)
    """
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text(many), {"here": DEFAULT_WORKSPACE, "n": MOST - 1})
    await a_webhook(lonely_api)

    assert "at most 100" in refusal(await lonely_api.post(AT, json=a_body()), 409)["detail"]


async def test_who_edits_what_was_edited_meanwhile_is_told(lonely_api: AsyncClient) -> None:
    at = f"{AT}/{(await a_webhook(lonely_api))['id']}"
    read = await lonely_api.get(at)
    mine = {"If-Match": read.headers["etag"]}
    await created(await lonely_api.patch(at, json={"name": "Theirs"}))

    refusal(await lonely_api.patch(at, json={"name": "Mine"}, headers=mine), 412)
    refusal(await lonely_api.delete(at, headers=mine), 412)
    assert (await lonely_api.delete(at)).status_code == 204
    refusal(await lonely_api.get(at), 404)


async def test_how_it_is_doing_is_shown_and_disturbs_nobody_who_edits(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    at = f"{AT}/{(await a_webhook(lonely_api))['id']}"
    mine = {"If-Match": (await lonely_api.get(at)).headers["etag"]}
    await told(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        failing = """
            update webhooks set failures = 7, failing_since = now(),
            rests_until = now() + interval '4 minutes', old_secret_until = now() - interval '1 minute'
        """
        await db.execute(text(failing))

    shown = (await lonely_api.get(at)).json()
    assert (shown["failures"], shown["pending"], shown["old_secret_until"]) == (7, 1, None)
    assert shown["failing_since"]
    assert shown["rests_until"]
    await created(await lonely_api.patch(at, json={"name": "Mine"}, headers=mine))


async def test_a_disabled_one_gives_up_what_was_on_its_way_and_an_enabled_one_starts_anew(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    at = f"{AT}/{(await a_webhook(lonely_api))['id']}"
    await told(sessions)

    disabled = await created(await lonely_api.patch(at, json={"state": "disabled"}))
    assert (disabled["state"], disabled["pending"]) == ("disabled", 0)
    assert disabled["disabled_reason"] == "It was disabled by hand."
    await told(sessions)  # Nothing any more.
    [delivery] = (await lonely_api.get(f"{at}/deliveries")).json()["items"]
    assert (delivery["state"], delivery["reason"]) == ("failed", "The webhook is disabled.")

    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update webhooks set failures = 7, failing_since = now(), rests_until = now()"))
    enabled = await created(await lonely_api.patch(at, json={"state": "enabled"}))
    health = ("state", "failures", "failing_since", "rests_until", "disabled_reason", "disabled_at")
    assert [enabled[each] for each in health] == ["enabled", 0, None, None, None, None]


async def test_another_address_starts_anew_and_is_looked_at_first(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    at = f"{AT}/{(await a_webhook(lonely_api))['id']}"
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update webhooks set failures = 7, failing_since = now()"))

    refusal(await lonely_api.patch(at, json={"url": "http://10.0.0.7/"}), 422)
    assert (await lonely_api.get(at)).json()["failures"] == 7
    changed = await created(await lonely_api.patch(at, json={"url": f"{HERE}/2"}))
    assert (changed["url"], changed["failures"], changed["failing_since"]) == (f"{HERE}/2", 0, None)


async def test_after_a_rotation_the_old_secret_signs_for_as_long_as_was_asked(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    at = f"{AT}/{(await a_webhook(lonely_api))['id']}"

    rotated = await created(await lonely_api.post(f"{at}/rotate-secret", json={"overlap_hours": 2}))
    until = rotated["details"]["old_secret_until"]
    assert until is not None
    async with sessions(DEFAULT_WORKSPACE) as db:
        row = (await db.scalars(select(Webhook))).one()
    assert row.old_secret is not None
    assert row.old_secret_until is not None
    left = row.old_secret_until - row.updated_at
    assert timedelta(hours=1, minutes=59) < left < timedelta(hours=2, minutes=1)

    at_once = await created(
        await lonely_api.post(f"{at}/rotate-secret", json={"overlap_hours": 0, "secret": GIVEN})
    )
    assert (at_once["secret"], at_once["details"]["old_secret_until"]) == (GIVEN, None)
    refusal(await lonely_api.post(f"{at}/rotate-secret", json={"overlap_hours": 169}), 422)


async def test_asked_twice_with_one_key_it_is_made_once_and_the_secret_not_shown_again(
    lonely_api: AsyncClient,
) -> None:
    once = {"Idempotency-Key": "subscribe"}
    await created(await lonely_api.post(AT, json=a_body(), headers=once))

    assert "shown once" in refusal(await lonely_api.post(AT, json=a_body(), headers=once), 409)["detail"]
    assert len((await lonely_api.get(AT)).json()["items"]) == 1


async def test_the_catalogue_has_every_type_with_its_schema_and_an_example_and_so_has_the_document(
    strict_api: AsyncClient,
) -> None:
    items = (await strict_api.get(f"{AT}/event-types")).json()["items"]
    document = (await strict_api.get("/openapi.json")).json()

    assert [each["type"] for each in items] == [each.value for each in AnnouncementType]
    assert set(document["webhooks"]) == {each["type"] for each in items}
    for each in items:
        type_ = AnnouncementType(each["type"])
        assert each["can_be_asked_for"] is (type_ not in ADDRESSED)
        assert each["data_schema"]["properties"]
        CATALOGUE[type_].model_validate(each["example"]["data"])
        said = document["webhooks"][each["type"]]["post"]
        body = said["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert document["components"]["schemas"][body]["example"]["type"] == type_
        assert {header["name"] for header in said["parameters"]} == {
            *("webhook-id", "webhook-timestamp", "webhook-signature")
        }


async def told(sessions: Sessions, *types: AnnouncementType) -> list[UUID]:
    """These, or a failed message, are announced; the ids of all deliveries there are."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        for type_ in types or [AnnouncementType.MESSAGE_FAILED]:
            said = Announcement(type_, catalogue.example(type_))
            await announce(db, DEFAULT_WORKSPACE, [said], NOON)
        return list(await db.scalars(select(WebhookDelivery.id).order_by(WebhookDelivery.id)))

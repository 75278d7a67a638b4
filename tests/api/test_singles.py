import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from httpx2 import AsyncClient
from sqlalchemy import text

from domain.outboxes import express
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.profiles import Identity
from models.providers import Provider, Route
from models.queries import attachments, holds, messages
from tests.api.support import V1, a_profile, a_sender, a_template, created, refusal
from tests.people import an_event

AT = f"{V1}/messages"
RESET = {
    "subject": "Your new password, {{ first_name | default: 'friend' }}",
    "html": '<p>Follow <a href="{{ link }}">this link</a>.</p>',
}
DATA = {"link": "https://records.example/reset/x7d2"}
FILE = {"name": "a", "content_type": "a/b", "content": "eA=="}
ADA = {"profile": "ada@example.com"}


def a_single(**values: Any) -> dict[str, Any]:
    return {"channel": "email", "body": RESET, "to": ADA, "data": DATA} | values


async def lines(sessions: Sessions, columns: str) -> list[Any]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return [tuple(row) for row in await db.execute(text(f"select {columns} from messages order by id"))]


async def test_one_call_sends_a_password_reset(api: AsyncClient, sessions: Sessions) -> None:
    await a_sender(api)
    ada = await a_profile(sessions, first_name="Ada")

    answer = await api.post(AT, json=a_single())

    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert body == {"id": body["id"], "state": "queued", "channel": "email", "why": None}
    columns = "id, profile_id, queue_id, class, step, holes, bare"
    holes = ["Ada", DATA["link"]]
    expected = (UUID(body["id"]), ada, express(DEFAULT_WORKSPACE), "transactional", "single", holes, None)
    assert await lines(sessions, columns) == [expected]
    async with sessions.engine() as db:
        pokes = [tuple(row) for row in await db.execute(text("select queue_id, work from pokes"))]
    assert pokes == [(express(DEFAULT_WORKSPACE), "send")]


async def test_the_same_words_are_one_version_whoever_says_them_first(
    api: AsyncClient, sessions: Sessions
) -> None:
    await a_sender(api)
    await a_profile(sessions)

    same = [api.post(AT, json=a_single(data={"link": f"https://records.example/{n}"})) for n in range(6)]
    other = api.post(AT, json=a_single(body=RESET | {"subject": "Another"}))
    answers = await asyncio.gather(*same, other)

    assert {answer.status_code for answer in answers} == {202}
    versions = await lines(sessions, "template_version_id")
    assert len(set(versions)) == 2
    listed = (await api.get(f"{V1}/templates")).json()["items"]
    assert listed == []
    async with sessions(DEFAULT_WORKSPACE) as db:
        hidden = list(await db.scalars(text("select id from templates")))
        logged = await db.scalar(text("select count(*) from audit_log where object_kind like 'template%'"))
    assert (len(hidden), logged) == (1, 0)
    refusal(await api.get(f"{V1}/templates/{hidden[0]}"), 404)
    refusal(await api.patch(f"{V1}/templates/{hidden[0]}", json={"name": "Mine"}), 404)
    refusal(await api.delete(f"{V1}/templates/{hidden[0]}"), 404)
    segment = await created(await api.post(f"{V1}/segments", json={"name": "All", "rule": {"all": []}}))
    draft = {"name": "Letter", "template_id": str(hidden[0]), "segment_id": segment["id"]}
    assert (
        refusal(await api.post(f"{V1}/campaigns", json=draft), 422)["errors"][0]["pointer"] == "/template_id"
    )


async def test_without_data_a_profiles_words_are_filled_when_it_goes(
    api: AsyncClient, sessions: Sessions
) -> None:
    await a_sender(api)
    await a_profile(sessions, first_name="Ada")
    template = await a_template(api)

    sent = await created(await api.post(AT, json={"channel": "email", "template_id": template, "to": ADA}))

    assert await lines(sessions, "holes") == [(None,)]
    refusal(await api.get(f"{AT}/{sent['id']}/content"), 404)


async def test_a_bare_address_gets_what_data_fills(api: AsyncClient, sessions: Sessions) -> None:
    await a_sender(api)

    sent = await created(await api.post(AT, json=a_single(to={"email": " New@Example.com"})))

    assert await lines(sessions, "bare, profile_id, holes") == [
        ("new@example.com", None, ["friend", DATA["link"]])
    ]
    content = (await api.get(f"{AT}/{sent['id']}/content")).json()
    assert content["channel"] == "email"
    assert content["content"]["subject"] == "Your new password, friend"
    assert DATA["link"] in content["content"]["html"]
    assert content["attachments"] == []


@pytest.mark.parametrize(
    ("values", "status", "pointer"),
    [
        ({"data": {}}, 422, "/data"),
        ({"body": RESET | {"html": "{% if %}"}}, 422, "/body/html"),
        ({"body": {"subject": "Hi"}}, 422, "/body/html"),
        ({"body": RESET | {"colour": "red"}}, 422, "/body/colour"),
        ({"body": None}, 422, ""),
        ({"template_id": "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f"}, 422, ""),
        ({"template_id": "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f", "body": None}, 422, "/template_id"),
        ({"to": {"profile": "nobody@example.com"}}, 422, "/to/profile"),
        ({"to": {"email": "nobody"}}, 422, "/to/email"),
        ({"to": {"phone": "+49 170 1234567"}}, 422, "/to"),
        ({"to": {}}, 422, "/to"),
        ({"to": {"email": "a@example.com", "profile": "b@example.com"}}, 422, "/to"),
        ({"class": "test"}, 422, "/class"),
        ({"class": "marketing", "to": {"email": "new@example.com"}}, 422, "/class"),
        ({"channel": "sms", "body": {"text": "Hi"}}, 422, "/channel"),
        ({"channel": "pigeon"}, 422, "/channel"),
        ({"channel": "best"}, 422, "/body"),
        ({"data": DATA | {"a": ["b\0"]}}, 422, "/data/a/0"),
        ({"send_at": "2026-11-21T09:00:00"}, 422, "/send_at"),
        ({"send_at": "2099-11-21T09:00:00Z"}, 422, "/send_at"),
        ({"expires_in": 0}, 422, "/expires_in"),
        (
            {"attachments": [{"name": "../a", "content_type": "a/b", "content": ""}]},
            422,
            "/attachments/0/name",
        ),
        (
            {"attachments": [FILE | {"content_type": "multipart/mixed"}]},
            422,
            "/attachments/0/content_type",
        ),
        (
            {"attachments": [{"name": "a", "content_type": "a/b", "content": "?"}]},
            422,
            "/attachments/0/content",
        ),
        ({"attachments": [FILE] * 11}, 422, "/attachments"),
    ],
)
async def test_what_is_wrong_is_said_before_anything_is_queued(
    api: AsyncClient, sessions: Sessions, values: dict[str, Any], status: int, pointer: str
) -> None:
    await a_sender(api)
    await a_profile(sessions)

    problem = refusal(await api.post(AT, json=a_single(**values)), status)

    assert problem["errors"][0]["pointer"] == pointer
    assert await lines(sessions, "id") == []


async def test_a_bare_address_is_not_told_of_a_profile_that_it_has_not(api: AsyncClient) -> None:
    await a_sender(api)

    asked = a_single(to={"email": "grace@example.com"}, data={})

    assert refusal(await api.post(AT, json=asked), 422)["errors"] == [
        {
            "pointer": "/data",
            "in": "body",
            "detail": "The message prints {{ link }}, which neither data nor a profile has: send it in "
            "data, or give it a default: {{ link | default: 'there' }}.",
        }
    ]


async def test_a_workspace_without_a_sender_sends_no_mail(api: AsyncClient, sessions: Sessions) -> None:
    await a_profile(sessions)

    assert "sender" in refusal(await api.post(AT, json=a_single()), 422)["detail"]


async def test_asked_twice_with_a_key_it_is_sent_once(api: AsyncClient, sessions: Sessions) -> None:
    await a_sender(api)
    await a_profile(sessions)
    key = {"Idempotency-Key": "reset-1"}

    first = await api.post(AT, json=a_single(), headers=key)
    again = await api.post(AT, json=a_single(), headers=key)

    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert len(await lines(sessions, "id")) == 1


async def test_files_are_kept_with_their_message_in_order(api: AsyncClient, sessions: Sessions) -> None:
    await a_sender(api)
    await a_profile(sessions)
    files = [
        {"name": name, "content_type": "application/pdf", "content": base64.b64encode(content).decode()}
        for name, content in (("receipt.pdf", b"%PDF-1"), ("Käufe.pdf", b"%PDF-2" * 100_000))
    ]

    sent = await created(await api.post(AT, json=a_single(attachments=files)))

    id_ = UUID(sent["id"])
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await attachments.carrying(db, DEFAULT_WORKSPACE, [id_]) == {id_}
        kept = await attachments.of(db, DEFAULT_WORKSPACE, id_)
    assert [(each.name, each.content[:6], len(each.content)) for each in kept] == [
        ("receipt.pdf", b"%PDF-1", 6),
        ("Käufe.pdf", b"%PDF-2", 600_000),
    ]
    listed = (await api.get(f"{AT}/{sent['id']}/content")).json()["attachments"]
    assert listed[0] == {"name": "receipt.pdf", "content_type": "application/pdf", "size": 6}


@pytest.mark.parametrize("channel", ["email", "best"])
async def test_files_are_refused_where_no_provider_with_a_route_takes_any(
    api: AsyncClient, sessions: Sessions, channel: str
) -> None:
    await a_sender(api)
    await a_profile(sessions)
    await a_route(sessions, "email", kind="mixmax")
    await a_route(sessions, "email", "marketing", kind="smtp")
    body = {"email": RESET} if channel == "best" else RESET
    with_a_file = a_single(channel=channel, body=body, attachments=[FILE])

    problem = refusal(await api.post(AT, json=with_a_file), 422)
    assert problem["errors"][0]["pointer"] == "/attachments"
    assert "/api/v1/routes" in problem["detail"]
    batch = {"messages": [with_a_file, a_single()]}
    results = (await created(await api.post(f"{AT}/batch", json=batch)))["results"]
    assert [each["id"] is None for each in results] == [True, False]

    await a_route(sessions, "email", kind="smtp")
    await created(await api.post(AT, json=with_a_file))


async def test_more_than_seven_megabytes_of_files_are_refused(api: AsyncClient, sessions: Sessions) -> None:
    await a_sender(api)
    await a_profile(sessions)
    content = base64.b64encode(b"x" * 3_600_000).decode()
    files = [{"name": "a", "content_type": "a/b", "content": content}] * 2

    problem = refusal(await api.post(AT, json=a_single(attachments=files)), 422)

    assert problem["errors"][0]["pointer"] == "/attachments"


async def test_files_are_removed_some_time_after_their_message_closed(
    api: AsyncClient, sessions: Sessions
) -> None:
    await a_sender(api)
    await a_profile(sessions)
    for _ in range(2):
        await created(await api.post(AT, json=a_single(attachments=[FILE])))
    now = datetime.now(UTC)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update attachments set created_at = now() - interval '40 days'"))
        await db.execute(
            text(
                "update messages set state = 'accepted', closed_at = now() - interval '31 days'"
                " where id = (select id from messages order by id limit 1)"
            )
        )
        await db.execute(
            text("delete from queue where message_id not in (select id from messages where state = 'queued')")
        )

    async with sessions.engine() as db:
        assert await attachments.drop_old(db, now - timedelta(days=30)) == 1
        assert await attachments.drop_old(db, now - timedelta(days=30)) == 0


async def test_of_a_batch_the_good_ones_go_and_the_bad_ones_are_named(
    api: AsyncClient, sessions: Sessions
) -> None:
    await a_sender(api)
    await a_profile(sessions)
    bad, worse = a_single(to={"email": "nobody"}), {"channel": "email"}

    answer = await api.post(f"{AT}/batch", json={"messages": [a_single(), bad, a_single(), worse]})

    assert answer.status_code == 202, answer.text
    results = answer.json()["results"]
    assert [each["index"] for each in results] == [0, 1, 2, 3]
    assert [each["id"] is not None for each in results] == [True, False, True, False]
    assert [each["pointer"] for each in results[1]["errors"]] == ["/to/email"]
    assert [each["pointer"] for each in results[3]["errors"]] == ["/to"]
    assert [str(id_) for (id_,) in await lines(sessions, "id")] == [results[0]["id"], results[2]["id"]]


async def test_a_batch_of_bad_ones_is_refused_with_all_that_is_wrong(
    api: AsyncClient, sessions: Sessions
) -> None:
    await a_sender(api)
    bad = {"messages": [a_single(to={"email": "nobody"}), {"channel": "email"}]}

    problem = refusal(await api.post(f"{AT}/batch", json=bad), 422)

    assert [each["pointer"] for each in problem["errors"]] == ["/messages/0/to/email", "/messages/1/to"]
    refusal(await api.post(f"{AT}/batch", json={"messages": [a_single()] * 101}), 422)


async def test_a_user_id_names_somebody_too(api: AsyncClient, sessions: Sessions) -> None:
    await a_sender(api)
    ada = await a_profile(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        db.add(Identity(workspace_id=DEFAULT_WORKSPACE, kind="user_id", value="customer 7", profile_id=ada))

    await created(await api.post(AT, json=a_single(to={"profile": "customer 7"})))

    assert await lines(sessions, "profile_id") == [(ada,)]


async def test_marketing_waits_in_the_ordinary_queue_and_a_later_message_for_its_time(
    api: AsyncClient, sessions: Sessions
) -> None:
    await a_sender(api)
    await a_profile(sessions)
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)

    values = {"class": "marketing", "send_at": at.isoformat(), "expires_in": 60}
    sent = await created(await api.post(AT, json=a_single(**values)))

    expected = (DEFAULT_WORKSPACE, at, at + timedelta(seconds=60))
    assert await lines(sessions, "queue_id, due_at, expires_at") == [expected]
    story = (await api.get(f"{AT}/{sent['id']}")).json()["story"]
    waits = "It waits for the time at which it is due."
    assert story[-1] == {"at": at.isoformat().replace("+00:00", "Z"), "what": waits}


async def test_the_best_channel_is_the_one_that_is_open(api: AsyncClient, sessions: Sessions) -> None:
    await a_sender(api)
    await a_profile(sessions)
    body = {"email": RESET, "sms": {"text": "{{ link }}"}}

    sent = await created(await api.post(AT, json=a_single(channel="best", body=body)))

    assert sent["channel"] == "email"
    assert sent["why"] == "By email: they have reacted on no channel yet, and it comes first."
    story = (await api.get(f"{AT}/{sent['id']}")).json()["story"]
    assert story[0]["what"].endswith(f"asked for it. {sent['why']}")


async def a_route(
    sessions: Sessions, channel: str, message_class: str = "transactional", kind: str = "simulated"
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        name = f"{message_class} {channel} by {kind}"
        provider = Provider(workspace_id=DEFAULT_WORKSPACE, name=name, kind=kind, channel=channel)
        db.add(provider)
        await db.flush()
        by = {"workspace_id": DEFAULT_WORKSPACE, "provider_id": provider.id}
        db.add(Route(**by, channel=channel, message_class=message_class))


async def a_phone(sessions: Sessions, profile_id: UUID) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        number = {"kind": "phone", "value": "+491701234567"}
        db.add(Identity(workspace_id=DEFAULT_WORKSPACE, profile_id=profile_id, **number))


async def test_who_bounced_by_mail_gets_a_text(api: AsyncClient, sessions: Sessions) -> None:
    await a_sender(api)
    await a_phone(sessions, await a_profile(sessions))
    await a_route(sessions, "sms")
    block = {"channel": "email", "address": "ada@example.com"}
    await created(await api.post(f"{V1}/suppressions", json=block))
    body = {"email": RESET, "sms": {"text": "Follow {{ link }}, {{ first_name | default: 'friend' }}."}}

    sent = await created(await api.post(AT, json=a_single(channel="best", body=body)))

    assert sent["channel"] == "sms"
    assert sent["why"] == "By sms, the first that is open (email: suppressed (manual))."
    content = (await api.get(f"{AT}/{sent['id']}/content")).json()["content"]
    assert content == {"text": f"Follow {DATA['link']}, friend."}


async def test_the_channel_of_the_last_reaction_is_taken(api: AsyncClient, sessions: Sessions) -> None:
    await a_sender(api)
    await a_phone(sessions, await a_profile(sessions))
    await a_route(sessions, "sms")
    body = {"email": RESET, "sms": {"text": "Follow {{ link }}."}}
    first = await created(await api.post(AT, json=a_single(channel="sms", body=body["sms"])))
    async with sessions(DEFAULT_WORKSPACE) as db:
        clicked = "update messages set clicked_at = now(), opened_at = now() where id = :id"
        await db.execute(text(clicked), {"id": first["id"]})

    sent = await created(await api.post(AT, json=a_single(channel="best", body=body)))

    assert sent["channel"] == "sms"
    assert sent["why"].startswith("By sms, on which they last reacted")


async def test_an_answer_is_a_reaction_too(api: AsyncClient, sessions: Sessions) -> None:
    await a_sender(api)
    ada = await a_profile(sessions)
    await a_phone(sessions, ada)
    await a_route(sessions, "sms")
    async with sessions(DEFAULT_WORKSPACE) as db:
        await an_event(db, ada, "message replied", properties={"channel": "sms", "text": "Thanks"})
    body = {"email": RESET, "sms": {"text": "Follow {{ link }}."}}

    sent = await created(await api.post(AT, json=a_single(channel="best", body=body)))

    assert sent["channel"] == "sms"


async def test_webhooks_and_pushes_go_to_the_address_that_is_named(
    api: AsyncClient, sessions: Sessions
) -> None:
    await a_profile(sessions)
    for channel in ("webhook", "push"):
        await a_route(sessions, channel)
    subscription = {"endpoint": "https://push.example/x", "keys": {"p256dh": "a", "auth": "b"}}
    hook: dict[str, Any] = {
        "channel": "webhook",
        "body": {"payload": {"code": "{{ code }}"}},
        "data": {"code": "4711"},
    }
    push: dict[str, Any] = {"channel": "push", "body": {"title": "Hi", "body": "There"}}

    for single in (
        hook | {"to": {"url": "https://shop.example/hooks"}},
        push | {"to": {"subscription": subscription | {"expirationTime": None}}},
    ):
        await created(await api.post(AT, json=single))

    kept = await lines(sessions, "channel, bare, holes")
    assert kept[0] == ("webhook", "https://shop.example/hooks", ["4711"])
    assert kept[1][0] == "push"
    assert "https://push.example/x" in kept[1][1]
    there = {"to": {"url": "https://a.example"}}
    wrong: list[tuple[dict[str, Any], str]] = [
        (hook | {"to": ADA}, "/to"),
        (hook | {"to": {"url": "ftp://shop.example"}}, "/to/url"),
        (push | {"to": {"subscription": {"endpoint": "x"}}}, "/to/subscription"),
        (hook | there | {"body": {"payload": {"a": "{% if %}"}}}, "/body/payload/a"),
        (hook | there | {"body": {"text": "Hi"}}, "/body/payload"),
        (hook | there | {"attachments": [FILE]}, "/attachments"),
    ]
    for bad, pointer in wrong:
        assert refusal(await api.post(AT, json=bad), 422)["errors"][0]["pointer"] == pointer


async def test_a_template_of_another_channel_is_refused(api: AsyncClient, sessions: Sessions) -> None:
    await a_sender(api)
    await a_profile(sessions)
    body = {"name": "Code", "channel": "sms", "content": {"text": "{{ code }}"}}
    template = await created(await api.post(f"{V1}/templates", json=body))
    single = {"channel": "email", "template_id": template["id"], "to": ADA}

    problem = refusal(await api.post(AT, json=single), 422)

    assert problem["errors"][0]["pointer"] == "/template_id"
    assert "for sms" in problem["detail"]


async def test_where_nothing_is_open_the_answer_says_why(api: AsyncClient, sessions: Sessions) -> None:
    await a_sender(api)
    await a_profile(sessions)
    block = {"channel": "email", "address": "ada@example.com"}
    await created(await api.post(f"{V1}/suppressions", json=block))
    body = {"email": RESET, "sms": {"text": "{{ link }}"}}

    problem = refusal(await api.post(AT, json=a_single(channel="best", body=body)), 422)

    assert "email: suppressed (manual); sms: no address" in problem["detail"]


async def test_an_erased_persons_files_and_story_go_with_them(api: AsyncClient, sessions: Sessions) -> None:
    await a_sender(api)
    ada = await a_profile(sessions)
    sent = await created(await api.post(AT, json=a_single(attachments=[FILE])))

    assert (await api.delete(f"{V1}/profiles/{ada}")).is_success

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await db.scalar(text("select count(*) from attachments")) == 0
    refusal(await api.get(f"{AT}/{sent['id']}/content"), 404)
    story = (await api.get(f"{AT}/{sent['id']}")).json()["story"]
    assert "ada" not in str(story)


async def listed(api: AsyncClient, asked: str = "") -> list[str]:
    page = (await api.get(f"{AT}{asked}")).json()
    assert page["next_cursor"] is None
    return [each["id"] for each in page["items"]]


async def test_single_messages_are_listed_the_newest_first_by_address_state_and_time(
    api: AsyncClient, sessions: Sessions
) -> None:
    await a_sender(api)
    await a_profile(sessions)
    await a_route(sessions, "sms")
    text_ = {"channel": "sms", "body": {"text": "Hi"}, "to": {"phone": "+491701234567"}}
    bodies = (a_single(), a_single(to={"email": "Grace@example.com"}), text_)
    ada, grace, texted = [(await created(await api.post(AT, json=body)))["id"] for body in bodies]
    async with sessions.engine() as db:
        moved = (
            "update messages set created_at = created_at - interval '1 hour' where id = cast(:ada as uuid)"
        )
        await db.execute(text(moved), {"ada": ada})
    before = (datetime.now(UTC) - timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M:%SZ")

    assert await listed(api) == [texted, grace, ada]
    assert await listed(api, "?address=ADA@example.com") == [ada]
    assert await listed(api, "?address=grace@example.com") == [grace]
    assert await listed(api, "?address=%2B49170%201234567") == [texted]
    assert await listed(api, "?address=+491701234567") == [texted]  # A plus that should have been %2B.
    assert await listed(api, "?address=nobody@example.com") == []
    assert await listed(api, "?fate=hard%20bounce") == []
    assert await listed(api, "?channel=sms") == [texted]
    assert await listed(api, "?state=accepted") == []
    assert await listed(api, "?state=queued&class=transactional") == [texted, grace, ada]
    assert await listed(api, f"?since={before}") == [texted, grace]
    assert await listed(api, f"?until={before}") == [ada]
    first = (await api.get(f"{AT}?limit=2")).json()
    assert await listed(api, f"?limit=2&cursor={first['next_cursor']}") == [ada]
    shown = first["items"][0]
    assert (shown["channel"], shown["state"], shown["source_kind"]) == ("sms", "queued", "outbox")
    assert shown["address"] == "+491701234567"  # It waits, and is known.
    async with sessions.engine() as db:
        bounced = "update messages set fate = 'hard bounce' where id = cast(:grace as uuid)"
        await db.execute(text(bounced), {"grace": grace})
    assert await listed(api, "?fate=hard%20bounce") == [grace]


async def test_a_list_in_which_little_is_asked_for_goes_on_page_by_page(
    api: AsyncClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "LOOKED", 2)
    await a_sender(api)
    sent = [
        (await created(await api.post(AT, json=a_single(to={"email": f"{n}@example.com"}))))["id"]
        for n in range(5)
    ]
    async with sessions.engine() as db:
        is_first = text("update messages set channel = 'sms' where id = cast(:id as uuid)")
        await db.execute(is_first, {"id": sent[0]})

    found, cursor = [], ""
    for _ in range(3):
        page = (await api.get(f"{AT}?channel=sms{cursor}")).json()
        found.append([each["id"] for each in page["items"]])
        cursor = f"&cursor={page['next_cursor']}"

    assert (found, page["next_cursor"]) == ([[], [], [sent[0]]], None)


async def test_a_body_with_more_faults_than_anybody_reads_is_told_a_hundred(api: AsyncClient) -> None:
    wrong = refusal(await api.post(AT, json={f"channel{n}": 1 for n in range(300)}), 422)

    assert len(wrong["errors"]) == 100


async def the_story(api: AsyncClient, message_id: str) -> list[str]:
    told = (await created(await api.get(f"{AT}/{message_id}")))["story"]
    assert [each["at"] for each in told] == sorted(each["at"] for each in told)
    return [each["what"] for each in told]


async def test_a_message_whose_only_provider_is_held_says_so(api: AsyncClient, sessions: Sessions) -> None:
    await a_route(sessions, "sms")
    [provider, ours] = (await created(await api.get(f"{V1}/providers")))["items"]
    text_ = {"channel": "sms", "body": {"text": "Hi"}, "to": {"phone": "+491701234567"}}
    sent = await created(await api.post(AT, json=text_))
    assert (await the_story(api, sent["id"]))[-1] == "It waits for its turn."

    await created(await api.post(f"{V1}/providers/{provider['id']}/hold", json={"reason": "Cats."}))

    assert (await the_story(api, sent["id"]))[-1] == (
        f"It waits. No provider can take it now. {provider['name']}: "
        "It is held by hand until somebody releases it: Cats."
    )
    await a_sender(api)
    await a_profile(sessions)
    await created(await api.post(f"{V1}/providers/{ours['id']}/hold", json={"reason": "Dogs."}))
    mail = await created(await api.post(AT, json=a_single()))
    assert (await the_story(api, mail["id"]))[-1] == (
        "It waits. No provider can take it now. The mail server of this installation: It is held by hand "
        "until somebody releases it: Dogs."
    )


async def test_what_was_refused_is_tried_as_soon_as_its_provider_is_let_go_or_mended(
    api: AsyncClient, sessions: Sessions
) -> None:
    await a_sender(api)
    await a_profile(sessions)
    await a_route(sessions, "sms")
    [texts, ours] = (await created(await api.get(f"{V1}/providers")))["items"]
    text_ = {"channel": "sms", "body": {"text": "Hi"}, "to": {"phone": "+491701234567"}}
    refused, quiet, by_text = [
        (await created(await api.post(AT, json=body)))["id"] for body in (a_single(), a_single(), text_)
    ]
    values = {"later": datetime.now(UTC) + timedelta(minutes=15), "quiet": quiet}
    tried = "attempts = 1, reason = case when id <> cast(:quiet as uuid) then '530 who are you' end"
    async with sessions.engine() as db:
        await db.execute(text(f"update messages set due_at = :later, {tried}"), values)
        await db.execute(text("update queue set due_at = :later"), values)
        await db.execute(text("delete from pokes"))

    async def due() -> set[str]:
        asked = """
            select m.id::text from messages m join queue q on q.message_id = m.id and q.due_at = m.due_at
            where m.due_at < :later
        """
        async with sessions.engine() as db:
            return {*await db.scalars(text(asked), values)}

    await created(await api.post(f"{V1}/providers/{ours['id']}/release"))
    assert await due() == {refused}
    async with sessions.engine() as db:
        assert await db.scalar(text("select queue_id from pokes")) == express(DEFAULT_WORKSPACE)

    await created(await api.patch(f"{V1}/providers/{texts['id']}", json={"name": "Texts"}))
    assert await due() == {refused}
    await created(await api.patch(f"{V1}/providers/{texts['id']}", json={"settings": {"seed": 7}}))
    assert await due() == {refused, by_text}

    async with sessions.engine() as db:
        await db.execute(text("update messages set due_at = :later"), values)
        await db.execute(text("update queue set due_at = :later"), values)
    assert (await api.post(f"{V1}/providers/{texts['id']}/check")).json()["healthy"]
    assert await due() == {by_text}


async def test_a_message_without_a_route_or_of_held_marketing_says_how_it_goes_on(
    api: AsyncClient, sessions: Sessions
) -> None:
    text_ = {"channel": "sms", "body": {"text": "Hi"}, "to": {"phone": "+491701234567"}}
    await a_route(sessions, "sms")
    sent = await created(await api.post(AT, json=text_))
    await a_sender(api)
    await a_profile(sessions)
    mail = await created(await api.post(AT, json=a_single(**{"class": "marketing"})))
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("delete from routes"))
        await holds.hold(db, DEFAULT_WORKSPACE, "email", "It was too much.", datetime.now(UTC))

    assert (await the_story(api, sent["id"]))[-1] == (
        "It waits. There is no route for sms, so messages wait: make one by POST /api/v1/routes."
    )
    assert (await the_story(api, mail["id"]))[-1] == (
        "It waits. Marketing by email is held: It was too much. "
        "POST /api/v1/deliverability/email/release lets it go on."
    )


async def test_a_push_shows_where_it_goes_and_not_the_keys_to_write_there(
    api: AsyncClient, sessions: Sessions
) -> None:
    await a_route(sessions, "push")
    keys = {"p256dh": "publickey", "auth": "secretkey"}
    to = {"subscription": {"endpoint": "https://push.example/device", "keys": keys}}
    push = {"channel": "push", "body": {"title": "Hi", "body": "There"}, "to": to}
    sent = await created(await api.post(AT, json=push))
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update messages set address = bare, claimed_at = created_at"))

    answer = await api.get(f"{AT}/{sent['id']}")

    assert "secretkey" not in answer.text
    assert answer.json()["address"] == "push.example"
    assert "Its turn came, for push.example." in [each["what"] for each in answer.json()["story"]]

"""Templates, previews, test sends and campaigns on other channels than email."""

from typing import Any
from uuid import UUID

import pytest
from httpx2 import AsyncClient
from sqlalchemy import select

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.messages import Message
from models.profiles import Consent, Identity, Profile
from models.providers import Provider, Route
from tests.api.support import V1, a_campaign, a_sender, a_template, created, refusal

AT = f"{V1}/templates"
TEXT = {"text": "Hi {{ first_name }}, it is {{ unsubscribe_url }}"}
KEYS = '"keys": {"p256dh": "BPo", "auth": "x"}'
SUBSCRIPTION = f'{{{KEYS}, "expirationTime": null, "endpoint": "https://push.example/1"}}'


async def a_short_template(api: AsyncClient, channel: str = "sms", content: Any = TEXT) -> dict[str, Any]:
    body = {"name": "Short", "channel": channel, "content": content}
    return await created(await api.post(AT, json=body))


async def somebody(sessions: Sessions, phone: str = "+12025550100", **attributes: Any) -> UUID:
    """Who allows marketing by text, and has no email."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        profile = Profile(workspace_id=DEFAULT_WORKSPACE, attributes=attributes)
        db.add(profile)
        await db.flush()
        where = {"workspace_id": DEFAULT_WORKSPACE, "profile_id": profile.id}
        db.add(Identity(kind="phone", value=phone, **where))
        db.add(Consent(purpose="sms", state="granted", source="test", at=profile.created_at, **where))
    return profile.id


async def prices(sessions: Sessions, **by_prefix: str) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        settings = {
            "currency": "EUR",
            "prices": {f"+{prefix[1:]}": each for prefix, each in by_prefix.items()},
        }
        provider = Provider(
            workspace_id=DEFAULT_WORKSPACE, name="Our Twilio", kind="twilio", channel="sms", settings=settings
        )
        db.add(provider)
        await db.flush()
        route = {"provider_id": provider.id, "channel": "sms", "message_class": "marketing"}
        db.add(Route(workspace_id=DEFAULT_WORKSPACE, **route))


@pytest.mark.parametrize(
    ("channel", "content", "variables"),
    [
        ("sms", TEXT, ["first_name"]),
        ("whatsapp", {"template": "w", "language": "de", "parameters": ["{{ a }}", "{{ phone }}"]}, ["a"]),
        ("whatsapp", {"text": "Hi"}, []),
        ("push", {"title": "Hi", "body": "{{ b }}", "url": "https://shop.example"}, ["b"]),
        ("webhook", {"payload": {"who": "{{ c }}", "n": 1}}, ["c"]),
    ],
)
async def test_a_template_of_each_channel_is_read_as_it_was_written(
    api: AsyncClient, channel: str, content: dict[str, Any], variables: list[str]
) -> None:
    made = await a_short_template(api, channel, content)

    assert (made["channel"], made["content"], made["variables"]) == (channel, content, variables)
    assert (made["subject"], made["html"], made["version"]) == (None, None, 1)
    assert (await api.get(f"{AT}/{made['id']}")).json() == made
    assert (await api.get(AT)).json()["items"] == [made]


async def test_a_text_says_how_many_segments_it_takes_at_least(api: AsyncClient) -> None:
    short = await a_short_template(api, "sms", {"text": "Hi {{ first_name }}"})
    long = await a_short_template(api, "sms", {"text": "Ж" * 80})
    linked = await a_short_template(api, "sms", {"text": "{{ unsubscribe_url }}" + "x" * 100})

    assert short["sms"] == {"encoding": "GSM-7", "characters": 3, "segments": 1}
    assert long["sms"] == {"encoding": "UCS-2", "characters": 80, "segments": 2}
    assert linked["sms"]["segments"] == 2


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"channel": "sms"}, ["/content"]),
        ({"channel": "sms", "content": {}}, ["/content/text"]),
        ({"channel": "sms", "content": {"text": "{% if %}"}}, ["/content/text"]),
        ({"channel": "sms", "content": TEXT, "subject": "x", "html": "y"}, ["/subject", "/html"]),
        (
            {"channel": "push", "content": {"title": "{{ a", "body": "{{ b"}},
            ["/content/title", "/content/body"],
        ),
        ({"channel": "pigeon", "content": TEXT}, ["/channel"]),
        ({"subject": "x", "html": "y", "content": TEXT}, ["/content"]),
        ({}, ["/subject", "/html"]),
    ],
)
async def test_what_does_not_fit_the_channel_is_pointed_at(
    api: AsyncClient, body: dict[str, Any], pointers: list[str]
) -> None:
    problem = refusal(await api.post(AT, json={"name": "x", **body}), 422)

    assert [error["pointer"] for error in problem["errors"]] == pointers


async def test_a_change_of_content_is_a_version_and_the_channel_stays(api: AsyncClient) -> None:
    made = await a_short_template(api)

    named = (await api.patch(f"{AT}/{made['id']}", json={"name": "Other", "channel": "sms"})).json()
    said = (await api.patch(f"{AT}/{made['id']}", json={"content": {"text": "Bye"}})).json()
    moved = await api.patch(f"{AT}/{made['id']}", json={"channel": "push"})
    mailed = await api.patch(f"{AT}/{made['id']}", json={"subject": "Hi"})

    assert (named["version"], named["name"], named["content"]) == (1, "Other", TEXT)
    assert (said["version"], said["content"]) == (2, {"text": "Bye"})
    assert refusal(moved, 422)["errors"][0]["pointer"] == "/channel"
    assert refusal(mailed, 422)["errors"][0]["pointer"] == "/subject"


async def test_a_preview_shows_a_text_as_one_person_gets_it(api: AsyncClient, sessions: Sessions) -> None:
    ada = await somebody(sessions, first_name="Ada")
    campaign = await a_campaign(api, template_id=(await a_short_template(api))["id"])

    shown = (await api.get(f"{V1}/campaigns/{campaign}/preview", params={"profile": str(ada)})).json()
    nobodys = (await api.get(f"{V1}/campaigns/{campaign}/preview")).json()

    assert (shown["channel"], shown["address"], shown["missing"]) == ("sms", "+12025550100", [])
    assert shown["content"]["text"].startswith("Hi Ada, it is https://mail.records.example/u/")
    assert (shown["sms"]["segments"], shown["subject"], shown["html"]) == (1, None, None)
    assert nobodys["content"]["text"].startswith("Hi [first_name]")
    assert "first_name" in nobodys["missing"][0]


@pytest.mark.parametrize(
    ("channel", "content", "address", "kept"),
    [
        ("sms", {"text": "{{ phone }}"}, "+1 (202) 555-0100", "+12025550100"),
        ("whatsapp", {"text": "x"}, "+49 170 1234567", "+491701234567"),
        ("webhook", {"payload": {}}, " https://shop.example/hook ", "https://shop.example/hook"),
        (
            "push",
            {"title": "x", "body": "y"},
            SUBSCRIPTION,
            '{"endpoint":"https://push.example/1","keys":{"auth":"x","p256dh":"BPo"}}',
        ),
    ],
)
async def test_a_test_send_goes_to_an_address_of_the_channel(
    api: AsyncClient, sessions: Sessions, channel: str, content: dict[str, Any], address: str, kept: str
) -> None:
    campaign = await a_campaign(api, template_id=(await a_short_template(api, channel, content))["id"])

    tested = await created(
        await api.post(f"{V1}/campaigns/{campaign}/test", json={"addresses": [address] * 2})
    )

    async with sessions(DEFAULT_WORKSPACE) as db:
        [message] = await db.scalars(select(Message))
    assert tested["message_ids"] == [str(message.id)]
    assert (message.channel, message.bare, message.message_class) == (channel, kept, "test")


@pytest.mark.parametrize(
    ("channel", "content", "address"),
    [
        ("sms", {"text": "x"}, "ada@example.com"),
        ("whatsapp", {"text": "x"}, "12345"),
        ("webhook", {"payload": {}}, "ftp://shop.example"),
        ("push", {"title": "x", "body": "y"}, '{"endpoint": "https://push.example/1"}'),
    ],
)
async def test_an_address_of_another_kind_is_pointed_at(
    api: AsyncClient, channel: str, content: dict[str, Any], address: str
) -> None:
    campaign = await a_campaign(api, template_id=(await a_short_template(api, channel, content))["id"])

    problem = refusal(await api.post(f"{V1}/campaigns/{campaign}/test", json={"addresses": [address]}), 422)

    assert problem["errors"][0]["pointer"] == "/addresses/0"


async def test_a_campaign_needs_no_sender_for_texts_but_somebody_with_a_number(
    api: AsyncClient, sessions: Sessions
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        db.add(Profile(workspace_id=DEFAULT_WORKSPACE, attributes={"first_name": "Bob"}))
    campaign = await a_campaign(api, template_id=(await a_short_template(api))["id"])

    detail = refusal(await api.post(f"{V1}/campaigns/{campaign}/start"), 422)["detail"]

    assert "has a phone" in detail
    assert "sender" not in detail


async def test_a_campaign_of_webhooks_reaches_nobody(api: AsyncClient, sessions: Sessions) -> None:
    await somebody(sessions)
    template = await a_short_template(api, "webhook", {"payload": {}})
    campaign = await a_campaign(api, template_id=template["id"])

    detail = refusal(await api.post(f"{V1}/campaigns/{campaign}/start"), 422)["detail"]

    assert "POST /api/v1/messages" in detail


async def test_what_texts_cost_is_known_before_they_are_sent(api: AsyncClient, sessions: Sessions) -> None:
    await prices(sessions, p1="0.01", p49="0.08")
    await somebody(sessions, "+12025550100", first_name="Ada")
    await somebody(sessions, "+12025550101", first_name="Б" * 60)
    await somebody(sessions, "+491701234567", first_name="Bob")
    template = await a_short_template(api, "sms", {"text": "Dear {{ first_name }}, hello!"})
    campaign = await a_campaign(api, template_id=template["id"])

    cost = await created(await api.get(f"{V1}/campaigns/{campaign}/cost"))

    assert (cost["people"], cost["sample"], cost["segments"], cost["segments_most"]) == (3, 3, 4, 2)
    assert (cost["segments_each"], cost["provider"], cost["currency"]) == (1.33, "Our Twilio", "EUR")
    assert cost["countries"] == [
        {"prefix": "+1", "people": 2, "price": "0.01", "cost": "0.03"},
        {"prefix": "+49", "people": 1, "price": "0.08", "cost": "0.11"},
    ]
    assert cost["cost"] == "0.13"


async def test_without_a_price_the_segments_are_known_all_the_same(
    api: AsyncClient, sessions: Sessions
) -> None:
    await somebody(sessions, first_name="Ada")
    texts = await a_campaign(api, template_id=(await a_short_template(api))["id"])
    mails = await a_campaign(api, template_id=await a_template(api))

    text_cost = await created(await api.get(f"{V1}/campaigns/{texts}/cost"))
    mail_cost = await created(await api.get(f"{V1}/campaigns/{mails}/cost"))

    assert (text_cost["people"], text_cost["segments"], text_cost["cost"]) == (1, 1, None)
    assert text_cost["countries"] == [{"prefix": None, "people": 1, "price": None, "cost": None}]
    assert (mail_cost["channel"], mail_cost["people"], mail_cost["countries"]) == ("email", None, [])


async def test_each_channel_may_have_a_cap(api: AsyncClient) -> None:
    await a_sender(api)
    caps = [
        {"channel": "sms", "limit": 1, "period": "day"},
        {"channel": "email", "limit": 3, "period": "week"},
    ]

    kept = await created(await api.patch(f"{V1}/workspace", json={"caps": caps}))
    twice = await api.patch(f"{V1}/workspace", json={"caps": [caps[0], {**caps[0], "period": "week"}]})

    assert kept["caps"] == caps
    assert refusal(twice, 422)["errors"][0]["pointer"] == "/caps"

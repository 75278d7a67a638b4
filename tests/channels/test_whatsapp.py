"""WhatsApp by the Cloud API: what goes over the wire, what its answers mean, and what it reports."""

import hmac
import json
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from channels import whatsapp
from channels.contract import Blame, Handshake, Hook, NotGenuine, OutcomeKind, ReportKind
from channels.whatsapp import KIND, WhatsAppSettings
from domain.profiles import SuppressionReason
from lab.http_server import Answer
from tests.channels.calls_support import NOBODY, ALetter, a_site, an_account, envelope

SETTINGS = WhatsAppSettings(
    phone_number_id="106540352242922",
    access_token=SecretStr("EAAG"),
    app_secret=SecretStr("app secret"),
    verify_token=SecretStr("our word"),
)
YES = Answer(200, {"messaging_product": "whatsapp", "messages": [{"id": "wamid.1"}]})
NOW = datetime(2026, 11, 26, tzinfo=UTC)
HOOK_URL = f"https://campanile.example/hooks/{UUID(int=7)}"

ACCEPTED, REJECTED = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED
RETRY, UNKNOWN = OutcomeKind.RETRY, OutcomeKind.UNKNOWN


async def test_a_template_goes_out_with_its_parameters_and_our_id() -> None:
    async with a_site(YES) as site, an_account(KIND, SETTINGS, site.url) as provider:
        [outcome] = await provider.send(ALetter(template="winter"), [envelope(1, "+4917012345678")])

    assert (outcome.kind, outcome.provider_id) == (ACCEPTED, "wamid.1")
    [asked] = site.asked
    assert asked.path == "/v26.0/106540352242922/messages"
    assert asked.headers["authorization"] == "Bearer EAAG"
    assert json.loads(asked.body) == {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": "+4917012345678",
        "biz_opaque_callback_data": str(UUID(int=1)),
        "type": "template",
        "template": {
            "name": "winter",
            "language": {"code": "en_US"},
            "components": [{"type": "body", "parameters": [{"type": "text", "text": "Hello Ada"}]}],
        },
    }


async def test_plain_words_go_out_as_text() -> None:
    async with a_site(YES) as site, an_account(KIND, SETTINGS, site.url) as provider:
        await provider.send(ALetter(), [envelope(1, "+4917012345678")])

    said = json.loads(site.asked[0].body)
    assert (said["type"], said["text"]) == ("text", {"body": "Hello Ada", "preview_url": False})


SENDERS = (0, 3, 10, 190, *range(200, 300), 368, 131031, 131042, 131045)
CODES = [
    *((code, RETRY, Blame.PROVIDER, None) for code in (1, 2, 131000, 131016, 131057, 133004)),
    *((code, RETRY, Blame.PROVIDER, None) for code in (4, 80007, 130429, 131048)),
    *((code, RETRY, Blame.RECIPIENT, None) for code in (131049, 131056)),
    (131050, REJECTED, Blame.RECIPIENT, SuppressionReason.UNSUBSCRIBED),
    *((code, REJECTED, Blame.RECIPIENT, None) for code in (131021, 131026, 131030, 130472, 130497)),
    (131047, REJECTED, Blame.MESSAGE, None),
    *(
        (code, REJECTED, Blame.MESSAGE, None)
        for code in (132000, 132001, 132005, 132007, 132012, 132015, 132016, 100)
    ),
    *((code, RETRY, Blame.PROVIDER, None) for code in SENDERS),
]


@pytest.mark.parametrize(("code", "kind", "blame", "suppress"), CODES)
def test_each_code_means_one_outcome(
    code: int, kind: OutcomeKind, blame: Blame, suppress: SuppressionReason | None
) -> None:
    body = {"error": {"code": code, "message": "m", "error_data": {"details": "the details"}}}

    outcome = whatsapp.outcome(400, json.dumps(body).encode(), {})

    assert (outcome.kind, outcome.blame, outcome.suppress) == (kind, blame, suppress)
    assert outcome.calm is (code in (4, 80007, 130429, 131048))
    about_us = code in SENDERS or code == 131048
    assert outcome.reason == ("sender: " if about_us else "") + f"{code} the details"


def test_every_line_of_the_table_is_tested() -> None:
    assert set(whatsapp.ERRORS) <= {code for code, *_ in CODES}


def test_a_person_who_had_enough_marketing_is_not_asked_again_for_a_day() -> None:
    outcome = whatsapp.outcome(400, b'{"error": {"code": 131049, "message": "m"}}', {})

    assert outcome.retry_after == 86_400


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"{}", UNKNOWN),
        (200, b'{"messages": []}', UNKNOWN),
        (200, b"what?", UNKNOWN),
        (500, b"", UNKNOWN),
        (500, b'{"error": {"code": 131000}}', UNKNOWN),
        (500, b'{"error": {"code": 1}}', UNKNOWN),
        (503, b'{"error": {"code": 131016}}', RETRY),
        (503, b'{"error": "no object"}', UNKNOWN),
        (400, b"what?", REJECTED),
        (400, b'{"error": {"code": "190"}}', REJECTED),
        (401, b"[]", RETRY),
        (429, b"", RETRY),
    ],
)
def test_what_the_table_does_not_know_goes_by_the_status(status: int, body: bytes, kind: OutcomeKind) -> None:
    assert whatsapp.outcome(status, body, {}).kind is kind


async def test_the_check_asks_for_the_number() -> None:
    no = Answer(401, {"error": {"code": 190, "message": "Invalid OAuth access token."}})
    async with a_site(Answer(200, {"id": "1"}), no) as site, an_account(KIND, SETTINGS, site.url) as provider:
        assert await provider.check() is None
        assert "Invalid OAuth" in await provider.check()
    async with an_account(KIND, SETTINGS, NOBODY) as provider:
        assert "can't be reached" in await provider.check()


def a_hook(body: bytes, secret: bytes = b"app secret") -> Hook:
    signature = "sha256=" + hmac.new(secret, body, sha256).hexdigest()
    return Hook("POST", HOOK_URL, {"x-hub-signature-256": signature}, body)


async def test_only_what_meta_signed_is_genuine() -> None:
    genuine = a_hook(b'{"entry": []}')
    changed = Hook("POST", HOOK_URL, genuine.headers, b'{"entry": [1]}')
    odd = Hook("POST", HOOK_URL, {"x-hub-signature-256": "sha256=ü"}, genuine.body)
    async with an_account(KIND, SETTINGS) as provider:
        assert await provider.verify(genuine, NOW) is None
        for false in (changed, odd, Hook("POST", HOOK_URL, {}, genuine.body), a_hook(b"{}", b"another")):
            with pytest.raises(NotGenuine):
                await provider.verify(false, NOW)


async def test_the_challenge_is_answered_to_who_knows_our_word() -> None:
    asked = HOOK_URL + "?hub.mode=subscribe&hub.verify_token=our%20word&hub.challenge=1158201444"
    async with an_account(KIND, SETTINGS) as provider:
        assert await provider.verify(Hook("GET", asked, {}, b""), NOW) == Handshake(b"1158201444")
        for false in (
            asked.replace("our", "no"),
            asked.replace("subscribe", "other"),
            HOOK_URL,
            asked + "&a=b" * 50,
        ):
            with pytest.raises(NotGenuine):
                await provider.verify(Hook("GET", false, {}, b""), NOW)


def told(**value: Any) -> Hook:
    """A webhook as it is documented."""
    value = {"messaging_product": "whatsapp", "metadata": {"phone_number_id": "106540352242922"}, **value}
    change = {"field": "messages", "value": value}
    body = {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}
    return a_hook(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("status", "code", "kinds"),
    [
        ("sent", None, ["accepted"]),
        ("delivered", None, ["delivered"]),
        ("read", None, ["read"]),
        ("failed", 131026, ["failed"]),
        ("failed", 131050, ["failed", "unsubscribed"]),
        ("deleted", None, []),
    ],
)
async def test_a_status_is_a_report(status: str, code: int | None, kinds: list[str]) -> None:
    said: dict[str, Any] = {
        "id": "wamid.1",
        "status": status,
        "timestamp": "1764158400",
        "recipient_id": "4917012345678",
        "biz_opaque_callback_data": str(UUID(int=9)),
    }
    if code:
        said["errors"] = [{"code": code, "title": "t", "error_data": {"details": "why"}}]
    async with an_account(KIND, SETTINGS) as provider:
        reports = provider.reports(told(statuses=[said]))

    assert [report.kind for report in reports] == kinds
    for report in reports:
        assert (report.message_id, report.provider_id) == (UUID(int=9), "wamid.1")
        assert (report.address, report.at) == ("+4917012345678", datetime(2025, 11, 26, 12, tzinfo=UTC))
        assert report.reason == (f"{code} why" if code else None)


@pytest.mark.parametrize(
    ("said", "kind", "text"),
    [
        ({"type": "text", "text": {"body": "STOP"}}, ReportKind.UNSUBSCRIBED, "STOP"),
        ({"type": "button", "button": {"text": "Stop"}}, ReportKind.UNSUBSCRIBED, "Stop"),
        ({"type": "interactive", "interactive": {"button_reply": {"title": "Yes?"}}}, None, "Yes?"),
        ({"type": "text", "text": {"body": "Thanks a lot"}}, ReportKind.REPLIED, "Thanks a lot"),
        ({"type": "image", "image": {"id": "1"}}, ReportKind.REPLIED, ""),
    ],
)
async def test_what_a_person_writes_is_obeyed_or_told(
    said: dict[str, Any], kind: ReportKind | None, text: str
) -> None:
    message = {"from": "4917012345678", "id": "wamid.2", "timestamp": "1764158400", **said}
    async with an_account(KIND, SETTINGS) as provider:
        [report] = provider.reports(told(messages=[message]))

    assert (report.address, report.text, report.key) == ("+4917012345678", text, "wamid.2")
    assert report.kind is (kind or ReportKind.RESUBSCRIBED)


async def test_who_has_a_username_may_have_no_number() -> None:
    message = {"from_user_id": "BR.1502", "id": "wamid.2", "timestamp": "1764158400", "type": "text"}
    async with an_account(KIND, SETTINGS) as provider:
        [report] = provider.reports(told(messages=[message]))

    assert (report.address, report.extra["user_id"]) == (None, "BR.1502")


async def test_the_button_against_marketing_unsubscribes() -> None:
    stop = {"wa_id": "491", "category": "marketing_messages", "value": "stop", "timestamp": 1764158400}
    async with an_account(KIND, SETTINGS) as provider:
        reports = provider.reports(told(user_preferences=[stop, {**stop, "value": "resume"}]))

    assert [report.kind for report in reports] == [ReportKind.UNSUBSCRIBED, ReportKind.RESUBSCRIBED]


@pytest.mark.parametrize(
    "body",
    [
        b"what?",
        b"[]",
        b"{}",
        b'{"entry": [{}]}',
        b'{"entry": [{"changes": [{"value": []}]}]}',
        b'{"entry": [{"changes": [{"value": {"statuses": [{"status":"read","id":"","timestamp":"x"}]}}]}]}',
        b'{"entry": [{"changes": [{"value": {"messages": ["x"]}}]}]}',
    ],
)
async def test_a_body_that_cant_be_read_is_said_to_be_so(body: bytes) -> None:
    async with an_account(KIND, SETTINGS) as provider:
        with pytest.raises(ValueError):  # noqa: PT011 - that it is one is the contract.
            provider.reports(a_hook(body))

"""Texts, WhatsApp, pushes and webhooks through the lab: what it took, what it did not, what it reports."""

import base64
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from channels import push, twilio, webhook, whatsapp
from channels.contract import Handshake, Hook, NotGenuine, OutcomeKind, ReportKind
from channels.push import PushSettings
from channels.twilio import TwilioSettings
from channels.webhook import WebhookSettings
from channels.whatsapp import WhatsAppSettings
from domain.profiles import SuppressionReason
from lab.app import ProviderLab
from lab.keys import Keys
from lab.reports import Hook as Wish
from lab.reports import Posting, Twist
from lab.subscriptions import Subscription, b64, point
from lab.twilio_reports import inbound as written_by_text
from lab.whatsapp_reports import inbound as written_by_whatsapp
from tests.channels.calls_support import ALetter, an_account, envelope

ACCEPTED, REJECTED = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED
RETRY, UNKNOWN = OutcomeKind.RETRY, OutcomeKind.UNKNOWN

ADA, BOB = "+12025550100", "+12025550101"
OURS = "+15005550006"
PHONE = "106540352242922"
NOW = datetime(2026, 11, 26, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()

Open = Callable[[ProviderLab], AbstractAsyncContextManager[Any]]


def by_text(lab: ProviderLab) -> AbstractAsyncContextManager[Any]:
    account = "AC00000000000000000000000000000001"
    token = SecretStr("lab-twilio")
    settings = TwilioSettings(account_sid=account, auth_token=token, from_number=OURS)
    return an_account(twilio.KIND, settings, lab.url)


def by_whatsapp(lab: ProviderLab) -> AbstractAsyncContextManager[Any]:
    settings = WhatsAppSettings(
        phone_number_id=PHONE,
        access_token=SecretStr("lab-whatsapp"),
        app_secret=SecretStr(Keys.app_secret),
        verify_token=SecretStr(Keys.verify_token),
    )
    return an_account(whatsapp.KIND, settings, lab.url)


def by_push(lab: ProviderLab) -> AbstractAsyncContextManager[Any]:
    key = b64(KEY.private_numbers().private_value.to_bytes(32, "big"))
    settings = PushSettings(vapid_private_key=SecretStr(key), subject="mailto:ops@shop.example")
    return an_account(push.KIND, settings)


def by_webhook(lab: ProviderLab) -> AbstractAsyncContextManager[Any]:
    lab.desk.receivers["shop"] = SECRET
    return an_account(webhook.KIND, WebhookSettings(secret=SecretStr(SECRET)))


def a_browser(lab: ProviderLab) -> tuple[Subscription, str]:
    one = Subscription(b64(point(KEY.public_key())))
    lab.desk.subscriptions[one.id] = one
    return one, orjson.dumps(one.described(lab.url)).decode()


def address(lab: ProviderLab, provider: str) -> str:
    match provider:
        case "push":
            return a_browser(lab)[1]
        case "webhook":
            return f"{lab.url}/receiver/shop"
    return ADA


ALL: dict[str, Open] = {"twilio": by_text, "whatsapp": by_whatsapp, "push": by_push, "webhook": by_webhook}
each = pytest.mark.parametrize("provider", ALL)


async def sent(lab: ProviderLab, provider: str, letter: ALetter | None = None, n: int = 1) -> list[Any]:
    async with ALL[provider](lab) as account:
        batch = [envelope(number, address(lab, provider)) for number in range(1, n + 1)]
        outcomes: list[Any] = await account.send(letter or ALetter(), batch)
    return outcomes


@each
async def test_each_message_arrives_with_our_id(provider: str) -> None:
    async with ProviderLab() as lab:
        outcomes = await sent(lab, provider, n=8)
        accepted = lab.accepted(provider)

    assert {outcome.kind for outcome in outcomes} == {ACCEPTED}
    if provider != "push":  # RFC 8030 has no place for it but the topic.
        assert {one.own for one in accepted} == {str(envelope(n, "").id) for n in range(1, 9)}
    if provider in ("twilio", "whatsapp"):
        assert {outcome.provider_id for outcome in outcomes} == {one.id for one in accepted}


@each
async def test_a_lost_reply_is_unknown_where_it_can_arrive_twice(provider: str) -> None:
    async with ProviderLab() as lab:
        lab.lose_the_next_reply()
        [outcome] = await sent(lab, provider)
        accepted = lab.accepted(provider)

    assert len(accepted) == 1
    # A receiver of webhooks drops what it had, by the same id.
    assert outcome.kind is (RETRY if provider == "webhook" else UNKNOWN)


@each
async def test_who_asks_for_patience_gets_it(provider: str) -> None:
    async with ProviderLab() as lab:
        lab.fail(provider, status=429, headers={"Retry-After": "9"}, times=1)
        [outcome] = await sent(lab, provider)

    assert (outcome.kind, outcome.retry_after) == (RETRY, 9.0)
    assert outcome.calm is (provider not in ("push", "webhook"))


@each
async def test_a_failure_that_may_have_kept_the_message_is_never_taken_for_a_no(provider: str) -> None:
    async with ProviderLab() as lab:
        lab.fail(provider, status=500, keep=True, times=1)
        [outcome] = await sent(lab, provider)

    assert outcome.kind is (RETRY if provider == "webhook" else UNKNOWN)


@pytest.mark.parametrize("provider", ["twilio", "whatsapp"])
async def test_the_check_knows_a_wrong_credential(provider: str) -> None:
    async with ProviderLab() as lab, ALL[provider](lab) as account:
        assert await account.check() is None
        getattr(lab.desk.accounts, provider).clear()
        assert await account.check()


async def test_one_of_a_batch_that_is_refused_stops_no_other() -> None:
    async with ProviderLab() as lab, by_text(lab) as account:
        batch = [envelope(1, ADA), envelope(2, "+1"), envelope(3, BOB)]
        outcomes = await account.send(ALetter(), batch)

    assert [outcome.kind for outcome in outcomes] == [ACCEPTED, REJECTED, ACCEPTED]
    assert outcomes[1].suppress is SuppressionReason.HARD_BOUNCE


async def test_who_said_stop_to_twilio_is_suppressed_here_too() -> None:
    async with ProviderLab() as lab, by_text(lab) as account:
        written_by_text(lab.desk, Wish(provider="twilio"), ADA, OURS, "STOP", None, Twist(Keys()))
        [outcome] = await account.send(ALetter(), [envelope(1, ADA)])

    assert (outcome.kind, outcome.suppress) == (REJECTED, SuppressionReason.UNSUBSCRIBED)


async def test_a_browser_that_wants_no_more_is_suppressed() -> None:
    async with ProviderLab() as lab, by_push(lab) as account:
        browser, there = a_browser(lab)
        browser.gone = True
        [outcome] = await account.send(ALetter(), [envelope(1, there)])

    assert (outcome.kind, outcome.suppress) == (REJECTED, SuppressionReason.HARD_BOUNCE)


async def test_another_key_than_the_browser_knows_is_our_fault() -> None:
    async with ProviderLab() as lab, by_push(lab) as account:
        browser, there = a_browser(lab)
        browser.server_key = b64(point(ec.generate_private_key(ec.SECP256R1()).public_key()))
        [outcome] = await account.send(ALetter(), [envelope(1, there)])

    assert outcome.kind is RETRY
    assert outcome.reason.startswith("sender: ")


async def test_a_browser_reads_what_the_template_says() -> None:
    async with ProviderLab() as lab:
        await sent(lab, "push")
        [one] = lab.accepted("push")
        content = lab.content(one)

    assert content["payload"] == '{"hello":"Hello Ada"}'


async def test_a_template_that_meta_does_not_know_is_the_messages_fault() -> None:
    async with ProviderLab() as lab:
        lab.desk.templates["winter", "en_US"] = 1
        [known] = await sent(lab, "whatsapp", ALetter(template="winter"))
        [unknown] = await sent(lab, "whatsapp", ALetter(template="summer"))

    assert (known.kind, unknown.kind) == (ACCEPTED, REJECTED)


def as_hook(posting: Posting, method: str = "POST") -> Hook:
    headers = {name.lower(): value for name, value in posting.headers.items()}
    return Hook(method, posting.url, headers, posting.body)


@pytest.mark.parametrize(
    ("provider", "outcome", "kinds"),
    [
        ("twilio", "delivered", [ReportKind.ACCEPTED, ReportKind.DELIVERED]),
        ("twilio", "bounce", [ReportKind.ACCEPTED, ReportKind.HARD_BOUNCE]),
        ("twilio", "soft_bounce", [ReportKind.ACCEPTED, ReportKind.SOFT_BOUNCE]),
        ("whatsapp", "read", [ReportKind.ACCEPTED, ReportKind.DELIVERED, ReportKind.READ]),
        ("whatsapp", "bounce", [ReportKind.FAILED]),
        ("whatsapp", "unsubscribe", [ReportKind.FAILED, ReportKind.UNSUBSCRIBED]),
    ],
)
async def test_what_the_provider_reports_is_genuine_and_names_our_message(
    provider: str, outcome: str, kinds: list[ReportKind]
) -> None:
    async with ProviderLab() as lab, ALL[provider](lab) as account:
        [answer] = await account.send(ALetter(), [envelope(1, ADA)])
        [message] = lab.accepted(provider)
        hooks = [as_hook(posting) for posting in lab.postings(message, outcome)]
        for hook in hooks:
            assert await account.verify(hook, NOW) is None
        reports = [report for hook in hooks for report in account.reports(hook)]

    assert [report.kind for report in reports] == kinds
    assert {report.message_id for report in reports} == {envelope(1, "").id}
    assert {report.provider_id for report in reports} == {answer.provider_id}
    assert {report.address for report in reports} == {ADA}
    assert len({report.key for report in reports}) == len(reports)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("STOP", ReportKind.UNSUBSCRIBED),
        ("start", ReportKind.RESUBSCRIBED),
        ("help", ReportKind.HELP),
        ("What is new?", ReportKind.REPLIED),
    ],
)
@pytest.mark.parametrize("provider", ["twilio", "whatsapp"])
async def test_what_a_person_writes_is_heard(provider: str, text: str, kind: ReportKind) -> None:
    url = "https://campanile.example/hooks/x"
    async with ProviderLab() as lab, ALL[provider](lab) as account:
        wish = Wish(provider=provider, url=url)
        if provider == "twilio":
            posting = written_by_text(lab.desk, wish, ADA, OURS, text, None, Twist(Keys()))
            forged = written_by_text(lab.desk, wish, ADA, OURS, text, None, Twist(Keys(), forged=True))
        else:
            posting = written_by_whatsapp(lab.desk, wish, ADA, PHONE, text, Twist(Keys()))
            forged = written_by_whatsapp(lab.desk, wish, ADA, PHONE, text, Twist(Keys(), forged=True))
        assert await account.verify(as_hook(posting), NOW) is None
        [report] = account.reports(as_hook(posting))
        with pytest.raises(NotGenuine):
            await account.verify(as_hook(forged), NOW)

    assert (report.kind, report.address, report.text) == (kind, ADA, text)


async def test_metas_challenge_is_answered() -> None:
    url = f"https://campanile.example/hooks/x?hub.mode=subscribe&hub.verify_token={Keys.verify_token}"
    async with ProviderLab() as lab, by_whatsapp(lab) as account:
        answer = await account.verify(Hook("GET", url + "&hub.challenge=42", {}, b""), NOW)

    assert answer == Handshake(b"42")

"""What SES reports by way of SNS, and whose reports are believed."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from channels.contract import Handshake, NotGenuine, ReportKind
from channels.egress import EgressTransport
from channels.ses import KIND, Ses
from channels.ses_hooks import reports_of
from channels.sns import Sns
from lab.app import ProviderLab
from lab.http_server import Answer
from tests.channels.calls_support import a_site, local
from tests.channels.mail_support import a_hook, a_letter, a_world, an_account, envelopes, settings_of

TOPIC = "arn:aws:sns:eu-west-1:123456789012:lab"
KEYS = {"region": "eu-west-1", "access_key_id": "AKIALAB", "secret_access_key": "lab-secret"}
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def nobody() -> EgressTransport:
    """A guard that finds no host."""

    async def resolve(host: str, port: int) -> list[str]:
        return []

    return EgressTransport(resolve=resolve)


@asynccontextmanager
async def ses(lab: ProviderLab, topic: str | None = TOPIC) -> AsyncIterator[Ses]:
    chosen = settings_of(KIND, **KEYS, topic_arn=topic)
    account = Ses(an_account(chosen), a_world({"ses": lab.url, "sns": lab.url}))
    try:
        yield account
    finally:
        await account.close()


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize(
    ("outcome", "kinds"),
    [
        ("sent", [ReportKind.ACCEPTED]),
        ("delivered", [ReportKind.ACCEPTED, ReportKind.DELIVERED]),
        ("bounce", [ReportKind.ACCEPTED, ReportKind.HARD_BOUNCE]),
        ("soft_bounce", [ReportKind.ACCEPTED, ReportKind.SOFT_BOUNCE]),
        ("undetermined", [ReportKind.ACCEPTED, ReportKind.SOFT_BOUNCE]),
        ("complaint", [ReportKind.ACCEPTED, ReportKind.DELIVERED, ReportKind.COMPLAINED]),
        ("deferred", [ReportKind.ACCEPTED, ReportKind.DEFERRED]),
        ("rejected", [ReportKind.FAILED]),
        ("rendering_failure", [ReportKind.FAILED]),
        ("open", [ReportKind.ACCEPTED, ReportKind.DELIVERED, ReportKind.OPENED]),
        ("click", [ReportKind.ACCEPTED, ReportKind.DELIVERED, ReportKind.CLICKED]),
        ("unsubscribe", [ReportKind.ACCEPTED, ReportKind.DELIVERED, ReportKind.UNSUBSCRIBED]),
    ],
)
async def test_what_the_lab_reports_is_believed_and_understood(
    version: str, outcome: str, kinds: list[ReportKind]
) -> None:
    now = datetime.now(UTC)
    async with ProviderLab() as lab, ses(lab) as account:
        await lab.report("ses", "http://127.0.0.1:9/", signature_version=version, confirm=False)
        (sent,) = await account.send(a_letter(), envelopes(1))
        (accepted,) = lab.accepted("ses")
        reports = []
        for posting in lab.postings(accepted, outcome):
            hook = a_hook(posting.body, {name.lower(): said for name, said in posting.headers.items()})
            assert await account.verify(hook, now) is None
            reports += account.reports(hook)

    assert [report.kind for report in reports] == kinds
    assert len({report.key for report in reports}) == len(reports)
    for report in reports:
        assert (report.message_id, report.provider_id) == (UUID(int=1), sent.provider_id)
        assert report.address == "p1@example.com"
        assert report.at
        assert abs(report.at - now) < timedelta(minutes=1)


def envelope(lab: ProviderLab, **changed: str | None) -> dict[str, str]:
    """A notification that is signed after it was changed."""
    said: dict[str, str | None] = {
        "Type": "Notification",
        "MessageId": "m-1",
        "TopicArn": TOPIC,
        "Subject": "An event",
        "Message": "{}",
        "Timestamp": "2026-03-01T11:59:00.000Z",
        "SignatureVersion": "2",
        "SigningCertURL": f"{lab.url}/SimpleNotificationService-0000000000000000000000000000fab0.pem",
        **changed,
    }
    kept = {name: value for name, value in said.items() if value is not None}
    names = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    if kept["Type"] != "Notification":
        names.remove("Subject")
    text = "".join(f"{name}\n{kept[name]}\n" for name in names if name in kept)
    signature = lab.reporter.keys.sns.sign(text.encode(), PKCS1v15(), SHA256())
    return {"Signature": base64.b64encode(signature).decode(), **kept}


async def refusal(account: Ses, said: object, now: datetime = NOW) -> str:
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    with pytest.raises(NotGenuine) as refused:
        await account.verify(a_hook(body), now)
    return str(refused.value)


async def test_a_notification_may_come_with_or_without_a_subject() -> None:
    async with ProviderLab() as lab, ses(lab) as account:
        for said in (envelope(lab), envelope(lab, Subject=None)):
            assert await account.verify(a_hook(json.dumps(said).encode()), NOW) is None


async def test_what_was_changed_or_is_old_or_of_others_is_not_believed() -> None:
    async with ProviderLab() as lab, ses(lab) as account:
        good = envelope(lab)
        for changed in (
            {"Message": '{"a": 1}'},
            {"Subject": "Another"},
            {"MessageId": "m-2"},
            {"Signature": "AAAA"},
            {"Signature": "A"},
        ):
            assert "not SNS's" in await refusal(account, {**good, **changed})
        assert "no version" in await refusal(account, {**good, "SignatureVersion": "3"})
        assert "another topic" in await refusal(account, envelope(lab, TopicArn=TOPIC + "2"))
        assert "too long ago" in await refusal(account, good, NOW + timedelta(hours=1))
        assert "too long ago" in await refusal(account, good, NOW - timedelta(minutes=7))
        assert "when it was sent" in await refusal(account, envelope(lab, Timestamp="noon"))
        assert "no message" in await refusal(account, envelope(lab, Type="Else"))
        assert "no message" in await refusal(account, {**good, "Message": "\ud800"})
        assert "no message" in await refusal(account, b"{")
        assert "no message" in await refusal(account, b"[]")
        assert "no message" in await refusal(account, {**good, "Message": [[]] * 1000})


async def test_without_a_topic_nobody_is_believed() -> None:
    async with ProviderLab() as lab, ses(lab, topic=None) as account:
        assert "Enter the ARN" in await refusal(account, envelope(lab))


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/SimpleNotificationService-1.pem",
        "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.example/x.pem",
        "https://sns.eu-west-1.amazonaws.com@evil.example/x.pem",
        "https://sns.eu-west-1.amazonaws.com:8443/x.pem",
        "https://sns.a.b.amazonaws.com/x.pem",
        "https://evil-sns.eu-west-1.amazonaws.com/x.pem",
        "https://bucket.s3.amazonaws.com/x.pem",
        "https://sns.eu-west-1.amazonaws.com\\@evil.example/x.pem",
        "https://[::1",
        "file:///etc/passwd",
        "",
        None,
    ],
)
async def test_a_certificate_comes_from_amazon_alone(url: str | None) -> None:
    sns = Sns(a_world({}).egress)
    async with ProviderLab() as lab:
        said = envelope(lab, SigningCertURL=url)

    with pytest.raises(NotGenuine, match="not SNS's"):
        await sns.verify(json.dumps(said).encode(), TOPIC, NOW)


@pytest.mark.parametrize("host", ["sns.eu-west-1.amazonaws.com", "sns.cn-north-1.amazonaws.com.cn"])
@pytest.mark.parametrize("port", ["", ":443"])
async def test_amazons_own_hosts_are_known(host: str, port: str) -> None:
    url = f"https://{host}{port}/SimpleNotificationService-{'0a' * 16}.pem"
    async with ProviderLab() as lab:
        said = envelope(lab, SigningCertURL=url)

    with pytest.raises(NotGenuine, match="can't be reached"):
        await Sns(nobody).verify(json.dumps(said).encode(), TOPIC, NOW)


@pytest.mark.parametrize(
    "path",
    [
        "/?Action=GetTopicAttributes&TopicArn=arn:aws:sns:eu-west-1:666:mallory&X-Amz-Signature=00",
        "/SimpleNotificationService-00.pem?Action=GetTopicAttributes",
        "/SimpleNotificationService-00.pem#x",
        "/SimpleNotificationService-00.pem/",
        "/SimpleNotificationService-.pem",
        "/SimpleNotificationService-xyz.pem",
        "/x/SimpleNotificationService-00.pem",
        "//SimpleNotificationService-00.pem",
        "/\nSimpleNotificationService-00.pem",
        "/SimpleNotificationService-00.pem\n",
    ],
)
async def test_no_other_page_of_amazons_is_taken_for_a_certificate(path: str) -> None:
    sns = Sns(nobody)
    async with ProviderLab() as lab:
        said = envelope(lab, SigningCertURL=f"https://sns.eu-west-1.amazonaws.com{path}")

    with pytest.raises(NotGenuine, match="not SNS's"):
        await sns.verify(json.dumps(said).encode(), TOPIC, NOW)


@pytest.mark.parametrize(("before", "after"), [("<value>", "</value>"), ("# A note\n", ""), ("", "\nelse")])
async def test_a_certificate_within_other_words_convinces_nobody(before: str, after: str) -> None:
    async with ProviderLab() as lab, a_site() as site:
        pem = lab.reporter.keys.sns_certificate
        site.answers = [Answer(200, f"{before}{pem.decode()}{after}".encode())]
        said = envelope(lab, SigningCertURL=f"{site.url}/SimpleNotificationService-00.pem")

        with pytest.raises(NotGenuine, match="is none"):
            await Sns(local, site.url).verify(json.dumps(said).encode(), TOPIC, NOW)


async def test_a_certificate_is_fetched_once() -> None:
    async with ProviderLab() as lab, ses(lab) as account:
        said = json.dumps(envelope(lab)).encode()
        await account.verify(a_hook(said), NOW)
        await lab.server.__aexit__()
        await account.verify(a_hook(said), NOW)
        await lab.server.__aenter__()


async def test_what_is_no_certificate_convinces_nobody() -> None:
    async with ProviderLab() as lab, ses(lab) as account:
        assert "not SNS's" in await refusal(account, envelope(lab, SigningCertURL=f"{lab.url}/"))
        missing = f"{lab.url}/SimpleNotificationService-00.pem"
        assert "answered 404" in await refusal(account, envelope(lab, SigningCertURL=missing))


def a_confirmation(lab: ProviderLab, **changed: str) -> dict[str, str]:
    return envelope(
        lab,
        **{
            "Type": "SubscriptionConfirmation",
            "Subject": None,
            "Token": "t-1",
            "Message": "You have chosen to subscribe",
            "SubscribeURL": f"{lab.url}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=t-1",
            **changed,
        },
    )


async def test_a_subscription_to_our_topic_is_confirmed() -> None:
    async with ProviderLab() as lab, ses(lab) as account:
        lab.reporter.unconfirmed["ses"] = "t-1"
        said = a_confirmation(lab)
        shaken = await account.verify(a_hook(json.dumps(said).encode()), NOW)

        assert shaken == Handshake()
        assert not lab.reporter.unconfirmed


async def test_no_other_subscription_is() -> None:
    async with ProviderLab() as lab, ses(lab) as account:
        lab.reporter.unconfirmed["ses"] = "t-1"
        confirm = f"{lab.url}/?Action=ConfirmSubscription"
        for url in (
            "https://evil.example/",
            f"{lab.url}/lab/faults?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=t-1",
            f"{lab.url}/?Action=Publish&TopicArn={TOPIC}&Token=t-1",
            f"{confirm}&TopicArn={TOPIC}2&Token=t-1",
            f"{confirm}&TopicArn={TOPIC}&Token=t-2",
            f"{confirm}&TopicArn={TOPIC}&Token=t-1&Token=t-1",
            f"{confirm}&TopicArn={TOPIC}&Token=t-1#x",
        ):
            assert "not SNS's" in await refusal(account, a_confirmation(lab, SubscribeURL=url))
        assert "another topic" in await refusal(account, a_confirmation(lab, TopicArn=TOPIC + "2"))
        assert "not SNS's" in await refusal(account, {**a_confirmation(lab), "Token": "t-2"})

        assert lab.reporter.unconfirmed == {"ses": "t-1"}


def an_event(kind: str, part: str, said: dict[str, object], **mail: object) -> bytes:
    event = {
        "eventType": kind,
        "mail": {
            "messageId": "0102-1",
            "timestamp": "2026-03-01T12:00:00.000Z",
            "destination": ["ada@example.com"],
            "tags": {"mid": [str(UUID(int=5))], "ses:caller-identity": ["x"]},
            **mail,
        },
        part: {"timestamp": "2026-03-01T12:00:01.000Z", **said},
    }
    return json.dumps({"MessageId": "m-1", "Message": json.dumps(event)}).encode()


def bounced(sort: str, detail: str, status: str) -> bytes:
    person = {"emailAddress": "ada@example.com", "status": status, "diagnosticCode": "smtp; 5xx no"}
    return an_event(
        "Bounce",
        "bounce",
        {"bounceType": sort, "bounceSubType": detail, "bouncedRecipients": [person]},
    )


def complained(**said: object) -> bytes:
    people = [{"emailAddress": "ada@example.com"}]
    return an_event("Complaint", "complaint", {"complainedRecipients": people, **said})


def subscribed(before: bool, after: bool) -> bytes:
    said: dict[str, object] = {
        "oldTopicPreferences": {"unsubscribeAll": before, "topicSubscriptionStatus": []},
        "newTopicPreferences": {"unsubscribeAll": after, "topicSubscriptionStatus": []},
    }
    return an_event("Subscription", "subscription", said)


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        (bounced("Permanent", "General", "5.1.1"), [ReportKind.HARD_BOUNCE]),
        (bounced("Permanent", "Suppressed", "5.1.1"), [ReportKind.HARD_BOUNCE]),
        (bounced("Permanent", "General", "5.7.1"), [ReportKind.FAILED]),
        (bounced("Transient", "MailboxFull", "5.2.2"), [ReportKind.SOFT_BOUNCE]),
        (bounced("Transient", "ContentRejected", "5.6.0"), [ReportKind.FAILED]),
        (bounced("Undetermined", "Undetermined", ""), [ReportKind.SOFT_BOUNCE]),
        (complained(complaintFeedbackType="abuse"), [ReportKind.COMPLAINED]),
        (complained(complaintFeedbackType="not-spam"), []),
        (
            complained(complaintSubType="OnAccountSuppressionList"),
            [ReportKind.FAILED, ReportKind.UNSUBSCRIBED],
        ),
        (subscribed(before=False, after=True), [ReportKind.UNSUBSCRIBED]),
        (subscribed(before=True, after=False), [ReportKind.RESUBSCRIBED]),
        (subscribed(before=False, after=False), []),
        (an_event("Rendering Failure", "failure", {"errorMessage": "no v1"}), [ReportKind.FAILED]),
        (an_event("Something New", "new", {}), []),
    ],
)
def test_each_event_means_one_thing(body: bytes, kinds: list[ReportKind]) -> None:
    reports = reports_of(body)

    assert [report.kind for report in reports] == kinds
    assert len({report.key for report in reports}) == len(kinds)
    for report in reports:
        assert (report.message_id, report.address) == (UUID(int=5), "ada@example.com")
        assert report.at == datetime(2026, 3, 1, 12, 0, 1, tzinfo=UTC)


def test_a_message_of_another_program_has_no_id_of_ours() -> None:
    wrong: list[object] = [{}, {"mid": ["x"]}, {"mid": []}, {"mid": "x"}, None]
    for tags in wrong:
        (report,) = reports_of(an_event("Delivery", "delivery", {}, tags=tags))

        assert report.message_id is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"Message": "x"}',
        b'{"Message": "[]"}',
        b'{"Message": "{\\"eventType\\":\\"Send\\"}"}',
    ],
)
def test_a_body_that_says_nothing_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        reports_of(body)

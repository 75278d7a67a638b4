"""SES in the lab is as strict as the real one, and its reports carry signatures that hold."""

import json
from base64 import b64decode
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.x509 import load_pem_x509_certificate

from lab.app import ProviderLab
from lab.http_server import Asked
from tests.lab.clients import an_ear, ask, called, ses
from tests.lab.shapes import differences, fixture

SES = fixture("ses")
TEMPLATE = {"Subject": "Hi {{n}}", "Html": "<p>{{n}} {{shop}}</p>", "Text": "{{n}} {{shop}}"}


def entry(number: int, **changes: Any) -> dict[str, Any]:
    data = json.dumps({"n": f"N{number}"})
    return {
        "Destination": {"ToAddresses": [f"p{number}@example.test"]},
        "ReplacementTags": [{"Name": "mid", "Value": f"m{number}"}],
        "ReplacementHeaders": [{"Name": "List-Unsubscribe", "Value": f"<https://shop.example/u/{number}>"}],
        "ReplacementEmailContent": {"ReplacementTemplate": {"ReplacementTemplateData": data}},
        **changes,
    }


def bulk(client: Any, *entries: dict[str, Any], **changes: Any) -> list[dict[str, str]]:
    """Blocks. The entries' results."""
    asked = {
        "FromEmailAddress": "Shop <news@shop.example>",
        "DefaultEmailTags": [{"Name": "campaign", "Value": "c1"}],
        "DefaultContent": {"Template": {"TemplateContent": TEMPLATE, "TemplateData": '{"shop": "S"}'}},
        "BulkEmailEntries": list(entries),
    }
    found = client.send_bulk_email(**{**asked, **changes})["BulkEmailEntryResults"]
    assert isinstance(found, list)
    return found


async def test_a_bulk_call_is_kept_as_each_recipient_would_get_it() -> None:
    async with ProviderLab() as lab:
        results = await called(bulk, ses(lab.url), entry(1), entry(2))
        assert differences({"BulkEmailEntryResults": results}, SES["bulk"]) == []
        first, second = lab.accepted("ses")
        assert [first.id, second.id] == [one["MessageId"] for one in results]
        assert (second.own, second.recipient) == ("m2", "p2@example.test")
        content = lab.content(second)
        assert (content["subject"], content["html"], content["text"]) == ("Hi N2", "<p>N2 S</p>", "N2 S")
        assert content["headers"] == {"List-Unsubscribe": "<https://shop.example/u/2>"}
        assert content["tags"] == {"campaign": "c1", "mid": "m2"}
        assert lab.accepted("ses", "p1@example.test") == [first]


async def test_a_single_mail_in_each_of_its_three_forms_is_kept() -> None:
    async with ProviderLab() as lab:
        client = ses(lab.url)
        simple = {"Subject": {"Data": "Hi"}, "Body": {"Html": {"Data": "<p>Hi</p>"}, "Text": {"Data": "Hi"}}}
        template = {"TemplateContent": TEMPLATE, "TemplateData": '{"n": "A", "shop": "S"}'}
        raw = {"Data": b"To: Anna <anna@example.test>\r\nSubject: Hi\r\n\r\nHello\r\n"}
        to = {"Destination": {"ToAddresses": ["anna@example.test"]}, "FromEmailAddress": "news@shop.example"}
        tags = {"EmailTags": [{"Name": "mid", "Value": "m1"}]}
        for content, more in (({"Simple": simple}, to), ({"Template": template}, to), ({"Raw": raw}, {})):
            await called(client.send_email, Content=content, **more, **tags)
        assert {one.recipient for one in lab.accepted()} == {"anna@example.test"}
        assert {one.own for one in lab.accepted()} == {"m1"}
        shown = [lab.content(one) for one in lab.accepted()]
        assert [one.get("html") for one in shown] == ["<p>Hi</p>", "<p>A S</p>", None]
        assert shown[2]["raw"].endswith("Hello\r\n")


async def test_an_account_tells_its_quota() -> None:
    async with ProviderLab() as lab:
        answer = await called(ses(lab.url).get_account)
        del answer["ResponseMetadata"]
        assert differences(answer, SES["account"]) == []


@pytest.mark.parametrize(
    ("key", "secret", "error"),
    [
        ("AKIASTRANGER", "lab-secret", "UnrecognizedClientException"),
        ("AKIALAB", "wrong", "SignatureDoesNotMatch"),
    ],
)
async def test_a_stranger_and_a_wrong_secret_are_refused(key: str, secret: str, error: str) -> None:
    async with ProviderLab() as lab:
        with pytest.raises(ClientError, match=error) as caught:
            await called(bulk, ses(lab.url, key, secret), entry(1))
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
        answer = await ask("POST", f"{lab.url}/v2/email/outbound-bulk-emails", json={})
        assert answer.headers["x-amzn-errortype"] == "MissingAuthenticationTokenException"
        assert differences(answer.json(), SES["error"]) == []


LONG = [{"Name": f"X-{n}", "Value": "v"} for n in range(16)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"BulkEmailEntries": [entry(n) for n in range(51)]}, "50 destinations"),
        ({"BulkEmailEntries": [entry(1, ReplacementTags=[{"Name": "mid", "Value": "ä"}])]}, "Tags"),
        ({"BulkEmailEntries": [entry(1, ReplacementHeaders=LONG)]}, "15 headers"),
        ({"BulkEmailEntries": [entry(1, ReplacementHeaders=[{"Name": "X", "Value": "é"}])]}, "printable"),
        (
            {"BulkEmailEntries": [entry(1, ReplacementHeaders=[{"Name": "Subject", "Value": "x"}])]},
            "reserved",
        ),
        ({"BulkEmailEntries": [entry(1, Destination={})]}, "destination"),
        ({"DefaultContent": {"Template": {"TemplateName": "spring"}}}, "does not exist"),
        ({"DefaultContent": {"Template": {"TemplateContent": TEMPLATE, "TemplateData": "["}}}, "JSON"),
        ({"DefaultContent": {"Template": {"TemplateContent": {"Html": "x" * (1 << 20)}}}}, "larger"),
    ],
)
async def test_what_breaks_a_limit_is_refused_whole(changes: dict[str, Any], words: str) -> None:
    async with ProviderLab() as lab:
        with pytest.raises(ClientError, match=words):
            await called(bulk, ses(lab.url), entry(1), **changes)
        assert lab.accepted() == []


async def test_an_entry_with_a_bad_address_fails_alone() -> None:
    async with ProviderLab() as lab:
        bad = entry(1, Destination={"ToAddresses": ["zoë@example.test"]})
        results = await called(bulk, ses(lab.url), bad, entry(2))
        assert [one["Status"] for one in results] == ["INVALID_PARAMETER", "SUCCESS"]
        assert [one.own for one in lab.accepted()] == ["m2"]


async def test_faults_refuse_a_call_or_entries_or_lose_the_reply() -> None:
    async with ProviderLab() as lab:
        client = ses(lab.url)
        lab.fail("ses", status=429, times=1)
        lab.fail("ses", status=400, code="SendingPausedException", times=1)
        lab.fail("ses", code="ACCOUNT_THROTTLED", recipient="p2@*", times=1)
        lab.fail("ses", cut="before", times=1)
        lab.lose_the_next_reply("ses")
        for error in ("TooManyRequestsException", "SendingPausedException"):
            with pytest.raises(ClientError, match=error):
                await called(bulk, client, entry(1), entry(2))
        results = await called(bulk, client, entry(1), entry(2))
        assert [one["Status"] for one in results] == ["SUCCESS", "ACCOUNT_THROTTLED"]
        for number in (3, 4):
            with pytest.raises(ConnectionClosedError):
                await called(bulk, client, entry(number))
        assert [one.own for one in lab.accepted()] == ["m1", "m4"]
        assert lab.desk.record.offered["ses"] == 8


async def test_a_share_of_the_entries_may_be_refused() -> None:
    async with ProviderLab() as lab:
        lab.fail("ses", partial=0.5, code="TRANSIENT_FAILURE")
        results = await called(bulk, ses(lab.url), *(entry(n) for n in range(50)))
        refused = [one["Status"] for one in results].count("TRANSIENT_FAILURE")
        assert 10 < refused < 40
        assert len(lab.accepted()) == 50 - refused


def verified(lab: ProviderLab, asked: Asked) -> dict[str, Any]:
    """The envelope, checked as the SNS guide says. Raises InvalidSignature."""
    envelope: dict[str, Any] = json.loads(asked.body)
    if envelope["Type"] == "Notification":
        names = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
    else:
        names = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    text = "".join(f"{name}\n{envelope[name]}\n" for name in names)
    key = load_pem_x509_certificate(lab.reporter.keys.sns_certificate).public_key()
    assert isinstance(key, RSAPublicKey)
    method = SHA1() if envelope["SignatureVersion"] == "1" else SHA256()
    key.verify(b64decode(envelope["Signature"]), text.encode(), PKCS1v15(), method)
    return envelope


@pytest.mark.parametrize("version", ["1", "2"])
async def test_reports_wait_for_the_confirmation_and_are_signed(version: str) -> None:
    async with ProviderLab() as lab, an_ear() as (ear, url):
        await lab.report("ses", url, plan={"delivered": 1.0}, signature_version=version)
        await called(bulk, ses(lab.url), entry(1))
        [asked] = ear.heard
        confirmation = verified(lab, asked)
        assert asked.headers["x-amz-sns-message-type"] == "SubscriptionConfirmation"
        assert differences(confirmation, SES["confirmation"]) == []
        certificate = await ask("GET", confirmation["SigningCertURL"])
        assert certificate.content == lab.reporter.keys.sns_certificate

        assert "ConfirmSubscriptionResponse" in (await ask("GET", confirmation["SubscribeURL"])).text
        await lab.reporter.settled()
        told = [verified(lab, one) for one in ear.heard[1:]]
        assert [differences(one, SES["notification"]) for one in told] == [[], []]
        assert [json.loads(one["Message"])["eventType"] for one in told] == ["Send", "Delivery"]


OUTCOMES = [
    "delivered", "bounce", "soft_bounce", "undetermined", "complaint", "deferred", "rejected", "open",
    "click", "unsubscribe", "rendering_failure:Attribute 'n' is not present in the rendering data.",
]  # fmt: skip


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_every_event_is_as_documented(outcome: str) -> None:
    async with ProviderLab() as lab:
        await called(bulk, ses(lab.url), entry(1))
        for posting in lab.postings(lab.accepted()[0], outcome):
            event = json.loads(json.loads(posting.body)["Message"])
            expected = {"eventType": event["eventType"], "mail": SES["mail"]}
            assert differences(event, expected | SES["events"][event["eventType"]]) == []
            assert event["mail"]["tags"]["mid"] == ["m1"]
            assert event["mail"]["messageId"] == lab.accepted()[0].id


async def test_a_variable_that_is_missing_is_found_out_after_acceptance() -> None:
    async with ProviderLab() as lab, an_ear() as (ear, url):
        await lab.report("ses", url, plan={"delivered": 1.0}, confirm=False)
        empty = {"ReplacementTemplate": {"ReplacementTemplateData": "{}"}}
        results = await called(bulk, ses(lab.url), entry(1, ReplacementEmailContent=empty))
        assert results[0]["Status"] == "SUCCESS"
        await lab.reporter.settled()
        [event] = [json.loads(json.loads(one.body)["Message"]) for one in ear.heard]
        assert event["eventType"] == "Rendering Failure"


async def test_a_forged_report_does_not_verify_and_a_stale_one_says_so() -> None:
    async with ProviderLab() as lab, an_ear() as (ear, url):
        await lab.report("ses", url, confirm=False)
        await called(bulk, ses(lab.url), entry(1))
        lab.fail("ses", wrong_signature=True, times=1)
        lab.fail("ses", stale=7200, duplicates=1, times=1)
        await lab.fire(lab.accepted()[0], "Delivery")
        await lab.fire(lab.accepted()[0], "Delivery")
        forged, stale, again = ear.heard
        with pytest.raises(InvalidSignature):
            verified(lab, forged)
        assert stale.body == again.body
        told, original = verified(lab, stale), json.loads(forged.body)
        assert told["Timestamp"] < original["Timestamp"]

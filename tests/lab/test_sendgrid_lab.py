"""SendGrid in the lab takes a call whole or not at all, and its reports verify with SendGrid's library."""

import json
from typing import Any

import pytest
from python_http_client.exceptions import BadRequestsError, ForbiddenError, HTTPError, UnauthorizedError
from sendgrid.helpers.eventwebhook import EventWebhook
from sendgrid.helpers.mail import Mail

from lab.app import ProviderLab
from lab.http_server import Answer, Asked
from tests.lab.clients import an_ear, called, sendgrid
from tests.lab.shapes import differences, fixture

SENDGRID = fixture("sendgrid")


def person(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "to": [{"email": f"p{number}@example.test"}],
        "custom_args": {"campanile_message": f"m{number}"},
        "substitutions": {"-v1-": f"N{number}"},
        "headers": {"List-Unsubscribe": f"<https://shop.example/u/{number}>"},
        **changes,
    }


def body(*people: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "personalizations": list(people),
        "from": {"email": "news@shop.example", "name": "Shop"},
        "subject": "Hi -v1-",
        "content": [{"type": "text/plain", "value": "-v1-"}, {"type": "text/html", "value": "<p>-v1-</p>"}],
        "categories": ["c1"],
        **changes,
    }


def send(lab: ProviderLab, asked: Any, key: str = "SG.lab") -> Any:
    """Blocks."""
    return sendgrid(lab.url, key).client.mail.send.post(request_body=asked)


async def test_a_call_is_kept_as_each_recipient_would_get_it() -> None:
    async with ProviderLab() as lab:
        answer = await called(send, lab, body(person(1), person(2)))
        assert (answer.status_code, answer.body) == (202, b"")
        first, second = lab.accepted("sendgrid")
        assert first.id.startswith(answer.headers["X-Message-Id"])
        assert (second.own, second.recipient) == ("m2", "p2@example.test")
        content = lab.content(second)
        assert (content["subject"], content["html"], content["text"]) == ("Hi N2", "<p>N2</p>", "N2")
        assert content["headers"] == {"List-Unsubscribe": "<https://shop.example/u/2>"}


async def test_the_librarys_own_mail_goes_through() -> None:
    async with ProviderLab() as lab:
        to = ["p1@example.test", "p2@example.test"]
        mail = Mail("news@shop.example", to, "Hi", "Hello", "<p>Hello</p>", is_multiple=True)
        await called(sendgrid(lab.url).send, mail)
        assert {one.recipient for one in lab.accepted()} == set(to)


async def test_a_sandboxed_call_is_valid_and_nothing_is_accepted() -> None:
    async with ProviderLab() as lab:
        answer = await called(send, lab, body(person(1), mail_settings={"sandbox_mode": {"enable": True}}))
        assert (answer.status_code, lab.accepted()) == (200, [])


async def test_keys_have_scopes() -> None:
    async with ProviderLab() as lab:
        answer = await called(sendgrid(lab.url).client.scopes.get)
        assert differences(answer.to_dict, SENDGRID["scopes"]) == []
        with pytest.raises(UnauthorizedError) as unknown:
            await called(send, lab, body(person(1)), "SG.nobody")
        assert differences(unknown.value.to_dict, SENDGRID["unauthorized"]) == []
        with pytest.raises(ForbiddenError) as reader:
            await called(send, lab, body(person(1)), "SG.reader")
        assert differences(reader.value.to_dict, SENDGRID["forbidden"]) == []


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (body(), "personalizations"),
        (body(*(person(n) for n in range(1001))), "personalizations"),
        (body(person(1), person(1)), "personalizations.1"),
        (body(person(1, to=[{"email": "nobody"}])), "personalizations.0.to.0.email"),
        (body(person(1, to=[])), "personalizations.0.to"),
        (body(person(1, headers={"Subject": "x"})), "personalizations.0.headers.Subject"),
        (body(person(1), headers={"x-sg-id": "x"}), "headers.x-sg-id"),
        (body(person(1, substitutions={"-v1-": "x" * 10_001})), "personalizations.0.substitutions"),
        (body(person(1, custom_args={"a": "x" * 10_000})), "personalizations.0.custom_args"),
        (body(person(1), **{"from": {}}), "from.email"),
        (body(person(1), subject=""), "subject"),
        (body(person(1), content=[]), "content"),
        (body(person(1), content=[{"type": "text/html", "value": ""}]), "content.0.value"),
        (body(person(1), content=body()["content"][::-1]), "content"),
        (body(person(1), categories=["a", "a"]), "categories"),
        (body(person(1), send_at=9_999_999_999), "send_at"),
    ],
)
async def test_what_breaks_a_rule_is_refused_whole_and_named(asked: dict[str, Any], field: str) -> None:
    async with ProviderLab() as lab:
        with pytest.raises(BadRequestsError) as caught:
            await called(send, lab, asked)
        assert differences(caught.value.to_dict, SENDGRID["errors"]) == []
        assert caught.value.to_dict["errors"][0]["field"] == field
        assert lab.accepted() == []


async def test_faults_name_one_personalization_or_answer_for_the_whole() -> None:
    async with ProviderLab() as lab:
        lab.fail("sendgrid", partial=1.0, recipient="p2@*", times=1)
        lab.fail("sendgrid", status=429, headers={"X-RateLimit-Reset": "7"}, times=1)
        lab.fail("sendgrid", status=500, keep=True, times=1)
        with pytest.raises(BadRequestsError) as one:
            await called(send, lab, body(person(1), person(2)))
        assert one.value.to_dict["errors"][0]["field"] == "personalizations.1.to"
        with pytest.raises(HTTPError) as busy:
            await called(send, lab, body(person(1)))
        assert (busy.value.status_code, busy.value.headers["X-RateLimit-Reset"]) == (429, "7")
        assert lab.accepted() == []
        with pytest.raises(HTTPError):
            await called(send, lab, body(person(1)))
        assert len(lab.accepted()) == 1


def verified(lab: ProviderLab, asked: Asked) -> bool:
    """By SendGrid's own library."""
    prefix = "x-twilio-email-event-webhook-"
    signature, timestamp = asked.headers[f"{prefix}signature"], asked.headers[f"{prefix}timestamp"]
    check = EventWebhook(lab.reporter.keys.sendgrid_public)
    return bool(check.verify_signature(asked.body.decode(), signature, timestamp))


async def test_reports_come_in_signed_batches() -> None:
    async with ProviderLab() as lab, an_ear() as (ear, url):
        await lab.report("sendgrid", url, plan={"delivered": 1.0}, batch=4)
        await called(send, lab, body(person(1), person(2), person(3)))
        await lab.reporter.settled()
        assert [verified(lab, asked) for asked in ear.heard] == [True, True]
        events = [event for asked in ear.heard for event in json.loads(asked.body)]
        assert [(one["event"], one["campanile_message"]) for one in events] == [
            ("processed", "m1"), ("delivered", "m1"), ("processed", "m2"), ("delivered", "m2"),
            ("processed", "m3"), ("delivered", "m3"),
        ]  # fmt: skip


@pytest.mark.parametrize("event", SENDGRID["events"])
async def test_every_event_is_as_documented(event: str) -> None:
    async with ProviderLab() as lab:
        await called(send, lab, body(person(1)))
        outcomes = ("bounce", "blocked") if event == "bounce" else (event,)
        for outcome in outcomes:
            [posting] = lab.postings(lab.accepted()[0], outcome)
            last = json.loads(posting.body)[-1]
            assert last["event"] == event
            assert differences(last, SENDGRID["common"] | SENDGRID["events"][event]) == []


async def test_webhooks_can_be_forged_doubled_and_out_of_order() -> None:
    async with ProviderLab() as lab, an_ear() as (ear, url):
        await lab.report("sendgrid", url, batch=1)
        await called(send, lab, body(*(person(n) for n in range(6))))
        lab.fail("sendgrid", wrong_signature=True, times=1)
        await lab.fire(lab.accepted()[0], "bounce")
        assert not any(verified(lab, asked) for asked in ear.heard)

        ear.heard.clear()
        lab.fail("sendgrid", duplicates=1, disorder=True, times=1)
        for one in lab.accepted():
            lab.reporter.tell(one, "delivered")
        await lab.reporter.settled()
        assert len(ear.heard) == 24
        assert len({asked.body for asked in ear.heard}) == 12
        told = [json.loads(asked.body)[0] for asked in ear.heard]
        order = [(one["campanile_message"], one["event"]) for one in told]
        assert order != sorted(order)


async def test_a_webhook_is_tried_again_until_it_is_answered() -> None:
    async with ProviderLab() as lab, an_ear() as (ear, url):
        ear.reply = lambda asked: Answer(503 if len(ear.heard) == 1 else 200)
        await lab.report("sendgrid", url)
        await called(send, lab, body(person(1)))
        await lab.fire(lab.accepted()[0], "bounce")
        assert len(ear.heard) == 2
        assert lab.reporter.answers == {"200": 1}

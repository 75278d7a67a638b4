"""Twilio in the lab answers its own client, and signs so that its own validator agrees."""

from typing import Any
from urllib.parse import parse_qsl

import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.request_validator import RequestValidator

from lab.app import ProviderLab
from lab.http_server import Asked
from lab.twilio import segments
from tests.lab.clients import ACCOUNT, an_ear, ask, called, twilio
from tests.lab.shapes import differences, fixture

TWILIO = fixture("twilio")
US, THEM = "+15550000001", "+15551234567"
MESSAGES = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"


def create(lab: ProviderLab, **changes: Any) -> Any:
    """Blocks."""
    return twilio(lab.url).messages.create(**{"to": THEM, "from_": US, "body": "Hello", **changes})


def validated(asked: Asked, url: str) -> dict[str, str]:
    """The form, checked by Twilio's own library."""
    form = dict(parse_qsl(asked.body.decode(), keep_blank_values=True))
    assert RequestValidator("lab-twilio").validate(url, form, asked.headers["x-twilio-signature"])
    return form


async def test_a_message_is_created_listed_and_fetched() -> None:
    async with ProviderLab() as lab:
        made = await called(create, lab, status_callback="https://shop.example/hook?message=m1")
        client = twilio(lab.url)
        assert [one.sid for one in await called(client.messages.list, to=THEM)] == [made.sid]
        assert (await called(client.messages(made.sid).fetch)).status == "queued"
        [one] = lab.accepted("twilio")
        assert (one.id, one.own, one.recipient) == (made.sid, "m1", THEM)
        assert lab.content(one)["Body"] == "Hello"


async def test_a_message_is_as_documented() -> None:
    async with ProviderLab() as lab:
        form = {"To": THEM, "From": US, "Body": "Hello"}
        answer = await ask("POST", f"{lab.url}{MESSAGES}", data=form, auth=(ACCOUNT, "lab-twilio"))
        assert answer.status_code == 201
        assert differences(answer.json(), TWILIO["message"]) == []


async def test_the_account_can_be_looked_at_only_with_its_token() -> None:
    async with ProviderLab() as lab:
        assert (await called(twilio(lab.url).api.accounts(ACCOUNT).fetch)).status == "active"
        with pytest.raises(TwilioRestException) as caught:
            await called(twilio(lab.url, "wrong").api.accounts(ACCOUNT).fetch)
        assert (caught.value.status, caught.value.code) == (401, 20003)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"to": "12345"}, 21211),
        ({"to": ""}, 21604),
        ({"from_": ""}, 21603),
        ({"body": ""}, 21602),
        ({"body": "x" * 1601}, 21617),
        ({"status_callback": "hook"}, 21609),
    ],
)
async def test_what_breaks_a_rule_is_refused_with_its_code(changes: dict[str, str], code: int) -> None:
    async with ProviderLab() as lab:
        with pytest.raises(TwilioRestException) as caught:
            await called(create, lab, **changes)
        assert (caught.value.status, caught.value.code) == (400, code)
        assert lab.accepted() == []


async def test_faults_answer_with_a_code() -> None:
    async with ProviderLab() as lab:
        lab.fail("twilio", code=21610, times=1)
        lab.fail("twilio", status=429, times=1)
        for status, code in ((400, 21610), (429, 20429)):
            with pytest.raises(TwilioRestException) as caught:
                await called(create, lab)
            assert (caught.value.status, caught.value.code) == (status, code)
        lab.fail("twilio", code=21614, times=1)
        form = {"To": THEM, "From": US, "Body": "Hello"}
        answer = await ask("POST", f"{lab.url}{MESSAGES}", data=form, auth=(ACCOUNT, "lab-twilio"))
        assert differences(answer.json(), TWILIO["error"]) == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("ж" * 70, 1),
        ("ж" * 71, 2),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
        ("ж" * 134, 2),
        ("ж" * 135, 3),
    ],
)
def test_segments_are_counted_as_gsm_03_38_says(text: str, parts: int) -> None:
    assert segments(text) == parts


@pytest.mark.parametrize(
    ("outcome", "statuses", "code"),
    [
        ("delivered", ["sent", "delivered"], None),
        ("undelivered:30003", ["sent", "undelivered"], "30003"),
        ("failed:30007", ["failed"], "30007"),
        ("read", ["sent", "delivered", "read"], None),
    ],
)
async def test_callbacks_go_where_the_message_said(
    outcome: str, statuses: list[str], code: str | None
) -> None:
    async with ProviderLab() as lab, an_ear() as (ear, url):
        public = "https://shop.example/hook?message=m1"
        await lab.report("twilio", plan={outcome: 1.0}, send_to=url.removesuffix("/hook"))
        made = await called(create, lab, status_callback=public)
        await lab.reporter.settled()
        forms = [validated(asked, public) for asked in ear.heard]
        assert [differences(form, TWILIO["callback"]) for form in forms] == [[]] * len(statuses)
        assert [form["MessageStatus"] for form in forms] == statuses
        assert forms[-1].get("ErrorCode") == code
        assert [asked.query for asked in ear.heard] == [{"message": "m1"}] * len(statuses)
        assert (await called(twilio(lab.url).messages(made.sid).fetch)).status == statuses[-1]


async def test_who_writes_stop_is_opted_out_until_start() -> None:
    async with ProviderLab() as lab, an_ear() as (ear, url):
        await lab.report("twilio", url)

        async def write(text: str, **more: str) -> dict[str, str]:
            told = {"provider": "twilio", "from": THEM, "to": US, "text": text, **more}
            assert (await ask("POST", f"{lab.url}/lab/inbound", json=told)).status_code == 200
            return validated(ear.heard[-1], url)

        form = await write(" Stop ")
        assert differences(form, TWILIO["inbound"]) == []
        assert "OptOutType" not in form
        with pytest.raises(TwilioRestException, match="unsubscribed") as caught:
            await called(create, lab)
        assert caught.value.code == 21610
        assert (await write("START", service="MG1"))["OptOutType"] == "START"
        await called(create, lab)
        assert (await write("Is it blue?"))["Body"] == "Is it blue?"


async def test_a_forged_callback_does_not_validate() -> None:
    async with ProviderLab() as lab, an_ear() as (ear, url):
        await lab.report("twilio", url)
        await called(create, lab, status_callback=url)
        lab.fail("twilio", wrong_signature=True, times=1)
        await lab.fire(lab.accepted()[0], "failed")
        with pytest.raises(AssertionError):
            validated(ear.heard[0], url)

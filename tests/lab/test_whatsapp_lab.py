"""WhatsApp in the lab knows its templates and its 24 hours, and signs what it reports."""

import hashlib
import hmac
import json
from typing import Any

import httpx2
import pytest

from lab.app import ProviderLab
from lab.http_server import Answer, Asked
from lab.news import Unanswered
from tests.lab.clients import Ear, an_ear, ask
from tests.lab.shapes import differences, fixture

WHATSAPP = fixture("whatsapp")
PHONE = "106540352242922"
THEM = "15551234567"


def template(name: str = "order_update", *parameters: str) -> dict[str, Any]:
    given = [{"type": "text", "text": one} for one in parameters]
    return {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": THEM,
        "type": "template",
        "template": {
            "name": name,
            "language": {"code": "en_US"},
            "components": [{"type": "body", "parameters": given}],
        },
        "biz_opaque_callback_data": "m1",
    }


TEXT = {"messaging_product": "whatsapp", "to": THEM, "type": "text", "text": {"body": "Hello"}}


async def send(lab: ProviderLab, body: Any, token: str = "lab-whatsapp") -> httpx2.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return await ask("POST", f"{lab.url}/v26.0/{PHONE}/messages", json=body, headers=headers)


async def test_a_template_is_kept_with_its_parameters() -> None:
    async with ProviderLab() as lab:
        answer = await send(lab, template("order_update", "Ada", "7"))
        assert answer.status_code == 200
        assert differences(answer.json(), WHATSAPP["accepted"]) == []
        [one] = lab.accepted("whatsapp")
        assert (one.id, one.own, one.recipient) == (answer.json()["messages"][0]["id"], "m1", THEM)
        assert lab.content(one)["template"]["components"][0]["parameters"][1]["text"] == "7"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (template("unknown"), 404, 132001),
        (template("order_update", "Ada"), 400, 132000),
        (template("order_update", "Ada", ""), 400, 131008),
        ({**TEXT, "to": "nobody"}, 400, 100),
        ({**TEXT, "text": {}}, 400, 100),
        ({**TEXT, "messaging_product": "other"}, 400, 100),
        ({**TEXT, "type": "dance"}, 400, 100),
    ],
)
async def test_what_breaks_a_rule_is_refused_with_its_code(body: Any, status: int, code: int) -> None:
    async with ProviderLab() as lab:
        answer = await send(lab, body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert differences(answer.json(), WHATSAPP["error"]) == []
        assert lab.accepted() == []


async def test_a_stranger_hears_190() -> None:
    async with ProviderLab() as lab:
        answer = await send(lab, TEXT, "stranger")
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, 190)


@pytest.mark.parametrize(
    ("code", "status"), [(131056, 429), (131026, 400), (190, 401), (131016, 503), (131050, 400), (200, 403)]
)
async def test_faults_answer_with_a_code(code: int, status: int) -> None:
    async with ProviderLab() as lab:
        lab.fail("whatsapp", code=code, times=1)
        answer = await send(lab, template("hello_world"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def challenge(asked: Asked) -> Answer:
    if asked.query.get("hub.verify_token") == "lab-verify":
        return Answer(200, asked.query["hub.challenge"].encode())
    return Answer(403 if asked.method == "GET" else 200)


def statuses(ear: Ear) -> list[dict[str, Any]]:
    """What was told, each body checked as Meta says."""
    found = []
    for asked in ear.heard:
        if asked.method == "POST":
            digest = hmac.new(b"lab-app-secret", asked.body, hashlib.sha256).hexdigest()
            assert asked.headers["x-hub-signature-256"] == f"sha256={digest}"
            body = json.loads(asked.body)
            assert differences(body, WHATSAPP["webhook"]) == []
            found += body["entry"][0]["changes"][0]["value"].get("statuses", [])
    return found


async def test_an_address_must_know_the_token() -> None:
    async with ProviderLab() as lab, an_ear() as (ear, url):
        with pytest.raises(Unanswered, match="another text"):
            await lab.report("whatsapp", url)
        told = {"provider": "whatsapp", "url": url}
        assert (await ask("POST", f"{lab.url}/lab/webhooks", json=told)).status_code == 400
        ear.reply = challenge
        assert (await ask("POST", f"{lab.url}/lab/webhooks", json=told)).status_code == 201


async def test_statuses_are_signed_and_carry_our_id() -> None:
    async with ProviderLab() as lab, an_ear() as (ear, url):
        ear.reply = challenge
        await lab.report("whatsapp", url, plan={"read": 1.0})
        await send(lab, template("hello_world"))
        await lab.reporter.settled()
        assert [one["status"] for one in statuses(ear)] == ["sent", "delivered", "read"]
        assert {one["biz_opaque_callback_data"] for one in statuses(ear)} == {"m1"}
        await lab.fire(lab.accepted()[0], "unsubscribe")
        assert statuses(ear)[-1]["errors"][0]["code"] == 131050


async def test_words_of_our_own_are_for_24_hours_after_the_person_wrote() -> None:
    async with ProviderLab() as lab, an_ear() as (ear, url):
        ear.reply = challenge
        await lab.report("whatsapp", url, plan={"delivered": 1.0})
        assert (await send(lab, TEXT)).status_code == 200
        await lab.reporter.settled()
        assert statuses(ear)[-1]["errors"][0]["code"] == 131047

        told = {"provider": "whatsapp", "from": THEM, "to": PHONE, "text": "Hello?"}
        await ask("POST", f"{lab.url}/lab/inbound", json=told)
        change = json.loads(ear.heard[-1].body)["entry"][0]["changes"][0]["value"]
        assert change["messages"][0]["text"] == {"body": "Hello?"}
        await send(lab, TEXT)
        await lab.reporter.settled()
        assert statuses(ear)[-1]["status"] == "delivered"


async def test_a_phone_number_can_be_looked_at() -> None:
    async with ProviderLab() as lab:
        headers = {"Authorization": "Bearer lab-whatsapp"}
        answer = await ask("GET", f"{lab.url}/v26.0/{PHONE}", headers=headers)
        assert answer.json()["id"] == PHONE
        assert (await ask("GET", f"{lab.url}/other/{PHONE}", headers=headers)).status_code == 404

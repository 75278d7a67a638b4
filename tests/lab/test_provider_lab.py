"""What all providers of the lab share: faults, the record, a process that can be killed; and small ones."""

import asyncio
import json
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from standardwebhooks.webhooks import Webhook

from lab.app import ProviderLab
from tests.lab.clients import an_ear, ask

SECRET = "whsec_Q2FtcGFuaWxlIHByb3ZpZGVyIGxhYidzIHJlY2VpdmU="


async def mixmax(url: str, to: str = "anna@example.test", token: str = "lab-mixmax") -> httpx2.Response:
    message = {"to": to, "subject": "Hi", "html": "<p>Hi</p>"}
    headers = {"X-API-Token": token}
    return await ask("POST", f"{url}/v1/send/", json={"message": message}, headers=headers)


async def test_mixmax_takes_a_mail_for_each_recipient() -> None:
    async with ProviderLab() as lab:
        assert (await mixmax(lab.url, "anna@example.test, bo@example.test")).status_code == 200
        assert [one.recipient for one in lab.accepted("mixmax")] == ["anna@example.test", "bo@example.test"]
        assert lab.content(lab.accepted()[1])["subject"] == "Hi"
        assert (await mixmax(lab.url, token="wrong")).status_code == 401
        assert (await mixmax(lab.url, "nobody")).status_code == 400
        lab.fail("mixmax", status=429, times=1)
        assert (await mixmax(lab.url)).headers["retry-after"] == "1"


async def test_a_receiver_keeps_what_is_signed() -> None:
    async with ProviderLab() as lab:
        now, body = datetime.now(UTC), '{"hello": "Zoë"}'
        url = f"{lab.url}/receiver/shop"
        headers = {
            "webhook-id": "m1",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(SECRET).sign("m1", now, body),
        }
        assert (await ask("POST", url, content=body, headers=headers)).status_code == 204
        assert (await ask("POST", url, content=f"{body} ", headers=headers)).status_code == 401
        assert (await ask("POST", f"{lab.url}/receiver/nobody", content=body)).status_code == 404
        [one] = lab.accepted("webhook")
        assert (one.own, one.recipient, lab.content(one)["body"]) == ("m1", url, body)


async def test_faults_come_and_go_over_http() -> None:
    async with ProviderLab() as lab:
        faults = f"{lab.url}/lab/faults"
        wrong = await ask("POST", faults, json={"provider": "mixmax", "statos": 500})
        assert wrong.status_code == 422
        await ask("POST", faults, json={"provider": "mixmax", "status": 503, "after": 1, "times": 1})
        assert [(await mixmax(lab.url)).status_code for _ in range(3)] == [200, 503, 200]
        assert [one["struck"] for one in (await ask("GET", faults)).json()] == [1]
        await ask("POST", faults, json={"status": 418, "body": {"tea": True}, "headers": {"X-Tea": "green"}})
        answer = await mixmax(lab.url)
        assert (answer.status_code, answer.json(), answer.headers["x-tea"]) == (418, {"tea": True}, "green")
        await ask("DELETE", faults)
        assert (await mixmax(lab.url)).status_code == 200


async def test_a_fault_may_be_for_some_recipients() -> None:
    async with ProviderLab() as lab:
        lab.fail("mixmax", status=500, recipient="*@gone.test")
        assert (await mixmax(lab.url)).status_code == 200
        assert (await mixmax(lab.url, "bo@gone.test")).status_code == 500


async def test_a_hang_and_a_slow_answer_are_what_they_say() -> None:
    async with ProviderLab() as lab:
        lab.fail("mixmax", hang=True, keep=True, times=1)
        lab.fail("mixmax", latency=0.3, times=1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(mixmax(lab.url), 0.3)
        assert len(lab.accepted()) == 1
        begun = time.monotonic()
        assert (await mixmax(lab.url)).status_code == 200
        assert time.monotonic() - begun > 0.25


async def test_what_was_accepted_is_counted_and_shown_over_http() -> None:
    async with ProviderLab() as lab:
        for to in ("anna@example.test", "bo@example.test"):
            await mixmax(lab.url, to)
        lab.fail(status=500)
        await mixmax(lab.url)

        async def accepted(query: str) -> dict[str, Any]:
            found = (await ask("GET", f"{lab.url}/lab/accepted?{query}")).json()
            assert isinstance(found, dict)
            return found

        assert await accepted("limit=0") == {
            "accepted": {"mixmax": 2}, "calls": {"mixmax": 3}, "offered": {"mixmax": 3}, "rows": [],
        }  # fmt: skip
        [row] = (await accepted("recipient=bo@example.test&content=true"))["rows"]
        assert row["content"]["subject"] == "Hi"
        assert (await accepted("provider=ses"))["rows"] == []
        await ask("DELETE", f"{lab.url}/lab")
        assert (await accepted(""))["accepted"] == {}
        assert (await mixmax(lab.url)).status_code == 200


async def test_others_may_be_let_in() -> None:
    async with ProviderLab() as lab:
        await ask("POST", f"{lab.url}/lab/accounts", json={"provider": "mixmax", "secret": "new"})
        assert (await mixmax(lab.url, token="new")).status_code == 200
        await ask("POST", f"{lab.url}/lab/templates", json={"name": "sale", "parameters": 1})
        assert lab.desk.templates["sale", "en_US"] == 1


@pytest.mark.parametrize(
    ("path", "asked", "status", "named"),
    [
        ("accounts", {"provider": "seznam", "id": "1", "secret": "x"}, 400, "provider"),
        ("accounts", {"provider": "push", "id": "1", "secret": "x"}, 400, "provider"),
        ("accounts", {"provider": "ses", "id": "1"}, 400, "secret"),
        ("fire", {"provider": "mixmax", "event": "delivered"}, 400, "provider"),
        ("fire", {"provider": "ses", "event": "delivred"}, 400, "delivered"),
        ("fire", {"provider": "sendgrid", "event": "delivered"}, 409, "/lab/webhooks"),
        ("webhooks", {"provider": "sendgrid", "url": "http://x.test", "plan": {"lost": 1}}, 400, "bounce"),
    ],
)
async def test_what_the_lab_does_not_know_is_refused_in_words(
    path: str, asked: dict[str, Any], status: int, named: str
) -> None:
    async with ProviderLab() as lab:
        answer = await ask("POST", f"{lab.url}/lab/{path}", json=asked)

    assert answer.status_code == status
    assert named in answer.json()["detail"]


async def test_what_an_unconfirmed_subscription_would_report_is_refused_at_once() -> None:
    async with ProviderLab() as lab, an_ear() as (_, url):
        await lab.report("ses", url)
        answer = await ask("POST", f"{lab.url}/lab/fire", json={"provider": "ses", "event": "Delivery"})

    assert answer.status_code == 409
    assert "SubscribeURL" in answer.json()["detail"]


async def test_a_plan_shares_out_what_becomes_of_messages() -> None:
    async with ProviderLab() as lab, an_ear() as (ear, url):
        told = {"provider": "sendgrid", "url": url, "plan": {"delivered": 0.5, "bounce": 0.2}}
        assert (await ask("POST", f"{lab.url}/lab/webhooks", json=told)).status_code == 201
        people = [{"to": [{"email": f"p{n}@example.test"}]} for n in range(1000)]
        body = {
            "personalizations": people, "from": {"email": "a@b.test"}, "subject": "Hi",
            "content": [{"type": "text/plain", "value": "Hi"}],
        }  # fmt: skip
        headers = {"Authorization": "Bearer SG.lab"}
        await ask("POST", f"{lab.url}/v3/mail/send", json=body, headers=headers)
        await lab.reporter.settled()
        events = [event["event"] for asked in ear.heard for event in json.loads(asked.body)]
        assert 400 < events.count("delivered") < 600
        assert 130 < events.count("bounce") < 270
        ear.heard.clear()
        fired = {"provider": "sendgrid", "event": "spamreport", "recipient": "p7@example.test"}
        assert (await ask("POST", f"{lab.url}/lab/fire", json=fired)).json() == {"messages": 1}
        assert json.loads(ear.heard[0].body)[0]["email"] == "p7@example.test"


async def test_as_a_process_it_can_be_killed_and_read_and_goes_on(tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    for round_ in (1, 2):
        command = [sys.executable, "-m", "lab.app", "--keep", str(kept)]
        lost = ["--fault", '{"provider": "mixmax", "lost_reply": true, "after": 1}']
        lab = await asyncio.create_subprocess_exec(*command, *lost, stdout=asyncio.subprocess.PIPE)
        assert lab.stdout
        url = f"http://127.0.0.1:{json.loads(await lab.stdout.readline())['port']}"
        await mixmax(url, f"heard{round_}@example.test")
        with pytest.raises(httpx2.HTTPError):
            await mixmax(url, f"lost{round_}@example.test")
        lab.send_signal(signal.SIGKILL if round_ == 1 else signal.SIGTERM)
        assert await asyncio.wait_for(lab.wait(), 10) == (-signal.SIGKILL if round_ == 1 else 0)
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    expected = ["heard1", "lost1", "heard2", "lost2"]
    assert [one["recipient"].partition("@")[0] for one in lines] == expected
    async with ProviderLab(keep=kept) as again:
        assert again.desk.record.accepted["mixmax"] == 4


async def test_a_port_in_use_is_said_in_a_sentence() -> None:
    async with ProviderLab() as first:
        port = first.url.rpartition(":")[2]
        command = [sys.executable, "-m", "lab.app", "--port", port]
        second = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        _, said = await asyncio.wait_for(second.communicate(), 20)
    assert second.returncode == 1
    assert said.decode().splitlines() == [
        f"lab: it can't listen on 127.0.0.1:{port} (Address already in use): give another --port"
    ]


async def test_a_fast_lab_keeps_counts_alone() -> None:
    async with ProviderLab(fast=True) as lab:
        await mixmax(lab.url)
        assert (lab.desk.record.accepted["mixmax"], lab.accepted()) == (1, [])


async def test_the_server_keeps_connections_and_reads_chunks() -> None:
    async with ProviderLab() as lab, httpx2.AsyncClient(base_url=lab.url) as client:

        async def chunks() -> Any:
            yield b'{"provider": "mixmax", '
            yield b'"secret": "chunked"}'

        for _ in range(3):
            assert (await client.post("/lab/accounts", content=chunks())).status_code == 204
        assert len(lab.server.talks) == 1
        assert "chunked" in lab.desk.accounts.mixmax
        assert (await client.get("/nothing")).status_code == 404


SENDGRID = {"Authorization": "Bearer SG.lab"}
WHATSAPP = {"Authorization": "Bearer lab-whatsapp"}


@pytest.mark.parametrize(
    ("path", "headers", "body"),
    [
        ("/v3/mail/send", SENDGRID, ["x"]),
        ("/v3/mail/send", SENDGRID, {"personalizations": ["x"], "from": {"email": "a@b.test"}}),
        ("/v3/mail/send", SENDGRID, {"personalizations": [{"to": "x"}], "from": {"email": "a@b.test"}}),
        ("/v26.0/106540352242922/messages", WHATSAPP, {"messaging_product": "whatsapp", "to": 1}),
        (
            "/v26.0/106540352242922/messages",
            WHATSAPP,
            {"messaging_product": "whatsapp", "to": "15551234567", "type": "template", "template": "x"},
        ),
        ("/v1/send/", {"X-API-Token": "lab-mixmax"}, {"message": ["x"]}),
    ],
)
async def test_nonsense_is_the_clients_fault(path: str, headers: dict[str, str], body: Any) -> None:
    async with ProviderLab() as lab:
        assert (await ask("POST", f"{lab.url}{path}", json=body, headers=headers)).status_code == 400

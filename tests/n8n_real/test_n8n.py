"""The real n8n, end to end: it is told, it acts, and it calls back."""

import math
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import httpx2

from domain.integrations import WORKFLOWS
from tests.n8n_real.site import LONG, Site
from tests.support import eventually

ALERTS = "alerts@campanile.example"


async def test_it_is_looked_after_and_all_our_workflows_are_published(site: Site) -> None:
    shown = site.get("/integrations/n8n")

    assert (shown["reachable"], shown["version"]) == (True, "2.30.8")
    assert {each["name"]: each["state"] for each in shown["workflows"]} == dict.fromkeys(
        WORKFLOWS, "published"
    )


async def test_a_message_that_fails_is_noted_by_n8n_and_somebody_is_mailed(site: Site) -> None:
    await site.may_send()

    sent = site.post(
        "/messages",
        {
            "channel": "email",
            "to": {"email": "ada@refused.example"},
            "body": {"subject": "Hello", "html": "<p>Hello.</p>"},
        },
    )

    async def alerted() -> bool:
        return bool(site.mails(to=ALERTS))

    await eventually(alerted, within=LONG, every=0.2, what="the alert")
    [alert] = site.mails(to=ALERTS)
    assert alert["subject"] == "Campanile: 1 failed (message, address)"
    assert "550 5.1.1 There is nobody of that name here" in alert["text"]
    logged = site.get("/failure-logs")["items"]
    by_us = [each for each in logged if each["subject"] == "message"]
    by_n8n = [each for each in logged if each["subject"] == "outside"]
    assert [each["subject_id"] for each in by_us] == [sent["id"]]
    assert [each["detail"]["alert_id"] for each in by_n8n] == [by_us[0]["alert_id"]]
    [told] = [each for each in site.get("/integrations/n8n")["told"] if each["event_type"] == "job.failed"]
    assert (told["delivery"], told["status"]) == ("delivered", 200)


async def test_what_is_not_signed_by_the_webhook_is_refused(site: Site) -> None:
    forged = {"webhook-id": "x", "webhook-timestamp": str(int(datetime.now(UTC).timestamp()))}
    for path in ("campanile-job-failed", "campanile-enrich"):
        answer = httpx2.post(
            f"{site.address['N8N_URL']}/webhook/{path}",
            headers=forged | {"webhook-signature": "v1,AAAA"},
            json={"type": "job.failed", "data": {}},
            trust_env=False,
            timeout=60,
        )
        assert answer.status_code == 401, path


def a_zone_at_ten() -> str:
    """A time zone in which it is about ten in the morning, so that today has hours to come."""
    ahead = math.floor(10 - datetime.now(UTC).hour)
    ahead = ahead + 24 if ahead < -12 else ahead
    return "Etc/GMT" if ahead == 0 else f"Etc/GMT{-ahead:+d}"  # Their signs are the other way round.


async def test_the_daily_campaigns_executed_once_start_exactly_todays(site: Site) -> None:
    await site.may_send()
    site.ask("PATCH", "/workspace", json={"time_zone": a_zone_at_ten()})
    site.post("/profiles", {"email": "grace@example.com", "consents": {"email": "granted"}})
    segment = site.post("/segments", {"name": "Everybody", "rule": {"all": []}})["id"]
    template = site.post("/templates", {"name": "Letter", "subject": "Hello", "html": "<p>Hello</p>"})["id"]
    today = site_today(site)
    named = {}
    for name, day, starter in (
        ("Today", today, "n8n"),
        ("Today by Campanile", today, "campanile"),
        ("Tomorrow", today + timedelta(days=1), "n8n"),
        ("Never", None, None),
    ):
        made = site.post("/campaigns", {"name": name, "segment_id": segment, "template_id": template})
        named[name] = made["id"]
        if day:
            when = {"at": f"{day:%Y-%m-%d}T22:00", "starter": starter}
            site.post(f"/campaigns/{made['id']}/schedule", when)

    site.executed("campanile-daily-campaigns")

    async def completed() -> bool:
        return bool(site.get(f"/campaigns/{named['Today']}")["state"] == "completed")

    await eventually(completed, within=LONG, every=0.2, what="the end of today's campaign")
    states = {name: site.get(f"/campaigns/{id_}")["state"] for name, id_ in named.items()}
    assert states == {
        "Today": "completed",
        "Today by Campanile": "scheduled",
        "Tomorrow": "scheduled",
        "Never": "draft",
    }
    [told] = site.mails(to=ALERTS, subject="started today")
    assert told["subject"] == "Campanile: 1 campaign(s) started today, 0 not"
    assert "Today: started" in told["text"]


def site_today(site: Site) -> date:
    return datetime.now(ZoneInfo(site.get("/workspace")["time_zone"])).date()


async def test_the_weekly_report_is_mailed(site: Site) -> None:
    site.executed("campanile-weekly-report")

    [report] = site.mails(to=ALERTS, subject="the week until")
    assert "The last seven days" in report["text"]


async def test_a_form_makes_a_profile(site: Site) -> None:
    answer = httpx2.post(
        f"{site.address['N8N_URL']}/webhook/campanile-lead",
        data={"email": "Lead@Example.com", "first_name": "Lee", "consent": "yes"},
        trust_env=False,
        timeout=60,
    )

    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    [lead] = site.get("/profiles", email="lead@example.com")["items"]
    found = site.get(f"/profiles/{lead['id']}")
    assert (found["attributes"]["first_name"], found["consents"]["email"]) == ("Lee", "granted")


OURS = {"campanileApi": {"id": "campanile-node", "name": "Campanile"}}


def a_workflow(id_: str, *nodes: dict[str, Any]) -> dict[str, Any]:
    """One whose nodes follow each other."""
    names = [node["name"] for node in nodes]
    return {
        "id": id_,
        "name": id_,
        "nodes": [{"id": node["name"], "position": [0, 0], "typeVersion": 1, **node} for node in nodes],
        "connections": {
            one: {"main": [[{"node": next_, "type": "main", "index": 0}]]} for one, next_ in pairwise(names)
        },
        "settings": {"executionOrder": "v1"},
        "active": False,
    }


async def test_an_action_of_our_node_works(site: Site) -> None:
    by_hand = {"name": "By hand", "type": "n8n-nodes-base.manualTrigger", "parameters": {}}
    ours = {
        "name": "Campanile",
        "type": "CUSTOM.campanile",
        "parameters": {"resource": "profile", "operation": "upsert", "email": "node@example.com"},
        "credentials": OURS,
    }
    site.bring(a_workflow("our-node", by_hand, ours))

    site.executed("our-node")

    [found] = site.get("/profiles", email="node@example.com")["items"]
    assert found["email"] == "node@example.com"


async def test_our_trigger_subscribes_hears_what_happens_and_unsubscribes(site: Site) -> None:
    trigger = {
        "name": "Campanile Trigger",
        "type": "CUSTOM.campanileTrigger",
        "parameters": {"listenTo": "some", "eventTypes": ["profile.created"]},
        "credentials": OURS,
        "webhookId": "our-trigger",
    }
    nothing = {"name": "Nothing", "type": "n8n-nodes-base.noOp", "parameters": {}}
    site.bring(a_workflow("our-trigger", trigger, nothing))
    before = {each["id"] for each in site.get("/webhooks")["items"]}

    site.n8n_asked("POST", "/workflows/our-trigger/activate")
    [subscribed] = [each for each in site.get("/webhooks")["items"] if each["id"] not in before]
    site.post("/profiles", {"email": "heard@example.com"})

    async def heard() -> bool:
        return site.executions("our-trigger") == ["success"]

    await eventually(heard, within=LONG, every=0.2, what="an execution by our trigger")
    site.n8n_asked("POST", "/workflows/our-trigger/deactivate")
    assert subscribed["event_types"] == ["profile.created"]
    assert {each["id"] for each in site.get("/webhooks")["items"]} == before

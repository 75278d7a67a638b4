"""The whole main job as a program of a user's does it: by HTTP alone, against the real processes."""

import asyncio
import csv
import email
import email.policy
import io
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from httpx2 import AsyncClient, TransportError

from dev.namespace import prepare
from dev.places import ROOT
from dev.process import Process, free_port
from lab.smtp_server import Mail, SmtpServer
from tests.databases import Database
from tests.support import OWNER_OF_ALL, eventually

KEY = OWNER_OF_ALL.key
ORDERS = ROOT / "samples" / "cdnow_orders.csv"
QUIET_SINCE = date(1998, 1, 1)

RULE = {
    "all": [
        {"kind": "orders", "measure": "total", "op": ">=", "value": "100"},
        {"kind": "orders", "measure": "count", "op": ">=", "value": 2},
        {"not": {"kind": "orders", "measure": "last", "op": "on or after", "value": "1998-01-01"}},
    ]
}
LETTER = {
    "name": "We miss you",
    "subject": "{{ first_name }}, we kept something for you",
    "preheader": "It is round and plays music",
    "html": "<p>Dear {{ first_name }},</p>"
    '<p><a href="https://records.example/new?for={{ customer_id | default: 0 }}">New records</a> are in.</p>',
}


@dataclass
class Mailbox:
    """What arrived, as a reader's program sees it."""

    mails: list[tuple[str, EmailMessage]] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)  # While it is not, the sender has to wait.

    async def take(self, mail: Mail) -> str:
        await self.open.wait()
        parsed = email.message_from_bytes(mail.content, policy=email.policy.default)
        assert isinstance(parsed, EmailMessage)
        self.mails += [(recipient, parsed) for recipient in mail.recipients]
        return "250 2.0.0 Kept"

    def of(self, subject: str) -> dict[str, EmailMessage]:
        """The mails whose subject contains this, by recipient; nobody has two."""
        found = [(to, mail) for to, mail in self.mails if subject in mail["Subject"]]
        assert len(found) == len(dict(found)), "somebody got the same mail twice"
        return dict(found)


def html_of(mail: EmailMessage) -> str:
    part = mail.get_body(("html",))
    assert part is not None
    return str(part.get_content())


def pixel_of(mail: EmailMessage) -> str:
    return str(re.findall(r'src="([^"]*/o/[^"]*)"', html_of(mail))[0])


def link_of(mail: EmailMessage) -> str:
    return str(re.findall(r'href="([^"]*/c/[^"]*)"', html_of(mail))[0])


def way_out_of(mail: EmailMessage) -> str:
    return str(mail["List-Unsubscribe"]).strip("<> ")


@dataclass
class Shop:
    """The API with its worker and mailbox, and how long to wait for it."""

    api: AsyncClient
    mailbox: Mailbox

    async def post(self, path: str, body: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        return await self._answer(await self.api.post(path, json=body, **more))

    async def get(self, path: str, **more: Any) -> dict[str, Any]:
        return await self._answer(await self.api.get(path, **more))

    async def until(
        self, path: str, holds: Callable[[dict[str, Any]], bool], within: float = 60, **more: Any
    ) -> dict[str, Any]:
        """What is at `path` once it is as wished; it has `within` seconds."""
        found: dict[str, Any] = {}

        async def there() -> bool:
            nonlocal found
            found = await self.get(path, **more)
            return holds(found)

        await eventually(there, within, every=0.1, what=f"what was wished of {path}")
        return found

    async def _answer(self, response: Any) -> dict[str, Any]:
        assert response.is_success, response.text
        body = response.json()
        assert isinstance(body, dict)
        return body


@pytest.fixture
async def shop(database: Database, temporal_address: str, tmp_path: Path) -> AsyncIterator[Shop]:
    port = free_port()
    namespace = f"main-job-{port}"  # What its worker schedules disturbs no other test.
    await prepare(temporal_address, namespace)
    at = f"http://127.0.0.1:{port}"
    mailbox = Mailbox()
    mailbox.open.set()
    async with AsyncExitStack() as running:
        server = await running.enter_async_context(SmtpServer(mailbox.take))
        environment = {
            "DATABASE_URL": database.url,
            "ENGINE_DATABASE_URL": database.engine_url,
            "TEMPORAL_ADDRESS": temporal_address,
            "TEMPORAL_NAMESPACE": namespace,
            "SMTP_URL": f"smtp://127.0.0.1:{server.port}",
            "PUBLIC_URL": at,
            "SIGNING_KEY": "a-key-for-signing-in-this-test",
        }
        granian = [sys.executable, "-m", "granian", "--interface", "asgi", "--factory", "--loop", "uvloop"]
        for name, command in {
            "api": [*granian, "--host", "127.0.0.1", "--port", str(port), "api.app:create_app"],
            "worker": [sys.executable, "-m", "cli", "worker"],
        }.items():
            process = Process(
                name, command, log=tmp_path / f"{name}.log", environment=environment, folder=ROOT
            )
            process.start()
            running.callback(process.stop)
        api = await running.enter_async_context(
            AsyncClient(base_url=f"{at}/api/v1", headers={"Authorization": f"Bearer {KEY}"}, timeout=60)
        )
        await eventually(lambda: is_ready(api, at), within=60, what="a stack that is ready")
        yield Shop(api, mailbox)


async def is_ready(api: AsyncClient, at: str) -> bool:
    with suppress(TransportError):
        return (await api.get(f"{at}/ready")).is_success
    return False


def customers() -> tuple[str, set[str]]:
    """The customers of the sample as CSV, with names and consents made up, and who is in the segment."""
    total: dict[str, Decimal] = {}
    count: dict[str, int] = {}
    last: dict[str, date] = {}
    with ORDERS.open() as file:
        for row in csv.DictReader(file):
            who = row["customer_id"]
            total[who] = total.get(who, Decimal(0)) + Decimal(row["total_usd"])
            count[who] = count.get(who, 0) + 1
            last[who] = max(last.get(who, date.min), date.fromisoformat(row["ordered_on"]))
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["customer_id", "email", "first_name", "consent_email", "consent_tracking"])
    for who in total:
        writer.writerow([who, address(who), f"Customer {who}", "granted", "granted"])
    wanted = {
        address(who) for who in total if total[who] >= 100 and count[who] >= 2 and last[who] < QUIET_SINCE
    }
    return out.getvalue(), wanted


def address(customer: str) -> str:
    return f"customer-{customer}@example.com"


async def imported(shop: Shop, kind: str, content: bytes) -> dict[str, Any]:
    """Upload a file and wait until it is in."""
    begun = await shop.post(
        "/imports", data={"kind": kind}, files={"file": (f"{kind}.csv", content, "text/csv")}
    )
    done = await shop.until(f"/imports/{begun['id']}", lambda it: it["state"] in ("completed", "failed"))
    assert done["state"] == "completed", done
    return done


async def test_the_main_job_by_http_alone(shop: Shop) -> None:
    wanted = await people_and_orders_come_in(shop)
    segment = await a_segment_picks_some(shop, wanted)
    at = await a_campaign_is_written(shop, segment)
    await somebody_looks_at_it_first(shop, at, min(wanted))
    mails = await it_reaches_everybody_once(shop, at, wanted)
    leaver = await readers_open_click_and_one_leaves(shop, at, mails)
    await a_flow_tells_clickers_from_others(shop, segment, wanted, leaver)
    await every_message_can_be_explained(shop, at, wanted, leaver)


async def people_and_orders_come_in(shop: Shop) -> set[str]:
    """By files, and again without changing anything. Answers who ought to be in the segment."""
    people, wanted = customers()
    assert (await imported(shop, "customers", people.encode()))["imported"] == 2357
    assert (await imported(shop, "orders", ORDERS.read_bytes()))["imported"] == 6919
    assert (await imported(shop, "orders", ORDERS.read_bytes()))["unchanged"] == 6919
    return wanted


async def a_segment_picks_some(shop: Shop, wanted: set[str]) -> str:
    estimate = await shop.post("/segments/estimate", {"rule": RULE})
    assert (estimate["count"], estimate["exact"]) == (len(wanted), True)
    made = await shop.post("/segments", {"name": "Good customers who went quiet", "rule": RULE})
    return str(made["id"])


async def a_campaign_is_written(shop: Shop, segment: str) -> str:
    """It needs a sender, and says so. Answers where it is."""
    template = await shop.post("/templates", LETTER)
    body = {"name": "We miss you", "segment_id": segment, "template_id": template["id"]}
    at = f"/campaigns/{(await shop.post('/campaigns', body))['id']}"
    refused = await shop.api.post(f"{at}/start")
    assert refused.status_code == 422
    assert "sender_email" in refused.json()["detail"]
    sender = {"sender_email": "ada@records.example", "postal_address": "1 Groove Street, Springfield"}
    assert (await shop.api.patch("/workspace", json=sender)).is_success
    refused = await shop.api.post(f"{at}/start")
    assert "Verify ada@records.example first" in refused.json()["detail"]
    await the_sender_says_yes(shop)
    return at


async def the_sender_says_yes(shop: Shop) -> None:
    """As somebody who reads the mail that asks them."""

    async def asked() -> bool:
        return bool(shop.mailbox.of("send from this address"))

    await eventually(asked, within=30, what="the mail that asks the sender")
    mail = shop.mailbox.of("send from this address")["ada@records.example"]
    shop.mailbox.mails.clear()
    page, _, token = re.findall(r'href="([^"]*/accounts/sender[^"]*)"', html_of(mail))[0].partition("?token=")
    assert (await shop.api.post(page, data={"token": token})).is_success


async def somebody_looks_at_it_first(shop: Shop, at: str, one: str) -> None:
    """On the screen and in a mailbox."""
    preview = await shop.get(f"{at}/preview", params={"profile": one})
    assert preview["missing"] == []
    assert preview["subject"].startswith("Customer ")
    await shop.post(f"{at}/test", {"addresses": ["ada@records.example"], "profile": one})
    tests = {"class": "test", "state": "accepted"}
    await shop.until(f"{at}/messages", lambda it: it["items"] != [], params=tests)
    [mail] = shop.mailbox.of(preview["subject"]).values()
    assert "1 Groove Street" in html_of(mail)
    shop.mailbox.mails.clear()


async def it_reaches_everybody_once(shop: Shop, at: str, wanted: set[str]) -> dict[str, EmailMessage]:
    """However often it is started, and the books balance."""
    await shop.post(f"{at}/start")
    await shop.api.post(f"{at}/start")
    await shop.until(at, lambda it: it["state"] == "completed")
    stats = await shop.get(f"{at}/stats")
    assert (stats["total"], stats["accepted"], stats["unknown"]) == (len(wanted), len(wanted), 0)
    mails = shop.mailbox.of("kept something")
    assert set(mails) == wanted
    return mails


async def readers_open_click_and_one_leaves(shop: Shop, at: str, mails: dict[str, EmailMessage]) -> str:
    """Leaving takes a POST. Answers who left."""
    readers = sorted(mails)
    for who in readers[:10]:
        assert (await shop.api.get(pixel_of(mails[who]))).headers["content-type"].startswith("image/")
    for who in readers[:4]:
        away = await shop.api.get(link_of(mails[who]), follow_redirects=False)
        assert away.headers["location"].startswith("https://records.example/new?for=")
    leaver = readers[-1]
    page = await shop.api.get(way_out_of(mails[leaver]))
    assert page.headers["content-type"].startswith("text/html")
    assert (await shop.get(f"{at}/stats"))["unsubscribed"] == 0
    await shop.api.post(way_out_of(mails[leaver]), data={"List-Unsubscribe": "One-Click"})
    stats = await shop.until(f"{at}/stats", lambda it: it["unsubscribed"] == 1)
    assert stats["opened"] >= 10
    assert stats["clicked"] == 4
    return leaver


async def a_flow_tells_clickers_from_others(shop: Shop, segment: str, wanted: set[str], leaver: str) -> None:
    """A message, a wait, and one of two messages. Who left gets nothing more."""
    flow = await shop.post("/flows", {"name": "Come back", "definition": await a_journey(shop, segment)})
    there = f"/flows/{flow['id']}"
    assert (await shop.post(f"{there}/publish"))["version"] == 1
    await shop.until(f"{there}/stats", lambda it: accepted(it, "first") == len(wanted) - 1)
    assert (await shop.post(f"{there}/pause"))["state"] == "paused"  # So that nobody is late with a click.
    first = shop.mailbox.of("Chapter one")
    clickers = set(sorted(first)[:7])
    for who in clickers:
        await shop.api.get(link_of(first[who]), follow_redirects=False)
    assert (await shop.post(f"{there}/resume"))["state"] == "live"
    done = await shop.until(f"{there}/stats", lambda it: it["finished"] == len(wanted))
    assert (done["entered"], done["under_way"]) == (len(wanted), 0)
    assert set(shop.mailbox.of("Thank you")) == clickers
    assert set(shop.mailbox.of("Last call")) == wanted - clickers - {leaver}


async def every_message_can_be_explained(shop: Shop, at: str, wanted: set[str], leaver: str) -> None:
    [profile] = (await shop.get("/profiles", params={"email": leaver}))["items"]
    assert profile["consents"]["email"] == "denied"
    told = (await shop.get(f"/profiles/{profile['id']}/messages"))["items"]
    assert [line["state"] for line in told] == ["skipped", "skipped", "accepted"]
    assert all(line["reason"] for line in told[:2])
    lines = await shop.api.get(f"{at}/messages", headers={"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(lines.text)))
    assert {row["address"] for row in rows} == wanted
    assert {row["state"] for row in rows} == {"accepted"}


async def test_a_campaign_is_paused_resumed_and_cancelled_by_http(shop: Shop) -> None:
    people, _ = customers()
    await imported(shop, "customers", people.encode())
    everybody = await shop.post("/segments", {"name": "Everybody", "rule": {"all": []}})
    at = await a_campaign_is_written(shop, everybody["id"])
    shop.mailbox.open.clear()

    await shop.post(f"{at}/start")
    await shop.until(f"{at}/stats", lambda it: it["sending"] > 0)
    assert (await shop.post(f"{at}/pause"))["state"] == "paused"
    shop.mailbox.open.set()
    still = await shop.until(f"{at}/stats", lambda it: it["sending"] == it["claimed"] == 0)
    assert still["queued"] > 0
    assert (await shop.post(f"{at}/resume"))["state"] == "running"
    shop.mailbox.open.clear()
    await shop.until(f"{at}/stats", lambda it: it["sending"] > 0)
    shop.mailbox.open.set()
    cancelled = await shop.post(f"{at}/cancel")

    stats = await shop.until(f"{at}/stats", lambda it: it["finished_at"] is not None)
    assert stats["state"] == cancelled["state"] == "cancelled"
    assert stats["skipped_by_reason"] == {"cancelled": cancelled["not_sent"]}
    assert stats["accepted"] + cancelled["not_sent"] == stats["total"] == 2357
    assert len(shop.mailbox.of("kept something")) == stats["accepted"]


async def a_journey(shop: Shop, segment: str) -> dict[str, Any]:
    letters = {}
    for name, subject in {"first": "Chapter one", "thanks": "Thank you", "last": "Last call"}.items():
        html = '<p>Hello {{ first_name }}. <a href="https://records.example/more">More</a></p>'
        made = await shop.post("/templates", {"name": subject, "subject": subject, "html": html})
        letters[name] = {"kind": "send", "template_id": made["id"]}
    clicked = {"kind": "message", "did": "clicked", "step": "first"}
    return {
        "trigger": {"kind": "segment", "segment_id": segment},
        "first": "first",
        "steps": {
            "first": letters["first"] | {"then": "a while"},
            "a while": {"kind": "wait", "duration": "PT4S", "then": "clicked?"},
            "clicked?": {"kind": "branch", "condition": clicked, "then": "thanks", "otherwise": "last"},
            "thanks": letters["thanks"],
            "last": letters["last"],
        },
    }


def accepted(stats: dict[str, Any], step: str) -> int:
    """How many of a step's messages were accepted."""
    [found] = [each for each in stats["steps"] if each["step"] == step]
    return int((found["messages"] or {}).get("accepted", 0))

"""The demo's story: people and what they do come in, a segment picks some, a campaign and a flow reach them.

The campaign goes by two providers, of which the first gives up half-way.

All of it by HTTP, as a user's own program would do it; only what the last run left is removed behind the
API's back (`dev/forget.py`).
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx2

from dev.carriers import Carriers, breaker_in_words, in_words
from dev.importing import asked
from dev.process import StackError
from dev.readers import Readers
from dev.shop import Shop
from dev.shop import address as customer_address

PREFIX = "Demo: "
CARRIERS = f"{PREFIX}first provider", f"{PREFIX}second provider"
MESSAGES = 3  # To one person, at most: the campaign's and two of the flow's.
VISITOR = "4"  # The customer who comes back to the site.
PATIENCE = 180.0  # Seconds for any one part of the story.

_CONFIRM = re.compile(r"https?://\S+/accounts/sender\?token=[\w-]+")

Say = Callable[[str], None]
Json = dict[str, Any]

# At least 100 dollars in all, over at least two orders, and nothing since 1998-01-01 (that day included).
LAPSED: Json = {
    "all": [
        {"kind": "orders", "measure": "total", "op": ">=", "value": "100"},
        {"kind": "orders", "measure": "count", "op": ">=", "value": 2},
        {"not": {"kind": "orders", "measure": "last", "op": "on or after", "value": "1998-01-01"}},
    ]
}

LETTER = """<html><body style="font-family: sans-serif">
<h1>We kept your seat, {{ name | default: "friend" }}</h1>
<p>It has been quiet since your last record. This season's catalogue is out: the first listen is yours.</p>
<p><a href="https://shop.example.com/catalogue">Look inside the catalogue</a></p>
<p>Or start with <a href="https://shop.example.com/again/{{ customer }}">what you bought before</a>.</p>
</body></html>"""

NOTE = """<html><body style="font-family: sans-serif">
<p>Dear {{{{ name | default: "friend" }}}},</p><p>{said}</p>
<p><a href="https://shop.example.com/{path}">{link}</a></p></body></html>"""


@dataclass
class Summary:
    """What the story came to, in the shape that `--json` prints."""

    profiles: int = 0
    orders: int = 0
    visit: int = 0  # Events of one who came back to the site.
    segment: int = 0
    campaign: Json = field(default_factory=dict)
    # What each took and refused of the campaign, and what its breaker says at the end of the flow.
    providers: list[Json] = field(default_factory=list)
    mailbox: int = 0
    opened: int = 0
    clicked: int = 0
    flow: Json = field(default_factory=dict)
    # Who bought again during the demo, whether that took them out of the segment, and how soon.
    returned: Json = field(default_factory=dict)

    def as_json(self) -> Json:
        return asdict(self)


class Story:
    """Tells the story through the API `api`, with the `shop` and readers at the mailbox `mailbox_url`."""

    def __init__(self, api: httpx2.Client, shop: Shop, mailbox_url: str, say: Say) -> None:
        self.api, self.shop = api, shop
        self.mailbox = httpx2.Client(base_url=mailbox_url, timeout=30, trust_env=False)
        self.carriers = Carriers(api, self.mailbox, CARRIERS)
        self.readers = Readers(mailbox_url)
        self.say = say

    async def tell(self) -> Summary:
        """The whole story. Raises `StackError` with what went wrong."""
        try:
            with self.carriers.at_work():
                return await self._tell()
        finally:
            await self.readers.close()
            self.mailbox.close()

    async def _tell(self) -> Summary:
        done = Summary()
        self.mailbox.delete("/messages").raise_for_status()
        self.introduce()
        self.come_in(done)
        done.segment = self.post("/segments/estimate", {"rule": LAPSED})["count"]
        self.say(f"{done.profiles:,} customers, {done.orders:,} orders, {done.segment:,} of them lapsed")

        segment = self.post("/segments", {"name": f"{PREFIX}lapsed buyers", "rule": LAPSED})["id"]
        self.carriers.give_up_after(done.segment // 2)
        done.campaign, went = await self.run_campaign(segment)
        done.flow = await self.run_flow(segment)
        done.providers = [one | self.carriers.stands(one["provider"]) for one in went]
        self.say(
            "; ".join(f"breaker of {one['provider']}: {breaker_in_words(one)}" for one in done.providers)
        )
        done.opened, done.clicked = done.campaign.pop("opened"), done.campaign.pop("clicked")
        done.mailbox = self.mailbox.get("/messages", params={"limit": "1"}).json()["count"]
        done.returned = self.buy_again(segment)
        return done

    def come_in(self, done: Summary) -> None:
        """People, orders and a visit, and then all of them are worked in."""
        begun, shop = datetime.now(UTC), self.shop
        done.profiles, done.orders = shop.introduce_customers(), shop.tell_of_orders()
        shop.be_visited(VISITOR)
        for _ in waiting("what the shop sent"):
            if not asked(self.api.get("/api/v1/events/lag"))["waiting"]:
                break
        asked_for = {"since": begun.isoformat()}
        for one in asked(self.api.get("/api/v1/events/quarantine", params=asked_for))["items"]:
            raise StackError(f"something that the shop sent could not be worked in: {one['reason']}")
        done.visit = shop.seen(VISITOR, begun)
        self.say(f"customer {VISITOR} came back to the site, and has {done.visit:,} new events")

    def introduce(self) -> None:
        """A workspace that has no sender yet gets one, and its reader says that it may send."""
        workspace = asked(self.api.get("/api/v1/workspace"))
        if workspace["sender_verified"]:
            return
        if workspace["sender_email"] is None:
            sender = {
                "sender_name": "Campanile Records",
                "sender_email": "hello@records.example.com",
                "postal_address": "Campanile Records, 1 Bell Tower Road, 30124 Venice",
            }
            workspace = asked(self.api.patch("/api/v1/workspace", json=sender))
        else:
            known = self.get("/senders", limit=500)["items"]
            [its] = [each["id"] for each in known if each["email"] == workspace["sender_email"]]
            self.post(f"/senders/{its}/verify")
        self.say_yes(workspace["sender_email"])

    def say_yes(self, address: str) -> None:
        """Follow the link that was mailed there, and press the button of its page."""
        for _ in waiting("the mail that asks the sender"):
            mails = asked(self.mailbox.get("/messages", params={"to": address}))["messages"]
            for each in mails:
                mail = asked(self.mailbox.get(f"/messages/{each['id']}.json"))
                if link := _CONFIRM.search(mail["text"]):
                    page, _, token = link[0].partition("?token=")
                    self.api.post(page, data={"token": token}).raise_for_status()
                    self.mailbox.delete("/messages").raise_for_status()
                    self.say(f"{address} was mailed a link, followed it, and may send")
                    return

    async def run_campaign(self, segment: str) -> tuple[Json, list[Json]]:
        """A campaign to the segment, read by its readers.

        Returns what became of it, with seconds and reading, and what went by whom.
        """
        about = "your seat is kept"
        template = self.template("catalogue", f"{{{{ name | default: 'Friend' }}}}, {about}", LETTER)
        campaign = self.post(
            "/campaigns", {"name": f"{PREFIX}we miss you", "segment_id": segment, "template_id": template}
        )
        self.post(f"/campaigns/{campaign['id']}/start")
        for _ in waiting("the campaign"):
            stats = asked(self.api.get(f"/api/v1/campaigns/{campaign['id']}/stats"))
            if stats["state"] in {"completed", "failed", "cancelled"}:
                break
        went = self.carriers.went()
        await self.readers.read()
        told = asked(self.api.get(f"/api/v1/campaigns/{campaign['id']}"))
        stats = asked(self.api.get(f"/api/v1/campaigns/{campaign['id']}/stats"))
        if told["state"] != "completed":
            raise StackError(f"the campaign is {told['state']}: {told['reason']}")
        self.say(
            f"campaign: {stats['accepted']:,} accepted, {stats['opened']:,} opened, "
            f"{stats['clicked']:,} clicked"
        )
        self.say("; ".join(f"by {one['provider']}: {in_words(one)}" for one in went))
        return {
            "queued": told["audience"],
            **{state: stats[state] for state in ("accepted", "failed", "skipped", "unknown")},
            "twice": self.doubles(about),
            "seconds": round(seconds_between(told["started_at"], told["finished_at"]), 2),
            **{did: stats[did] for did in ("opened", "clicked")},
        }, went

    def doubles(self, subject: str) -> int:
        """How many mails about it are in the mailbox beyond one for each recipient."""
        asked_for, got = {"subject": subject, "limit": "1000"}, list[str]()
        while True:
            page = asked(self.mailbox.get("/messages", params=asked_for))
            got += (to for mail in page["messages"] for to in mail["recipients"])
            if page["next"] is None:
                return len(got) - len(set(got))
            asked_for["before"] = str(page["next"])

    async def run_flow(self, segment: str) -> Json:
        """A message, a wait of a few seconds, and one of two messages by whether the first was clicked."""
        notes = {
            "hello": ("A playlist for you", "We made you a playlist.", "playlist", "Listen"),
            "thanks": ("Glad you liked it", "There is more where that came from.", "more", "More"),
            "reminder": ("Still here", "The playlist waits for you.", "playlist", "Listen"),
        }
        templates = {
            name: self.template(name, subject, NOTE.format(said=said, path=path, link=link))
            for name, (subject, said, path, link) in notes.items()
        }
        definition = {
            "trigger": {"kind": "segment", "segment_id": segment},
            "first": "hello",
            "steps": {
                "hello": {"kind": "send", "template_id": templates["hello"], "then": "pause"},
                "pause": {"kind": "wait", "duration": "PT4S", "then": "clicked?"},
                "clicked?": {
                    "kind": "branch",
                    "condition": {"kind": "message", "did": "clicked", "step": "hello"},
                    "then": "thanks",
                    "otherwise": "reminder",
                },
                "thanks": {"kind": "send", "template_id": templates["thanks"]},
                "reminder": {"kind": "send", "template_id": templates["reminder"]},
            },
        }
        flow = self.post("/flows", {"name": f"{PREFIX}playlist", "definition": definition})
        self.post(f"/flows/{flow['id']}/publish")
        for _ in waiting("the flow"):
            await self.readers.read(notes["hello"][0])
            stats = asked(self.api.get(f"/api/v1/flows/{flow['id']}/stats"))
            if stats["entered"] and not stats["under_way"]:
                break
        messages = {step["step"]: step["messages"] for step in stats["steps"] if step["messages"]}
        sent = {step: states["accepted"] for step, states in messages.items()}
        self.say(f"flow: {stats['finished']:,} finished; {sent['thanks']:,} had clicked")
        return {"entered": stats["entered"], "finished": stats["finished"], "messages": sum(sent.values())}

    def buy_again(self, segment: str) -> Json:
        """One of the lapsed buyers orders, and so is none any more: the segment is live."""
        for _ in waiting("finding the members of the segment"):
            before = self.get(f"/segments/{segment}")["members"]
            if before is not None:
                break
        [member] = self.get(f"/segments/{segment}/members", limit=1)["items"]
        customer, begun = member["user_id"], time.monotonic()
        self.shop.sell(customer)
        path = f"/segments/{segment}/members"
        for _ in waiting("the order that a lapsed buyer placed"):
            if not self.get(path, q=customer_address(customer))["items"]:
                break
        seconds = round(time.monotonic() - begun, 2)
        after = self.get(f"/segments/{segment}")["members"]
        self.say(
            f"customer {customer} bought again, and {seconds:.2f} s later was no lapsed buyer any more: "
            f"{before:,} became {after:,}"
        )
        return {"customer": customer, "before": before, "after": after, "seconds": seconds}

    def get(self, path: str, **asked_for: Any) -> Json:
        return asked(self.api.get(f"/api/v1{path}", params=asked_for))

    def template(self, name: str, subject: str, html: str) -> str:
        made = self.post("/templates", {"name": f"{PREFIX}{name}", "subject": subject, "html": html})
        return str(made["id"])

    def post(self, path: str, body: Json | None = None) -> Json:
        return asked(self.api.post(f"/api/v1{path}", json=body))


def in_the_way(workspace: Json, routes: Sequence[Json] = ()) -> str | None:
    """A sentence about a setting with which the story can't be told, and how to change it.

    `routes` are those by which marketing mail would go beside the demo's own.
    """
    if routes:
        names = ", ".join(sorted({each["provider"] for each in routes}))
        change = ", ".join(f"DELETE /api/v1/routes/{each['id']}" for each in routes)
        return f"the demo can't run while marketing mail goes by {names}, and its own would, too: {change}"
    if workspace["currency"] != "USD":
        what, change = f"currency is {workspace['currency']} and its orders are in USD", '{"currency": "USD"}'
    elif any(cap["limit"] < MESSAGES for cap in workspace["caps"]):
        what, change = f"caps allow fewer messages than the {MESSAGES} that it sends", '{"caps": []}'
    elif workspace["quiet_hours"]:
        what, change = "quiet_hours would hold its messages back", '{"quiet_hours": null}'
    else:
        return None
    return f"the demo can't run while the workspace's {what}: PATCH /api/v1/workspace with {change}"


def waiting(what: str) -> Iterator[None]:
    """Ask again and again, with pauses. Raises `StackError` when it takes too long."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        yield
        time.sleep(0.15)
    raise StackError(
        f"{what} did not end within {PATIENCE:.0f} seconds; its log is in .campanile/logs/worker.log"
    )


def seconds_between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()

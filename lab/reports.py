"""What the lab reports of the messages it took: which events, when, and how they reach a webhook."""

import asyncio
import heapq
import logging
import ssl
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import urlsplit, urlunsplit

import httpx2
from pydantic import BaseModel, ConfigDict

from lab.http_faults import HttpFault, Where
from lab.keys import Keys
from lab.record import Accepted
from lab.ses import RenderingFailure

if TYPE_CHECKING:
    from lab.desk import Desk

logger = logging.getLogger(__name__)

LANES = 8  # Webhooks under way at once; those of one message follow each other.
AT_ONCE = 5000  # Events.


class Hook(BaseModel):
    """Where a provider reports, and what becomes of the messages that it accepts from now on."""

    model_config = ConfigDict(extra="forbid")

    provider: Literal["ses", "sendgrid", "twilio", "whatsapp"]
    url: str = ""  # Twilio: for what people write; a message's own StatusCallback says the rest.
    send_to: str | None = None  # Such as http://127.0.0.1:8000: there the request goes, signed for `url`.
    plan: dict[str, float] = {}  # Shares of messages: {"delivered": 0.9, "bounce:Transient/General": 0.1}.
    delay: float = 0  # Seconds from acceptance to the reports.
    batch: int = 1000  # Events in one request, where the provider collects them.
    attempts: int = 5  # How often a request is made until it is answered with 2xx.
    signature_version: Literal["1", "2"] = "2"  # SES: SHA1 or SHA256.
    confirm: bool = True  # SES: report only once the subscription is confirmed.
    topic: str = "arn:aws:sns:eu-west-1:123456789012:lab"  # SES.
    app_secret: str = Keys.app_secret  # WhatsApp.
    verify_token: str = Keys.verify_token  # WhatsApp.


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a message."""

    name: str  # In the provider's words.
    detail: str  # What follows a colon in a plan: a bounce's type, an error's code.
    message: Accepted
    at: float  # Unix time.


@dataclass(frozen=True, slots=True)
class Posting:
    """A webhook's request."""

    url: str
    headers: dict[str, str]
    body: bytes
    lane: int = 0


@dataclass(frozen=True, slots=True)
class Twist:
    """What is wrong with the signatures."""

    keys: Keys
    stale: float = 0  # Seconds.
    forged: bool = False


class Newsroom(Protocol):
    """What each provider's module of reports has."""

    STORIES: dict[str, list[str]]  # What a plan may say, and the events that it consists of.
    OTHERS: frozenset[str]  # Events of the provider that are in no story.

    def postings(self, lab: "Desk", hook: Hook, events: Sequence[Event], twist: Twist) -> list[Posting]: ...


@dataclass(order=True, slots=True)
class Due:
    at: float
    number: int
    event: Event = field(compare=False)


@cache
def _authorities() -> ssl.SSLContext:
    """To read them takes longer than all else that a lab does to begin."""
    return httpx2.create_ssl_context()


class Reporter:
    """Reports until it is closed; runs in a task of its own."""

    def __init__(self, lab: "Desk", newsrooms: dict[str, Any]) -> None:
        self.lab = lab
        self.newsrooms: dict[str, Newsroom] = newsrooms
        self.keys, self.forger = Keys(), Keys()
        self.numbers = count()
        self.wake, self.idle = asyncio.Event(), asyncio.Event()
        self.forget()

    def forget(self) -> None:
        self.hooks: dict[str, Hook] = {}
        self.unconfirmed: dict[str, str] = {}  # SES: the token that confirms, by provider.
        self.due: dict[str, list[Due]] = {}  # A heap for each provider.
        self.idle.set()
        self.answers: Counter[str] = Counter()  # Requests by how they were answered at last.
        self.lab.record.listeners[:] = []

    async def __aenter__(self) -> "Reporter":
        limits = httpx2.Limits(max_connections=LANES * 4)
        self.client = httpx2.AsyncClient(timeout=30, limits=limits, verify=_authorities())
        self.task = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.client.aclose()

    def listen(self, hook: Hook) -> None:
        self.hooks[hook.provider] = hook
        if self.planned not in self.lab.record.listeners:
            self.lab.record.listeners.append(self.planned)
        self.wake.set()

    def planned(self, lines: list[Accepted]) -> None:
        """What becomes of these, as the plan has it."""
        for one in lines:
            if (hook := self.hooks.get(one.provider)) and hook.plan:
                outcome = self.fated(one) or self.drawn(hook.plan)
                if outcome:
                    self.tell(one, outcome, hook.delay)

    def drawn(self, plan: dict[str, float]) -> str | None:
        left = self.lab.dice.random()
        for outcome, share in plan.items():
            left -= share
            if left < 0:
                return outcome
        return None

    def fated(self, one: Accepted) -> str | None:
        """What must become of it, whatever the plan says."""
        if one.provider == "ses" and one.call.body:
            try:
                self.lab.record.content(one)
            except RenderingFailure as failure:
                return f"rendering_failure:{failure}"
        if one.provider == "whatsapp" and not self.lab.may_write_freely(one):
            return "failed:131047"
        return None

    def tell(self, message: Accepted, outcome: str, delay: float = 0) -> None:
        """Let this become of a message: a word of the provider's `STORIES`, or of the provider itself."""
        heap = self.due.setdefault(message.provider, [])
        for event in self.story(message, outcome, delay):
            heapq.heappush(heap, Due(event.at, next(self.numbers), event))
        self.idle.clear()
        self.wake.set()

    def story(self, message: Accepted, outcome: str, delay: float = 0) -> list[Event]:
        """The events that an outcome consists of."""
        name, _, detail = outcome.partition(":")
        stories = self.newsrooms[message.provider].STORIES
        words = (event.partition(":") for event in stories.get(name, [name]))
        when = time.time() + delay
        return [Event(word, detail or given, message, when) for word, _, given in words]

    def words(self, provider: str) -> set[str]:
        """What it may be told to report, in our words and in its own."""
        newsroom = self.newsrooms[provider]
        own = {event.partition(":")[0] for events in newsroom.STORIES.values() for event in events}
        return {*newsroom.STORIES, *own, *newsroom.OTHERS}

    async def settled(self, patience: float = 30) -> None:
        """Until nothing is left to report. Raises TimeoutError."""
        async with asyncio.timeout(patience):
            await self.idle.wait()

    async def run(self) -> None:
        while True:
            self.wake.clear()
            ready = self.ready()
            if ready:
                try:
                    await self.report(ready)
                except Exception:  # The next ones must be reported all the same.
                    logger.exception("Webhooks could not be written")
                continue
            if not any(self.due.values()):
                self.idle.set()
            soonest = min((heap[0].at for heap in self.open()), default=None)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.wake.wait(), soonest and max(0.0, soonest - time.time()))

    def open(self) -> list[list[Due]]:
        """What may be reported when it is due: of providers that have an address, confirmed if need be."""
        known = (heap for provider, heap in self.due.items() if provider in self.hooks and heap)
        return [heap for heap in known if heap[0].event.message.provider not in self.unconfirmed]

    def ready(self) -> list[Event]:
        found: list[Event] = []
        now = time.time()
        for heap in self.open():
            while heap and heap[0].at <= now and len(found) < AT_ONCE:
                found.append(heapq.heappop(heap).event)
        return found

    async def report(self, events: list[Event]) -> None:
        by_provider: dict[str, list[Event]] = {}
        for event in events:
            by_provider.setdefault(event.message.provider, []).append(event)
        await asyncio.gather(*(self.deliver(*pair) for pair in by_provider.items()))

    async def deliver(self, provider: str, events: list[Event]) -> None:
        addresses = [event.message.recipient for event in events]
        fault = self.lab.faults.strike(provider, Where.WEBHOOK, addresses)
        if fault and fault.disorder:
            self.lab.dice.shuffle(events)
        await self.send(self.hooks[provider], self.written(provider, events, fault), fault)

    def written(
        self, provider: str, events: Sequence[Event], fault: HttpFault | None = None
    ) -> list[Posting]:
        """The requests that report these."""
        hook = self.hooks.get(provider) or Hook.model_validate({"provider": provider})
        return self.newsrooms[provider].postings(self.lab, hook, events, self.twist(fault))

    def twist(self, fault: HttpFault | None) -> Twist:
        if fault is None:
            return Twist(self.keys)
        forged = fault.wrong_signature
        return Twist(self.forger if forged else self.keys, fault.stale, forged)

    async def send(self, hook: Hook, postings: list[Posting], fault: HttpFault | None = None) -> None:
        """Each as often as the fault says, those of one lane one after the other."""
        lanes: dict[int, list[Posting]] = {}
        for posting in postings:
            again = fault.duplicates if fault else 0
            lanes.setdefault(posting.lane % LANES, []).extend([posting] * (1 + again))
        if fault and fault.disorder:
            for lane in lanes.values():
                self.lab.dice.shuffle(lane)
        if fault and fault.latency:
            await asyncio.sleep(fault.latency)

        async def follow(lane: list[Posting]) -> None:
            for posting in lane:
                status = await self.post(hook, posting)
                self.answers[status] += 1

        await asyncio.gather(*map(follow, lanes.values()))

    async def post(self, hook: Hook, posting: Posting) -> str:
        """How it was answered at last: a status, or "lost"."""
        status = "lost"
        for attempt in range(hook.attempts):
            if attempt:
                await asyncio.sleep(0.1 * 2**attempt)
            try:
                answer = await self.client.post(
                    rerouted(posting.url, hook.send_to), content=posting.body, headers=posting.headers
                )
            except httpx2.HTTPError:
                continue
            status = str(answer.status_code)
            if answer.status_code != 429 and answer.status_code < 500:
                break
        return status


def rerouted(url: str, origin: str | None) -> str:
    if origin is None:
        return url
    to, parts = urlsplit(origin), urlsplit(url)
    return urlunsplit((to.scheme, to.netloc, parts.path, parts.query, ""))


def lane(message: Accepted) -> int:
    return hash(message.id) % LANES

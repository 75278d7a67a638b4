"""`campanile events tail`: what comes in, what was refused and what was put aside, as it happens.

It asks the API again and again, from a little before what it saw last, since who commits late has an older
id; what was shown once is not shown again.
"""

import asyncio
import json as to_json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
from rich.console import Console
from rich.text import Text

from dev.importing import asked
from settings import Settings

POLL = 1.0  # Seconds.
OVERLAP = timedelta(seconds=60)
MOST = 500  # Items of a page.
KEPT = 100_000  # Ids that are remembered.
STYLES = {"event": "green", "refused": "red", "quarantined": "yellow"}
# Where each kind of line comes from, and what says when it came.
FEEDS = {
    "event": ("/api/v1/events", "received_at"),
    "refused": ("/api/v1/events/refused", "at"),
    "quarantined": ("/api/v1/events/quarantine", "at"),
}

Item = dict[str, Any]


@dataclass
class Tail:
    """What was shown so far."""

    api: httpx2.AsyncClient
    since: datetime
    name: str | None = None
    seen: dict[str, None] = field(default_factory=dict)  # In the order in which they came.

    async def news(self) -> list[Item]:
        """What is new, the oldest first; `what` says of which kind each is."""
        found: list[tuple[str, Item]] = []
        for what, (path, time) in FEEDS.items():
            found += [
                (item[time], {"what": what, **item})
                for item in await self._feed(path)
                if item["id"] not in self.seen
            ]
        found.sort(key=lambda each: datetime.fromisoformat(each[0]))
        self.seen.update(dict.fromkeys(item["id"] for _, item in found))
        for old in [*self.seen][:-KEPT]:
            del self.seen[old]
        if found:
            self.since = max(self.since, datetime.fromisoformat(found[-1][0]) - OVERLAP)
        return [item for _, item in found]

    async def _feed(self, path: str) -> list[Item]:
        """All since then, page after page, as far back as something that was seen."""
        params = {"since": self.since.isoformat(), "limit": str(MOST)}
        if self.name is not None:
            params["name"] = self.name
        items: list[Item] = []
        while True:
            page = asked(await self.api.get(path, params=params))
            items += page["items"]
            known = all(item["id"] in self.seen for item in page["items"])
            if page["next_cursor"] is None or known:
                return items
            params["cursor"] = page["next_cursor"]


def line(item: Item) -> Text:
    """An item on one line: when, what became of it, what it is, who, and why."""
    at = datetime.fromisoformat(item.get("received_at") or item["at"]).astimezone()
    text = Text(f"{at:%H:%M:%S} ", style="dim")
    text.append(f"{item['what']:11} ", style=STYLES[item["what"]])
    text.append(f"{item.get('kind') or '-'} ", style="cyan")
    if item.get("name"):
        text.append(f"{_plain(item['name'])} ", style="bold")
    for part in _rest(item):
        text.append(f"{_plain(part)} ")
    text.rstrip()
    return text


def _rest(item: Item) -> Iterator[str]:
    match item["what"]:
        case "event":
            yield item["profile_id"]
            if item["historical"]:
                yield "(historical)"
            if item["properties"]:
                yield to_json.dumps(item["properties"], ensure_ascii=False)
        case "refused":
            if item["pointer"]:
                yield f"{item['pointer']}:"
            yield item["reason"]
            if item["stage"] != "request":
                yield "The rest of it was kept."
        case _:
            yield item["reason"]
            yield f"replay it as {item['id']}"


def _plain(text: str) -> str:
    """On one line, and nothing that a terminal would obey."""
    return "".join(each if each.isprintable() else "�" for each in text)


async def follow(api: httpx2.AsyncClient, name: str | None, console: Console, *, json: bool) -> None:
    """Print what comes in from now on, until stopped."""
    if console.is_terminal and not json:
        console.print("Waiting for what comes in. Ctrl-C ends it.", style="dim")
    tail = Tail(api, datetime.now(UTC) - timedelta(seconds=1), name)
    while True:
        for item in await tail.news():
            if json:
                sys.stdout.write(to_json.dumps(item) + "\n")
            else:
                console.print(line(item), soft_wrap=True)
        sys.stdout.flush()
        await asyncio.sleep(POLL)


def run(settings: Settings, name: str | None, *, json: bool) -> int:
    """Follow what comes in until Ctrl-C."""

    async def tail() -> None:
        async with httpx2.AsyncClient(
            base_url=settings.api_url,
            headers={"Authorization": f"Bearer {settings.api_key}"},
            timeout=httpx2.Timeout(60, connect=5),
            trust_env=False,
        ) as api:
            await follow(api, name, Console(highlight=False), json=json)

    asyncio.run(tail())
    return 0

"""People who read the mailbox: some open their mail, some of those click, through the real endpoints.

Who does what follows from the seed, the address and the subject alone, so a second run has the same readers.
"""

import asyncio
import random
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from httpx2 import AsyncClient, Limits
from selectolax.lexbor import LexborHTMLParser

from dev.process import StackError

_PIXEL = re.compile(r"https?://[^/]+/o/[\w-]+").fullmatch
_LINK = re.compile(r"https?://[^/]+/c/[\w-]+/\d+").fullmatch
AT_ONCE = 20  # Mails that are read at the same time.


@dataclass
class Readers:
    """Readers of the mails in the mailbox at `mailbox_url`. A mail is read once."""

    mailbox_url: str
    client: AsyncClient = field(
        default_factory=lambda: AsyncClient(timeout=30, limits=Limits(max_connections=AT_ONCE))
    )
    seed: int = 1
    opens: float = 0.6  # The share of mails that are opened.
    clicks: float = 0.4  # The share of opened mails in which a link is followed.
    opened: int = 0
    clicked: int = 0
    _seen: set[int] = field(default_factory=set)

    async def read(self, subject: str = "") -> int:
        """Read what came in since the last time and has these words in its subject. Returns how many mails.

        Raises `StackError` when an endpoint answers otherwise than a reader could expect.
        """
        new = [mail async for mail in self._list(subject) if mail not in self._seen]
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(mail: int) -> None:
            async with slots:
                await self._read(mail)

        async with asyncio.TaskGroup() as group:
            for mail in new:
                group.create_task(one(mail))
        return len(new)

    async def close(self) -> None:
        await self.client.aclose()

    async def _list(self, subject: str) -> AsyncIterator[int]:
        """The ids of the mails, the newest first."""
        asked = {"subject": subject, "limit": "1000"}
        while True:
            page = (await self.client.get(f"{self.mailbox_url}/messages", params=asked)).json()
            for line in page["messages"]:
                yield line["id"]
            if page["next"] is None:
                return
            asked["before"] = str(page["next"])

    async def _read(self, mail: int) -> None:
        self._seen.add(mail)
        found = (await self.client.get(f"{self.mailbox_url}/messages/{mail}.json")).json()
        mood = random.Random(f"{self.seed} {found['recipients']} {found['subject']}")
        pixels, links = traces(found["html"])
        if not pixels or mood.random() >= self.opens:
            return
        for pixel in pixels:
            await self._expect(pixel, 200)
        self.opened += 1
        if links and mood.random() < self.clicks:
            await self._expect(mood.choice(links), 302)  # Where it leads is somebody else's.
            self.clicked += 1

    async def _expect(self, url: str, status: int) -> None:
        answer = await self.client.get(url, follow_redirects=False)
        if answer.status_code != status:
            raise StackError(
                f"A reader's GET {url} was answered with {answer.status_code} instead of {status}."
            )


def traces(html: str) -> tuple[list[str], list[str]]:
    """The addresses of a mail's pixels and followed links. Both are empty when it isn't tracked."""
    page = LexborHTMLParser(html)
    pixels = [src for each in page.css("img") if _PIXEL(src := each.attributes.get("src") or "")]
    links = [href for each in page.css("a") if _LINK(href := each.attributes.get("href") or "")]
    return pixels, links

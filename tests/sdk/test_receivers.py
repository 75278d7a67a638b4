"""What we deliver is believed by receivers that are written with the official library, and nothing else is.

They are the ones that docs/webhooks.md shows.
"""

import os
import sys
from asyncio import StreamReader
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import orjson
import pytest
from httpx2 import AsyncClient

from activities.bell import Bell
from channels.signing import Signer
from dev.places import ROOT
from domain import catalogue
from domain.announcements import Announcement, AnnouncementType
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries.announcing import announce
from tests.sdk.conftest import needed
from tests.sdk.node import installed, npm
from tests.sending import ran
from tests.support import GivenClock
from tests.webhooks import OLD_SECRET, SECRET, a_deliverer, a_webhook, states

HERE = Path(__file__).parent / "receivers"
OTHER_SECRET = OLD_SECRET
TOLD = {
    **catalogue.example(AnnouncementType.MESSAGE_FAILED),
    "reason": "Grüße \U0001f514 \u2028 </script> 1e400",
}


@dataclass
class Running:
    """A receiver that listens, and what it says that it was told."""

    url: str
    said: StreamReader

    async def told(self) -> tuple[str, object]:
        type_, _, data = (await self.said.readline()).decode().partition(" ")
        return type_, orjson.loads(data)


@asynccontextmanager
async def receiving(*command: str) -> AsyncIterator[Running]:
    environment = {**os.environ, "WEBHOOK_SECRET": SECRET}
    program = await create_subprocess_exec(*command, stdout=PIPE, env=environment)
    assert program.stdout
    try:
        listening = (await program.stdout.readline()).decode()
        yield Running(f"http://127.0.0.1:{listening.split()[-1]}/", program.stdout)
    finally:
        program.kill()
        await program.wait()


def in_python() -> list[str]:
    return [sys.executable, str(HERE / "receiver.py")]


def in_javascript() -> list[str]:
    needed(npm(), "no npm: install Node.js 20 or newer")
    return ["node", str(installed(HERE) / "receiver.js")]


@pytest.fixture(params=[in_python, pytest.param(in_javascript, marks=pytest.mark.browser)])
async def receiver(request: pytest.FixtureRequest) -> AsyncIterator[Running]:
    async with receiving(*request.param()) as running:
        yield running


async def test_it_takes_what_we_deliver_and_nothing_that_is_not_ours(
    receiver: Running, sessions: Sessions, bell: Bell, clock: GivenClock
) -> None:
    webhook = await a_webhook(sessions, receiver.url, ["message.*"])
    failed = AnnouncementType.MESSAGE_FAILED
    async with sessions(DEFAULT_WORKSPACE) as db:
        await announce(db, DEFAULT_WORKSPACE, [Announcement(failed, TOLD)], clock.now())

    await ran(a_deliverer(sessions, bell, clock).deliver, DEFAULT_WORKSPACE)

    assert await states(sessions, webhook) == {"delivered": 1}
    assert await receiver.told() == (failed.value, TOLD)
    await it_believes_us_alone(receiver)


async def it_believes_us_alone(receiver: Running) -> None:
    now = datetime.now(UTC)
    body = Announcement(AnnouncementType.MESSAGE_FAILED, TOLD).body(now).encode()
    changed = body.replace(b"message.failed", b"message.opened")
    ours, others, both, swapped = (
        Signer(SECRET), Signer(OTHER_SECRET), Signer(SECRET, OTHER_SECRET), Signer(OTHER_SECRET, SECRET)
    )  # fmt: skip
    late, early = now - timedelta(minutes=6), now + timedelta(minutes=6)

    answers = []
    async with AsyncClient() as client:
        for signer, at, sent in (
            (ours, now, body),
            (both, now, body),  # While the secret is changed it may have either.
            (swapped, now, body),
            (others, now, body),
            (ours, late, body),
            (ours, early, body),
            (ours, now, changed),
        ):
            headers = signer.headers(str(uuid4()), body, at)
            answers.append((await client.post(receiver.url, content=sent, headers=headers)).status_code)
        unsigned = await client.post(receiver.url, content=body)

    assert answers == [204, 204, 204, 401, 401, 401, 401]
    assert unsigned.status_code == 401


def test_the_documentation_shows_these_receivers() -> None:
    said = (ROOT / "docs" / "webhooks.md").read_text()

    assert (HERE / "receiver.py").read_text() in said
    assert (HERE / "receiver.js").read_text() in said

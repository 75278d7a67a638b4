"""What tests of webhooks begin with: a receiver of Standard Webhooks, a webhook, something announced."""

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text
from standardwebhooks import Webhook as Verifier

from activities.bell import Bell
from activities.reports import Mails
from activities.slices import Timing
from activities.webhook_calls import Outside
from activities.webhook_ends import Delivered
from activities.webhooks import WebhookActivities
from channels.egress import EgressTransport
from domain.announcements import Announcement, AnnouncementType
from domain.clock import Clock
from domain.networks import networks_of
from domain.staging import Staging
from domain.workspaces import DEFAULT_WORKSPACE
from lab.http_server import Answer, Asked, HttpServer
from models.base import Sessions
from models.queries.announcing import announce
from tests.sending import PATIENT, SEALER, ran, some

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OLD_SECRET = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()


@dataclass
class Receiver:
    """Verifies whatever comes by the official library, and answers what it is told to."""

    answer: Callable[[Asked], Answer] = lambda asked: Answer(204)
    pause: float = 0  # Seconds before each answer.
    verifier: Verifier = field(default_factory=lambda: Verifier(SECRET))
    asked: list[Asked] = field(default_factory=list)
    taken: Counter[str] = field(default_factory=Counter)  # By webhook-id, what was answered with 2xx.
    said: dict[str, list[Any]] = field(default_factory=dict)  # Every body, by webhook-id.
    url: str = ""

    async def hear(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        name = asked.headers["webhook-id"]
        self.said.setdefault(name, []).append(self.verifier.verify(asked.body, asked.headers))
        await asyncio.sleep(self.pause)
        answer = self.answer(asked)
        if 200 <= answer.status < 300:
            self.taken[name] += 1
        return answer


@asynccontextmanager
async def receiving(receiver: Receiver | None = None) -> AsyncIterator[Receiver]:
    receiver = receiver or Receiver()
    async with HttpServer(receiver.hear) as server:
        receiver.url = f"{server.url}/hook"
        yield receiver


def here(seconds: float = 10) -> EgressTransport:
    """A guard that lets the tests' own servers through."""
    return EgressTransport(networks_of("127.0.0.0/8"), plain=True, seconds=seconds)


async def a_webhook(
    sessions: Sessions,
    url: str,
    types: Sequence[str] = ("*",),
    workspace: UUID = DEFAULT_WORKSPACE,
    **more: Any,
) -> UUID:
    """`more` are other columns of its row; an old secret is given in clear."""
    id_ = uuid4()
    values = {"secret": SECRET, **more}
    for name in {"secret", "old_secret"} & values.keys():
        values[name] = SEALER.seal(values[name], f"webhook:{id_}")
    columns = {
        "workspace_id": workspace,
        "id": id_,
        "name": "n8n",
        "url": url,
        "event_types": [*types],
        **values,
    }
    names = ", ".join(columns)
    async with sessions(workspace) as db:
        await db.execute(
            text(f"insert into webhooks ({names}) values ({', '.join(f':{each}' for each in columns)})"),
            columns,
        )
    return id_


async def announced(
    sessions: Sessions, clock: Clock, n: int = 1, workspace: UUID = DEFAULT_WORKSPACE, more: str = ""
) -> None:
    """So many messages failed, one after the other."""
    told = [
        Announcement(AnnouncementType.MESSAGE_FAILED, {"nth": nth, "more": more}) for nth in range(1, n + 1)
    ]
    async with sessions(workspace) as db:
        await announce(db, workspace, told, clock.now())


def a_deliverer(
    sessions: Sessions,
    bell: Bell,
    clock: Clock,
    *,
    timing: Timing = PATIENT,
    guard: Callable[[], EgressTransport] = here,
    only_to: str = "",
) -> WebhookActivities:
    outside = Outside(guard, SEALER, Staging.of(only_to))
    mails = Mails("http://127.0.0.1:8000", "accounts@campanile.example")
    return WebhookActivities(sessions, outside, bell, clock, timing, mails)


async def look(
    sessions: Sessions, asked: str, workspace: UUID = DEFAULT_WORKSPACE, **values: Any
) -> list[Any]:
    async with sessions(workspace) as db:
        return await some(db, asked, **values)


async def states(sessions: Sessions, webhook: UUID) -> Counter[str]:
    asked = "select state from webhook_deliveries where webhook_id = :webhook"
    return Counter(await look(sessions, asked, webhook=webhook))


async def slice_of(sessions: Sessions, bell: Bell, clock: Clock, **values: Any) -> Delivered:
    """One slice of deliveries of the default workspace."""
    return await ran(a_deliverer(sessions, bell, clock, **values).deliver, DEFAULT_WORKSPACE)

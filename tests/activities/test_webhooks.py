"""A slice of announcements: whoever asks is told once for good, and whoever is down, later."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from standardwebhooks import Webhook as Verifier

from activities.bell import Bell
from activities.slices import Timing
from activities.webhook_ends import Delivered
from domain.deliveries import FAILED_FOR_DAYS, GONE, KEPT_TRIES
from domain.workspaces import DEFAULT_WORKSPACE, SYSTEM_WORKSPACE
from lab.http_server import Answer, Asked
from models.base import Sessions
from tests.channels.calls_support import NOBODY
from tests.sending import PATIENT, ran
from tests.support import Database, GivenClock
from tests.webhooks import OLD_SECRET, Receiver, a_deliverer, a_webhook, announced, here, look, receiving, states


@pytest.fixture
async def bell(database: Database, sessions: Sessions) -> AsyncIterator[Bell]:
    ringing = Bell(database.engine_url)
    await ringing.start(sessions)
    yield ringing
    await ringing.close()


async def slice_of(sessions: Sessions, bell: Bell, clock: GivenClock, **values: Any) -> Delivered:
    return await ran(a_deliverer(sessions, bell, clock, **values).deliver, DEFAULT_WORKSPACE)


async def test_whoever_asks_is_told_once_and_can_verify_it(
    sessions: Sessions, bell: Bell, clock: GivenClock
) -> None:
    async with receiving() as receiver:
        webhook = await a_webhook(sessions, receiver.url, ["message.*"])
        await a_webhook(sessions, NOBODY, ["campaign.started"])
        await announced(sessions, clock, 300)

        done = await slice_of(sessions, bell, clock)

    assert (done.delivered, done.again, done.failed, done.pending) == (300, 0, 0, False)
    assert len(receiver.taken) == 300
    assert set(receiver.taken.values()) == {1}
    assert {body["data"]["nth"] for [body] in receiver.said.values()} == set(range(1, 301))
    assert receiver.asked[0].headers["content-type"] == "application/json"
    assert await states(sessions, webhook) == {"delivered": 300}
    [tried] = (await look(sessions, "select tries from webhook_deliveries limit 1"))[0]
    assert (tried["status"], tried["reason"], tried["answer"]) == (204, None, "")

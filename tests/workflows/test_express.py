"""A transactional message waits for nobody: not for its workspace's outbox, nor for others' campaigns."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

from temporalio.client import Client

from activities.slices import Timing
from channels.contract import Envelope, Outcome
from channels.letters import Raw
from domain.channels import Channel
from domain.messages import MessageClass
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import messages, singles, templates
from models.queries.singles import Single
from tests.databases import Database
from tests.sending import a_sender, a_template
from tests.support import eventually
from tests.workflows.site import BRISK, Site, SlowProvider, at_work
from tests.workflows.test_fairness import a_small_sender

AIM = 2.0  # Seconds from being asked for to being accepted.
PEOPLE = 20_000
LINGERING = Timing(slice=15, linger=5, lease=60, reconcile_after=0)  # As in production.


class Watched(SlowProvider):
    """Remembers when it took each message over."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.at: dict[UUID, float] = {}

    async def send(self, letter: Raw, batch: Sequence[Envelope]) -> list[Outcome]:
        outcomes = await super().send(letter, batch)
        self.at |= dict.fromkeys((envelope.id for envelope in batch), time.monotonic())
        return outcomes


async def asked_for(site: Site, workspace_id: UUID, version: UUID) -> UUID:
    """One message to a bare address, as the API writes it."""
    now = site.clock.now()
    one = Single(
        channel=Channel.EMAIL,
        message_class=MessageClass.TRANSACTIONAL,
        template_version_id=version,
        profile_id=None,
        bare=f"{uuid4().hex}@shop.example",
        holes=["Ada"],
        due_at=now,
        expires_at=None,
        note="x",
    )
    async with site.sessions(workspace_id) as db:
        [made] = await singles.write(db, workspace_id, [one], now)
    return made


async def took(site: Site, workspace_id: UUID, version: UUID, pauses: Sequence[float]) -> list[float]:
    """Seconds that each of several transactional messages took, with these pauses between them."""
    channel = site.channel
    assert isinstance(channel, Watched)
    found = []
    for pause in pauses:
        began = time.monotonic()
        id_ = await asked_for(site, workspace_id, version)

        async def is_taken(id_: UUID = id_) -> bool:
            return id_ in channel.at

        await eventually(is_taken, within=30, every=0.005, what="a transactional message")
        found.append(channel.at[id_] - began)
        await asyncio.sleep(pause)
    return found


@asynccontextmanager
async def a_site(
    temporal: Client, sessions: Sessions, database: Database, channel: Watched, timing: Timing = BRISK
) -> AsyncIterator[tuple[Site, UUID]]:
    async with at_work(temporal, sessions, database, channel=channel, timing=timing) as site:
        async with sessions(DEFAULT_WORKSPACE) as db:
            await a_sender(db)
            _, version = await a_template(db)
        yield site, version


async def test_with_an_idle_worker_it_goes_at_once(
    temporal: Client, sessions: Sessions, database: Database
) -> None:
    async with a_site(temporal, sessions, database, Watched(batch=10, pause=0)) as (site, version):
        times = await took(site, DEFAULT_WORKSPACE, version, [0, 0, 0.3, 0.3, 1, 1])

    assert max(times) < AIM


async def test_it_does_not_wait_behind_another_workspaces_campaign(
    temporal: Client, sessions: Sessions, database: Database
) -> None:
    channel = Watched(batch=10, pause=0.02)
    async with a_site(temporal, sessions, database, channel, LINGERING) as (site, _):
        small = uuid4()
        campaign = await a_small_sender(sessions, small)
        async with sessions(small) as db:
            version = (await templates.newest(db, campaign.template_id)).id
        await site.start(await site.a_campaign(PEOPLE))

        async def is_sending() -> bool:
            return len(channel.at) > 500

        await eventually(is_sending, within=60, what="the campaign")
        times = await took(site, small, version, [0.05, 0.1, 0.2, 0.4] * 5)
        busy = len(channel.at) < PEOPLE

    assert busy
    assert max(times) < AIM


async def test_it_does_not_wait_behind_the_rest_of_its_own_outbox(
    temporal: Client, sessions: Sessions, database: Database
) -> None:
    async with a_site(temporal, sessions, database, Watched(batch=5, pause=0.5), LINGERING) as (
        site,
        version,
    ):
        async with sessions(DEFAULT_WORKSPACE) as db:
            letters = [(f"t{n}@shop.example", ["Ada"]) for n in range(400)]
            await messages.queue_letters(
                db,
                DEFAULT_WORKSPACE,
                letters,
                step="test",
                message_class=MessageClass.TEST,
                template_version_id=version,
                request_id=uuid4(),
                now=site.clock.now(),
            )
        channel = site.channel
        assert isinstance(channel, Watched)

        async def is_sending() -> bool:
            return len(channel.at) > 5

        await eventually(is_sending, within=30, what="the tests")
        times = await took(site, DEFAULT_WORKSPACE, version, [0, 0.1, 0.5])

        assert len(channel.at) < 400
        assert max(times) < AIM

"""A worker as it is built for real, over a channel and a clock that the test gives."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

import worker
from activities.bell import Bell
from activities.slices import Timing
from channels.contract import Envelope, Outcome, Provider
from channels.letters import Raw
from channels.null import NullProvider
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.campaigns import Campaign
from models.queries import enrollments
from settings import Settings
from tests.databases import Database
from tests.sending import a_draft, a_flow, a_sender, some
from tests.support import GivenClock, eventually
from tests.workflows.answers import Answers
from worker import Parts
from workflows import campaigns, flows
from workflows.campaigns import CampaignWorkflow, Progress
from workflows.flows import FlowWorkflow
from workflows.poker import poke_forever
from workflows.temporal import workflow_id

BRISK = Timing(slice=1, linger=0.1, lease=5, reconcile_after=0)


class SlowProvider(NullProvider):
    """Accepts everything, so many at a time, each time after a moment, and remembers whom it wrote to."""

    def __init__(self, batch: int = 10, pause: float = 0.02) -> None:
        self.capabilities = type(NullProvider.capabilities)(batch, batch, webhooks=False, lookup=False)
        self.pause = pause
        self.sent: list[UUID] = []

    async def send(self, letter: Raw, batch: Sequence[Envelope]) -> list[Outcome]:
        await asyncio.sleep(self.pause)
        self.sent += [envelope.id for envelope in batch]
        return await super().send(letter, batch)


@dataclass
class Site:
    """What is under way in one database, and the worker that is at it."""

    client: Client
    sessions: Sessions
    channel: Provider[Raw]
    clock: GivenClock
    answers: Answers = field(default_factory=Answers)
    started: list[str] = field(default_factory=list)

    async def a_campaign(self, n: int = 0, **values: Any) -> Campaign:
        """A draft to everybody, and so many more people."""
        async with self.sessions(DEFAULT_WORKSPACE) as db:
            await a_sender(db)
            await db.execute(text(_PEOPLE), {"n": n, "here": DEFAULT_WORKSPACE, "now": self.clock.now()})
            return await a_draft(db, **values)

    async def start(self, campaign: Campaign) -> "WorkflowHandle[CampaignWorkflow, Progress]":
        await campaigns.start(self.client, campaign.workspace_id, campaign.id, campaign.name, campaign.slug)
        id_ = workflow_id("campaign", campaign.id, campaign.slug)
        self.started.append(id_)
        return self.client.get_workflow_handle_for(CampaignWorkflow.run, id_)

    async def a_flow(self, definition: dict[str, Any], name: str = "Welcome") -> UUID:
        async with self.sessions(DEFAULT_WORKSPACE) as db:
            await a_sender(db)
            return await a_flow(db, definition, name)

    async def publish(self, flow_id: UUID, name: str = "Welcome") -> int:
        self.started.append(workflow_id("flow", flow_id, "welcome"))
        return await flows.publish(self.client, DEFAULT_WORKSPACE, flow_id, name, "welcome")

    def flow(self, flow_id: UUID) -> "WorkflowHandle[FlowWorkflow, flows.Standing]":
        return self.client.get_workflow_handle_for(FlowWorkflow.run, workflow_id("flow", flow_id, "welcome"))

    async def enroll(self, flow_id: UUID, *members: UUID, entry: str = "x") -> int:
        who: list[tuple[UUID, str, dict[str, Any]]] = [(member, entry, {}) for member in members]
        async with self.sessions(DEFAULT_WORKSPACE) as db:
            return await enrollments.enroll(db, DEFAULT_WORKSPACE, flow_id, who, self.clock.now())

    async def ask(self, asked: str, **values: Any) -> list[Any]:
        async with self.sessions(DEFAULT_WORKSPACE) as db:
            return await some(db, asked, **values)

    async def becomes(self, asked: str, expected: list[Any], within: float = 10, **values: Any) -> None:
        """Wait until the database answers so."""
        found: list[Any] = []

        async def holds() -> bool:
            found[:] = await self.ask(asked, **values)
            return found == expected

        try:
            await eventually(holds, within, what=asked)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {found}") from None

    async def close(self) -> None:
        """Nothing of this test goes on in the next one."""
        self.answers.let_go()
        outbox = f"outbox/{DEFAULT_WORKSPACE}"
        for id_ in {*self.started, outbox, f"{outbox}/express", f"webhooks/{DEFAULT_WORKSPACE}"}:
            with suppress(RPCError):
                await self.client.get_workflow_handle(id_).terminate()


_PEOPLE = """
    with made as (
        insert into profiles (workspace_id) select :here from generate_series(1, :n) returning id
    ), named as (
        insert into identities (workspace_id, kind, value, profile_id)
        select :here, 'email', id || '@shop.example', id from made
    )
    insert into consents (workspace_id, profile_id, purpose, state, source, at)
    select :here, id, 'email', 'granted', 'import', :now from made
"""


@asynccontextmanager
async def at_work(
    client: Client,
    sessions: Sessions,
    database: Database,
    *,
    channel: Provider[Raw] | None = None,
    timing: Timing = BRISK,
    slots: int = 20,
    slices: int = 2,
) -> AsyncIterator[Site]:
    """A worker, with the bell and the poker beside it. Its clock stands still at the present."""
    channel, clock = channel or NullProvider(), GivenClock(datetime.now(UTC))
    bell = Bell(database.engine_url)
    await bell.start(sessions)
    settings = Settings(worker_slots=slots, egress_networks="127.0.0.0/8")
    parts = Parts(channel, clock, timing, slices)
    poker = asyncio.create_task(poke_forever(sessions, client, database.engine_url, clock))
    site = Site(client, sessions, channel, clock)
    try:
        async with worker.build(site.answers.of(client), sessions, bell, parts, settings):
            try:
                yield site
            finally:
                await site.close()
    finally:
        poker.cancel()
        with suppress(asyncio.CancelledError):
            await poker
        await bell.close()


async def told(handle: "WorkflowHandle[Any, Any]") -> tuple[str, str, str, dict[str, str]]:
    """What Temporal's web UI shows of a workflow: summary, details, current details, search attributes."""
    description = await handle.describe()
    metadata = await handle.query("__temporal_workflow_metadata")
    ours = [pair for pair in description.typed_search_attributes if pair.key.name.startswith("Campanile")]
    return (
        await description.static_summary() or "",
        await description.static_details() or "",
        metadata["currentDetails"] if isinstance(metadata, dict) else metadata.current_details,
        {pair.key.name: str(pair.value) for pair in ours},
    )


async def slices_of(handle: "WorkflowHandle[Any, Any]") -> list[str]:
    """The activities of a workflow so far, by name."""
    history = await handle.fetch_history()
    return [
        event.activity_task_scheduled_event_attributes.activity_type.name
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]

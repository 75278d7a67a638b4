"""Builds and runs the worker: what its activities need is given to them here."""

import asyncio
import gc
import resource
import signal
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import structlog
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.worker import PollerBehaviorAutoscaling, Worker, WorkerDeploymentConfig
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.accounts import Accounts
from activities.attributes import AttributeActivities
from activities.bell import Bell
from activities.calls import Caller
from activities.campaigns import CampaignActivities
from activities.dispatch import Dispatch
from activities.entering import EntryActivities
from activities.failures import FailureActivities
from activities.flows import FlowActivities
from activities.imports import ImportActivities
from activities.ingest import IngestActivities
from activities.letters import Letters
from activities.mailbox import Mailbox
from activities.messages import MessageActivities
from activities.reports import Mails, ReportActivities
from activities.routing import Router
from activities.schedules import ScheduleActivities
from activities.segments import SegmentActivities
from activities.slices import Timing
from activities.upkeep import UpkeepActivities
from activities.webhook_calls import Outside
from activities.webhooks import WebhookActivities
from channels.contract import Provider, World
from channels.letters import Raw
from channels.smtp import SmtpProvider
from channels.world import world
from domain.clock import Clock, SystemClock
from domain.secrets import Sealer
from domain.staging import Staging
from domain.tokens import Tokens
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from settings import Settings
from workflows import failures, ingest, reports, segments, upkeep
from workflows.attributes import AttributeWorkflow
from workflows.campaigns import CampaignWorkflow
from workflows.correlation import CorrelatedWorker
from workflows.failures import FailuresWorkflow
from workflows.flows import FlowWorkflow
from workflows.imports import ImportWorkflow
from workflows.ingest import IngestWorkflow
from workflows.noticing import Noticing
from workflows.outbox import OutboxWorkflow
from workflows.poker import poke_forever
from workflows.reports import ReportsWorkflow
from workflows.schedules import ScheduledStartWorkflow
from workflows.segments import SegmentsWorkflow
from workflows.temporal import TASK_QUEUE, WORKSPACE, connect
from workflows.upkeep import UpkeepWorkflow
from workflows.webhooks import WebhooksWorkflow

WORKFLOWS = [
    AttributeWorkflow,
    CampaignWorkflow,
    FailuresWorkflow,
    FlowWorkflow,
    ImportWorkflow,
    IngestWorkflow,
    OutboxWorkflow,
    ReportsWorkflow,
    ScheduledStartWorkflow,
    SegmentsWorkflow,
    UpkeepWorkflow,
    WebhooksWorkflow,
]

log = structlog.get_logger()


@dataclass(frozen=True)
class Parts:
    """What a worker is made of, apart from its connections."""

    built_in: Provider[Raw]  # What mail goes by where a workspace has no route for it.
    clock: Clock
    timing: Timing
    slices: int


def timing(settings: Settings) -> Timing:
    return Timing(
        slice=settings.slice_seconds,
        linger=settings.linger_seconds,
        lease=settings.lease_seconds,
        reconcile_after=settings.reconcile_after_seconds,
    )


def accounts_of(settings: Settings) -> Accounts:
    """Opens accounts with providers."""
    return Accounts(Sealer.of(settings.encryption_keys), world_of(settings))


def world_of(settings: Settings) -> World:
    """What lies outside, and how we go there."""
    return world(
        settings.egress_networks,
        settings.endpoints,
        settings.public_url,
        plain=settings.environment == "development",
    )


def build(
    client: Client,
    sessions: Sessions,
    bell: Bell,
    parts: Parts,
    settings: Settings,
    accounts: Accounts | None = None,
) -> Worker:
    """A worker for every workflow and activity. Whoever gives `accounts` closes them."""
    tokens = Tokens(settings.signing_key.encode())
    sealer = Sealer.of(settings.encryption_keys)
    letters = Letters(sessions, tokens, settings.public_url, parts.clock, sealer)
    accounts = accounts or accounts_of(settings)
    router = Router(sessions, accounts, parts.built_in, parts.clock, settings.messages_a_second)
    staging = Staging.of(settings.campanile_deliver_only_to)
    dispatch = Dispatch(sessions, router, letters, parts.clock, parts.timing, staging)
    messages = MessageActivities(sessions, dispatch, bell)
    campaigns = CampaignActivities(sessions, parts.clock, parts.timing, parts.slices)
    starts = ScheduleActivities(sessions, parts.clock)
    caller = Caller(tokens, settings.public_url)
    flows = FlowActivities(sessions, bell, parts.clock, parts.timing, caller)
    entering = EntryActivities(sessions, parts.clock, parts.slices)
    pumps = IngestActivities(sessions, bell, parts.clock, parts.timing)
    keeper = SegmentActivities(sessions, bell, parts.clock, parts.timing, settings.segment_seconds)
    imports = ImportActivities(sessions, parts.clock, parts.timing.slice)
    catalogue = AttributeActivities(sessions, parts.timing.slice)
    mails = Mails(settings.public_url, settings.accounts_email)
    reporting = ReportActivities(sessions, accounts, tokens, bell, parts.clock, parts.timing, mails)
    outside = Outside(world_of(settings).egress, sealer, staging)
    webhooks = WebhookActivities(sessions, outside, bell, parts.clock, parts.timing, mails)
    telling = FailureActivities(
        sessions, bell, parts.clock, parts.timing, settings.public_url, client, WORKSPACE
    )
    chores = UpkeepActivities(sessions, parts.clock, settings.events_kept_days, settings.content_kept_days)
    return Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=WORKFLOWS,
        activities=[
            messages.send,
            campaigns.begin,
            campaigns.freeze,
            campaigns.pause,
            campaigns.resume,
            campaigns.cancel,
            campaigns.skip_unsent,
            campaigns.complete,
            campaigns.fail,
            starts.launch,
            entering.publish,
            entering.publish_version,
            entering.enter_members,
            flows.advance,
            flows.pause,
            flows.resume,
            flows.archive,
            flows.end_journeys,
            imports.load,
            pumps.pump,
            reporting.settle,
            keeper.keep,
            catalogue.fill,
            chores.upkeep,
            telling.look,
            telling.tell,
            webhooks.deliver,
        ],
        workflow_runner=SandboxedWorkflowRunner(
            restrictions=SandboxRestrictions.default.with_passthrough_all_modules()
        ),
        max_concurrent_activities=settings.worker_slots,
        activity_task_poller_behavior=PollerBehaviorAutoscaling(minimum=1, maximum=20, initial=5),
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(minimum=2, maximum=10, initial=2),
        interceptors=[CorrelatedWorker(), Noticing(sessions, parts.clock)],
        graceful_shutdown_timeout=timedelta(seconds=30),
        # Without a name of its own, every module in memory is hashed for one: a second of a start.
        deployment_config=WorkerDeploymentConfig(
            version=WorkerDeploymentVersion("campanile", version("campanile")), use_worker_versioning=False
        ),
    )


async def serve(settings: Settings, built_in: Provider[Raw], clock: Clock | None = None) -> None:
    """Work until SIGTERM or SIGINT, then finish the batches in hand. `built_in` is closed at the end.

    `clock` tells the business time; the system's unless another is given.
    """
    client = await connect(settings.temporal_address, settings.temporal_namespace)
    sessions = Sessions(settings.database_url, settings.engine_database_url, settings.database_pool_size)
    async with sessions(DEFAULT_WORKSPACE):
        pass  # Whoever can't enter the database must not take tasks from those who can.
    bell = Bell(settings.engine_database_url)
    await bell.start(sessions)
    parts = Parts(built_in, clock or SystemClock(), timing(settings), settings.send_slices)
    accounts = accounts_of(settings)
    worker = build(client, sessions, bell, parts, settings, accounts)
    await upkeep.schedule(client)
    await ingest.schedule(client)
    await segments.schedule(client)
    await reports.schedule(client)
    await failures.schedule(client)
    beside = [asyncio.create_task(poke_forever(sessions, client, settings.engine_database_url, parts.clock))]
    if settings.bounce_maildir:
        tokens = Tokens(settings.signing_key.encode())
        mailbox = Mailbox(Path(settings.bounce_maildir), sessions, tokens, parts.clock)
        beside.append(asyncio.create_task(mailbox.read_forever()))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        async with worker:
            log.info("The worker is ready", task_queue=TASK_QUEUE)
            await stop.wait()
    finally:
        for task in beside:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await accounts.close()
        await built_in.close()
        await bell.close()
        await sessions.close()


def main(settings: Settings) -> None:
    """Run one worker process until it is told to stop."""
    import uvloop

    collect_rarely()
    open_many()
    uvloop.run(serve(settings, SmtpProvider(settings.smtp_url)))


def collect_rarely() -> None:
    """A batch makes ten thousand short-lived objects and no cycles: to walk them would be for nothing."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def open_many() -> None:
    """As many files and sockets as we may: a hundred webhooks that hang take some hundreds."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

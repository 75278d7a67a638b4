"""A scheduled campaign is started at its time, by a Temporal Schedule with a single action.

The row says when, and the trigger on it writes an alarm. `keep` makes Temporal follow the alarms, and starts
what Temporal did not: whatever dies between the row and the Schedule, the next look puts it right.
"""

from collections.abc import Awaitable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from temporalio import workflow
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleCalendarSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
)
from temporalio.common import TypedSearchAttributes, WorkflowIDConflictPolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.workflow import ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from activities.schedules import Launched, ScheduleActivities, ScheduledStart
    from domain.schedules import CATCH_UP
    from models.base import Sessions
    from models.queries import schedules
    from models.queries.schedules import Ringing
    from workflows.campaigns import CampaignRun, CampaignWorkflow, labels
    from workflows.temporal import SLICE, STATUS, TASK_QUEUE, brief, fair, search_attributes, workflow_id

LATE = timedelta(seconds=30)  # An alarm that did not ring by then was lost.

log = structlog.get_logger()


@workflow.defn
class ScheduledStartWorkflow:
    @workflow.run
    async def run(self, start: ScheduledStart) -> Launched:
        launched = await workflow.execute_activity_method(
            ScheduleActivities.launch, start, summary="begin, unless something is in the way", **SLICE
        )
        workflow.set_current_details(launched.said)
        workflow.upsert_search_attributes([STATUS.value_set("begun" if launched.begun else "not begun")])
        if launched.begun:
            with suppress(WorkflowAlreadyStartedError):  # Somebody started it by hand at this moment.
                await workflow.start_child_workflow(
                    CampaignWorkflow.run,
                    CampaignRun(start.workspace_id, start.campaign_id),
                    id=workflow_id("campaign", start.campaign_id, launched.slug),
                    parent_close_policy=ParentClosePolicy.ABANDON,
                    **labels(start.workspace_id, start.campaign_id, launched.name),
                )
        return launched


async def keep(sessions: Sessions, client: Client, now: datetime) -> None:
    """Tell Temporal of every alarm that it does not know as it is, and start what is overdue."""
    async with sessions.engine() as db:
        alarms = await schedules.out_of_step(db)
        overdue = await schedules.overdue(db, now - LATE)
    told = [alarm for alarm in alarms if await _heard(_tell(client, alarm, now), alarm)]
    if told:
        async with sessions.engine() as db:
            await schedules.told(db, told)
    for alarm in overdue:
        if alarm not in told:
            await _heard(start(client, alarm), alarm)


async def _heard(telling: Awaitable[None], alarm: Ringing) -> bool:
    """Whether Temporal took it. One alarm that it does not take must not hold up all others."""
    try:
        await telling
    except RPCError as error:
        log.warning("An alarm could not be set", campaign_id=str(alarm.campaign_id), error=str(error))
        return False
    return True


async def _tell(client: Client, alarm: Ringing, now: datetime) -> None:
    """Have the one Schedule of this campaign be as the alarm says."""
    name = schedule_id(alarm.campaign_id)
    handle = client.get_schedule_handle(name)
    if alarm.rings_at is None or alarm.rings_at <= now:  # A Schedule that comes too late would never ring.
        try:
            await handle.delete()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
        if alarm.rings_at is not None:
            await start(client, alarm)
        return
    schedule = _schedule(alarm, alarm.rings_at)
    try:
        await client.create_schedule(name, schedule, search_attributes=_attributes(alarm))
    except ScheduleAlreadyRunningError:
        await handle.update(lambda _: ScheduleUpdate(schedule))


async def start(client: Client, alarm: Ringing) -> None:
    """Start it now, unless its start is under way. It looks for itself whether it still may."""
    assert alarm.rings_at is not None
    await client.start_workflow(
        ScheduledStartWorkflow.run,
        _what(alarm, alarm.rings_at),
        id=_start_id(alarm),
        task_queue=TASK_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        search_attributes=_attributes(alarm),
        static_summary=_summary(alarm),
        priority=fair(alarm.workspace_id),
    )


def schedule_id(campaign_id: UUID) -> str:
    return f"campaign/{campaign_id}"


def _schedule(alarm: Ringing, at: datetime) -> Schedule:
    """Once at this time, or a little later after an outage."""
    at = at.astimezone(UTC)
    year, month, day, hour, minute, second = (
        [ScheduleRange(part)] for part in (at.year, at.month, at.day, at.hour, at.minute, at.second)
    )
    return Schedule(
        action=ScheduleActionStartWorkflow(
            ScheduledStartWorkflow.run,
            _what(alarm, at),
            id=_start_id(alarm),
            task_queue=TASK_QUEUE,
            typed_search_attributes=_attributes(alarm),
            static_summary=_summary(alarm),
            priority=fair(alarm.workspace_id),
        ),
        spec=ScheduleSpec(
            calendars=[
                ScheduleCalendarSpec(
                    year=year, month=month, day_of_month=day, hour=hour, minute=minute, second=second
                )
            ]
        ),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCH_UP),
        state=ScheduleState(note=brief(alarm.name), limited_actions=True, remaining_actions=1),
    )


def _what(alarm: Ringing, at: datetime) -> ScheduledStart:
    return ScheduledStart(alarm.workspace_id, alarm.campaign_id, at)


def _start_id(alarm: Ringing) -> str:
    """Temporal adds the time to it where a Schedule starts it."""
    return workflow_id("start", alarm.campaign_id, alarm.slug)


def _attributes(alarm: Ringing) -> TypedSearchAttributes:
    return search_attributes(alarm.workspace_id, "scheduled start", alarm.name, "starting")


def _summary(alarm: Ringing) -> str:
    return brief(f"Scheduled start: {alarm.name}")

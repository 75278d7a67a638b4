"""Flows: a graph of steps that people go through, each at their own pace."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import status
from pydantic import AfterValidator, Field, StringConstraints
from sqlalchemy.ext.asyncio import AsyncSession
from temporalio.client import Client
from uuid_utils.compat import uuid7

from activities.obstacles import lacking, unreachable
from api.callers import WorkspaceId, needs
from api.deps import Db, Pages, Temporal, Transactions, noted
from api.etags import Unchanged
from api.manners import Feature
from api.runs import ask
from api.shapes import In, Name, Out, Page, absent, example, page_of, under
from api.stack import Opened
from domain import extras
from domain.comparisons import storable
from domain.errors import Conflict, Invalid, Refused
from domain.flows import END, START, FlowState, check, edges
from domain.flows import Flow as Graph
from domain.names import slug
from domain.roles import Permission
from models.base import Sessions
from models.flows import Flow
from models.queries import enrollments, flows, messages, profiles_found, rows, templates, workspaces
from workflows import flows as runs
from workflows.flows import FlowWorkflow, Steering

router = Feature(prefix="/flows", tags=["flows"])

_EXAMPLE = {
    "name": "Left in the cart",
    "definition": {
        "trigger": {
            "kind": "event",
            "event": "cart filled",
            "where": [{"kind": "property", "name": "total", "op": ">=", "value": 50}],
        },
        "first": "an order?",
        "steps": {
            "an order?": {
                "kind": "wait_for_event",
                "event": "order placed",
                "where": [],
                "at_most": "PT4H",
                "then": None,
                "otherwise": "reminder",
            },
            "reminder": {
                "kind": "send",
                "template_id": "0199f1c2-a4b1-7d00-9a3b-1c2d3e4f5a6b",
                "then": "a day",
            },
            "a day": {"kind": "wait", "duration": "P1D", "then": "clicked?"},
            "clicked?": {
                "kind": "branch",
                "condition": {"kind": "message", "did": "clicked", "step": "reminder"},
                "then": None,
                "otherwise": "last call",
            },
            "last call": {
                "kind": "send",
                "template_id": "0199f1c2-a4b2-7e11-8c4d-5e6f7a8b9c0d",
                "then": None,
            },
        },
        "reentry": "once",
    },
}


class FlowIn(In):
    name: Name
    definition: Graph

    model_config = example(_EXAMPLE)


class FlowChange(In):
    """What to change; the rest stays. What is published goes on as it is until you publish again."""

    name: Name = Field(default_factory=absent)
    definition: Graph = Field(default_factory=absent)

    model_config = example({"name": "Left in the cart, warmer"})


class FlowOut(Out):
    id: UUID
    name: str
    state: FlowState
    definition: dict[str, Any] = Field(description="As last edited.")
    version: int | None = Field(description="The published version that people enter now.")
    created_at: datetime
    updated_at: datetime

    model_config = example(
        _EXAMPLE
        | {
            "id": "0199f1c2-a4b3-7a22-9d5e-6f7a8b9c0d1e",
            "state": "draft",
            "version": None,
            "created_at": "2026-11-21T09:00:00Z",
            "updated_at": "2026-11-21T09:00:00Z",
        }
    )


class EnrollIn(In):
    profiles: list[str] = Field(min_length=1, max_length=10_000, description="Ids or emails.")
    properties: Annotated[dict[str, Any], AfterValidator(extras.small)] = Field(
        default_factory=dict,
        description=f"Kept with each journey: at most {extras.LARGEST:,} bytes of JSON.",
    )
    entry: (
        Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(storable)] | None
    ) = Field(
        None,
        description="Where a flow may be entered always: what tells two journeys of one profile apart. "
        "The same entry twice enters once; without it every request is a new one.",
    )

    model_config = example({"profiles": ["ada@example.com"], "properties": {"coupon": "WELCOME"}})


class Enrolled(Out):
    entered: int
    already_in: int = Field(description="Known profiles that did not enter: they are, or were, in already.")
    unknown: list[str] = Field(description="Of those asked for, who is no profile.")

    model_config = example({"entered": 1, "already_in": 0, "unknown": []})


class StepStats(Out):
    step: str = Field(description='Its name; "start" is the entrance.')
    waiting: int = Field(description="Members who are there now.")
    next_due_at: datetime | None = Field(description="When the first of them goes on.")
    passed: int = Field(description="How often somebody went on from it.")
    reasons: dict[str, int] = Field(
        description="The same by why they went on: for a wait for an event, whether it came; for a call, "
        "what was answered."
    )
    messages: dict[str, int] | None = Field(description="A send step's messages by state.")


class FlowStats(Out):
    """How people go through a flow."""

    state: FlowState
    entered: int
    under_way: int
    finished: int
    ended_early: int = Field(description="Journeys that ended because the flow was archived.")
    steps: list[StepStats]

    model_config = example(
        {
            "state": "live",
            "entered": 213,
            "under_way": 30,
            "finished": 183,
            "ended_early": 0,
            "steps": [
                {
                    "step": "an order?",
                    "waiting": 30,
                    "next_due_at": "2026-11-22T08:00:00Z",
                    "passed": 183,
                    "reasons": {"the event did not come": 130, "the event came": 53},
                    "messages": None,
                },
                {
                    "step": "reminder",
                    "waiting": 0,
                    "next_due_at": None,
                    "passed": 130,
                    "reasons": {"the message was closed": 130},
                    "messages": {"accepted": 127, "skipped": 3},
                },
            ],
        }
    )


@router.post("", status_code=status.HTTP_201_CREATED, dependencies=[needs(Permission.FLOWS_WRITE)])
async def create_flow(body: FlowIn, workspace_id: WorkspaceId, db: Db) -> FlowOut:
    """Create a draft."""
    await _check(db, body.definition)
    values = {"name": body.name, "slug": slug(body.name), "definition": as_json(body.definition)}
    return shown(await flows.create(db, workspace_id, values), None)


@router.get("", dependencies=[needs(Permission.FLOWS_READ)])
async def list_flows(db: Db, pages: Pages) -> Page[FlowOut]:
    """Flows, the newest first."""
    found = await rows.page(db, Flow, pages.after, pages.limit)
    numbers = await flows.numbers(db, found)
    items = [shown(row, numbers.get(row.id)) for row in found]
    return page_of(items, [row.id for row in found], pages.limit)


@router.get("/{flow_id}", dependencies=[needs(Permission.FLOWS_READ)])
async def read_flow(flow_id: UUID, db: Db) -> FlowOut:
    """One flow."""
    return await _shown(db, await rows.get(db, Flow, flow_id))


@router.patch("/{flow_id}", dependencies=[needs(Permission.FLOWS_WRITE)])
async def change_flow(flow_id: UUID, change: FlowChange, db: Db, unchanged: Unchanged) -> FlowOut:
    """Change a flow as it is edited. People go on in the version that they entered."""
    if not change.model_fields_set:
        raise Invalid("Name at least one field to change.")
    if unchanged.asked:
        unchanged.check(await _shown(db, await rows.get(db, Flow, flow_id, lock=True)))
    values: dict[str, Any] = {}
    if "name" in change.model_fields_set:
        values["name"] = change.name
    if "definition" in change.model_fields_set:
        await _check(db, change.definition)
        values["definition"] = as_json(change.definition)
    return await _shown(db, await flows.change(db, flow_id, values))


@router.delete(
    "/{flow_id}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[needs(Permission.FLOWS_WRITE)]
)
async def delete_flow(flow_id: UUID, db: Db, unchanged: Unchanged) -> None:
    """Delete a draft. What was published is archived instead, so that its messages can be explained."""
    if unchanged.asked:
        unchanged.check(await _shown(db, await rows.get(db, Flow, flow_id, lock=True)))
    await flows.delete(db, flow_id)


@router.post("/{flow_id}/publish", dependencies=[needs(Permission.FLOWS_RUN), noted("publish", "flow")])
async def publish_flow(
    flow_id: UUID, workspace_id: WorkspaceId, sessions: Transactions, temporal: Temporal
) -> FlowOut:
    """Publish the flow as it was last edited. If a segment is its trigger, its members of now enter."""
    async with sessions(workspace_id) as db:
        flow = await rows.get(db, Flow, flow_id)
        if flow.state == FlowState.ARCHIVED:
            raise Conflict("This flow is archived; make a new one from its definition.")
        graph = Graph.model_validate(flow.definition)
        channels = await templates.channels(db, flows.templates_of(graph))
        workspace = await workspaces.get(db, workspace_id)
        if reasons := lacking(workspace, channels) + unreachable(channels):
            raise Refused(" ".join(reasons))
        await _check(db, graph)
        with under("/definition"):
            await flows.check_webhooks(db, graph, enabled=True)
    publishing = runs.publish(temporal, workspace_id, flow_id, flow.name, flow.slug)
    await ask(publishing, "This flow was not published; try again.")
    return await _read(sessions, workspace_id, flow_id)


@router.post("/{flow_id}/pause", dependencies=[needs(Permission.FLOWS_RUN), noted("pause", "flow")])
async def pause_flow(
    flow_id: UUID, workspace_id: WorkspaceId, sessions: Transactions, temporal: Temporal
) -> FlowOut:
    """Pause: everyone stays where they are, new ones enter and wait, nothing is sent."""
    flow = await _flow(sessions, workspace_id, flow_id)
    await _steer(temporal, flow, FlowWorkflow.pause, "paused")
    return await _read(sessions, workspace_id, flow_id)


@router.post("/{flow_id}/resume", dependencies=[needs(Permission.FLOWS_RUN), noted("resume", "flow")])
async def resume_flow(
    flow_id: UUID, workspace_id: WorkspaceId, sessions: Transactions, temporal: Temporal
) -> FlowOut:
    """Go on after a pause."""
    flow = await _flow(sessions, workspace_id, flow_id)
    await _steer(temporal, flow, FlowWorkflow.resume, "resumed")
    return await _read(sessions, workspace_id, flow_id)


@router.post("/{flow_id}/archive", dependencies=[needs(Permission.FLOWS_RUN), noted("archive", "flow")])
async def archive_flow(
    flow_id: UUID, workspace_id: WorkspaceId, sessions: Transactions, temporal: Temporal
) -> FlowOut:
    """End the flow for good: nobody enters, journeys end, what was not sent is not."""
    flow = await _flow(sessions, workspace_id, flow_id)
    await _steer(temporal, flow, FlowWorkflow.archive, "archived")
    return await _read(sessions, workspace_id, flow_id)


@router.post("/{flow_id}/enroll", dependencies=[needs(Permission.FLOWS_RUN), noted("enroll", "flow")])
async def enroll_profiles(
    flow_id: UUID, body: EnrollIn, opened: Opened, workspace_id: WorkspaceId, db: Db
) -> Enrolled:
    """Let profiles enter a flow that is live or paused, whatever its trigger."""
    flow = await rows.get(db, Flow, flow_id)
    if flow.state not in (FlowState.LIVE, FlowState.PAUSED):
        way_out = "make a new one" if flow.state == FlowState.ARCHIVED else "publish it first"
        raise Conflict(f"This flow is {flow.state}, so nobody can enter; {way_out}.")
    known = await profiles_found.ids(db, body.profiles)
    entry = body.entry or f"api/{uuid7()}"
    entries = [(profile_id, entry, body.properties) for profile_id in dict.fromkeys(known.values())]
    entered = await enrollments.enroll(db, workspace_id, flow_id, entries, opened.clock.now())
    return Enrolled(
        entered=entered,
        already_in=len(entries) - entered,
        unknown=[who for who in body.profiles if who not in known],
    )


@router.get("/{flow_id}/stats", dependencies=[needs(Permission.FLOWS_READ)])
async def flow_stats(flow_id: UUID, workspace_id: WorkspaceId, db: Db) -> FlowStats:
    """Where everyone is, and what became of each step's messages."""
    flow = await rows.get(db, Flow, flow_id)
    outcomes = await flows.outcomes(db, flow_id)
    places = {place.step: place for place in await enrollments.places(db, workspace_id, flow_id)}
    passed = await flows.passed(db, flow_id)
    sent = await messages.by_step(db, flow_id)
    # Steps that are gone from the definition still have their past.
    steps = dict.fromkeys([*walked(Graph.model_validate(flow.definition)), *places, *passed, *sent])
    return FlowStats(
        state=FlowState(flow.state),
        entered=sum(outcomes.values()),
        under_way=outcomes.get(None, 0),
        finished=outcomes.get("finished", 0),
        ended_early=outcomes.get("archived", 0),
        steps=[
            StepStats(
                step=step,
                waiting=places[step].members if step in places else 0,
                next_due_at=places[step].next_due_at if step in places else None,
                passed=sum(passed.get(step, {}).values()),
                reasons=passed.get(step, {}),
                messages={state.value: n for state, n in sent[step].items()} if step in sent else None,
            )
            for step in steps
            if step != END
        ],
    )


def walked(graph: Graph) -> list[str]:
    """The entrance and the steps as one comes to them, those that nobody comes to at the end."""
    following: dict[str, list[str]] = {}
    for origin, _, to in edges(graph):
        following.setdefault(origin, []).append(to)
    order = {START: None}
    ahead = [START]
    for step in ahead:
        new = [to for to in following.get(step, ()) if to not in order]
        order |= dict.fromkeys(new)
        ahead += new
    return list(order | dict.fromkeys(graph.steps))


async def _check(db: AsyncSession, graph: Graph) -> None:
    with under("/definition"):
        check(graph)
        await flows.check_names(db, graph)


async def _flow(sessions: Sessions, workspace_id: UUID, flow_id: UUID) -> Flow:
    """In a transaction of its own: none stays open while a workflow is asked."""
    async with sessions(workspace_id) as db:
        return await rows.get(db, Flow, flow_id)


async def _read(sessions: Sessions, workspace_id: UUID, flow_id: UUID) -> FlowOut:
    async with sessions(workspace_id) as db:
        return await _shown(db, await rows.get(db, Flow, flow_id))


async def _steer(temporal: Client, flow: Flow, update: Steering, done: str) -> None:
    if flow.state not in (FlowState.LIVE, FlowState.PAUSED):
        raise Conflict(_not_under_way(flow, done))
    await ask(runs.steer(temporal, flow, update), _not_under_way(flow, done))


def _not_under_way(flow: Flow, done: str) -> str:
    return f"This flow is {flow.state}; only one that is live or paused can be {done}."


def as_json(graph: Graph) -> dict[str, Any]:
    return graph.model_dump(mode="json", by_alias=True)


async def _shown(db: AsyncSession, row: Flow) -> FlowOut:
    return shown(row, (await flows.numbers(db, [row])).get(row.id))


def shown(row: Flow, version: int | None) -> FlowOut:
    return FlowOut.model_validate({**vars(row), "version": version})

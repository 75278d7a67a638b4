"""Flows as they are edited, and how people go through them."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Conflict, Invalid
from domain.flows import Branch, Call, FlowState, SegmentTrigger, Send, check
from domain.flows import Flow as Graph
from domain.references import references
from domain.segments import as_json
from domain.segments import segments as segments_named
from models.base import Json, changed
from models.flows import Enrollment, Flow, FlowVersion
from models.queries import rows, segments_written, workspaces
from models.segments import Segment
from models.templates import Template, TemplateVersion
from models.webhooks import Webhook, WebhookState


async def create(db: AsyncSession, workspace_id: UUID, values: dict[str, Any]) -> Flow:
    flow = Flow(workspace_id=workspace_id, **values)
    db.add(flow)
    await db.flush()
    await db.refresh(flow)
    return flow


async def change(db: AsyncSession, flow_id: UUID, values: dict[str, Any]) -> Flow:
    """Write these columns. What is published stays as it is until it is published again.

    Raises `NotFound`, or `Conflict` for an archived flow.
    """
    flow = await rows.get(db, Flow, flow_id, lock=True)
    if flow.state == FlowState.ARCHIVED:
        raise Conflict("This flow is archived; it can't be changed any more.")
    for column, value in (values | {"updated_at": func.now()}).items():
        setattr(flow, column, value)
    await db.flush()
    await db.refresh(flow)
    return flow


async def delete(db: AsyncSession, flow_id: UUID) -> None:
    """Remove a flow that was never published. Raises `NotFound` or `Conflict`."""
    flow = await rows.get(db, Flow, flow_id, lock=True)
    if flow.state != FlowState.DRAFT or flow.version_id is not None:
        instead = "it stays" if flow.state == FlowState.ARCHIVED else "archive it instead"
        raise Conflict(f"This flow is {flow.state}; only a draft can be deleted, so {instead}.")
    await db.delete(flow)


async def numbers(db: AsyncSession, flows: list[Flow]) -> dict[UUID, int]:
    """The number of each flow's published version, by the flow's id."""
    published = select(FlowVersion.flow_id, FlowVersion.number).where(
        FlowVersion.id.in_([flow.version_id for flow in flows])
    )
    return {row.flow_id: row.number for row in await db.execute(published)}


def templates_of(graph: Graph) -> set[UUID]:
    """The templates that its steps send."""
    return {step.template_id for step in graph.steps.values() if isinstance(step, Send)}


async def check_names(db: AsyncSession, graph: Graph) -> None:
    """Raise `Invalid` for a template, segment or webhook that the graph or a condition names and nobody has.

    Whoever deletes one of the segments or webhooks waits until we commit, and finds the flow that names it
    then.
    """
    asked = templates_of(graph)
    there = set(
        await db.scalars(select(Template.id).where(Template.id.in_(asked), Template.hidden.is_(False)))
    )
    for name, step in graph.steps.items():
        if isinstance(step, Send) and step.template_id not in there:
            raise Invalid(f"There is no template {step.template_id}.", f"/steps/{name}/template_id")
    named = {pointer: segment_id for segment_id, pointer in _segments(graph)}
    mine = select(Segment.id).where(Segment.id.in_({*named.values()})).order_by(Segment.id)
    kept = set(await db.scalars(mine.with_for_update(read=True, key_share=True)))
    for pointer, segment_id in named.items():
        if segment_id not in kept:
            raise Invalid(f"There is no segment {segment_id}.", pointer)
    for name, step in graph.steps.items():
        if isinstance(step, Branch):
            await segments_written.resolved(db, step.condition, f"/steps/{name}/condition")
    await check_webhooks(db, graph)


async def check_webhooks(db: AsyncSession, graph: Graph, *, enabled: bool = False) -> None:
    """Raise `Invalid` for a webhook that a step calls and nobody has, or that is not `enabled`.

    Whoever deletes one of them waits until we commit.
    """
    asked = {step.webhook_id for step in graph.steps.values() if isinstance(step, Call)}
    if not asked:
        return
    mine = select(Webhook.id, Webhook.name, Webhook.state).where(Webhook.id.in_(asked)).order_by(Webhook.id)
    found = {row.id: row for row in await db.execute(mine.with_for_update(read=True, key_share=True))}
    for name, step in graph.steps.items():
        if isinstance(step, Call):
            there = found.get(step.webhook_id)
            if there is None:
                raise Invalid(f"There is no webhook {step.webhook_id}.", f"/steps/{name}/webhook_id")
            if enabled and there.state != WebhookState.ENABLED:
                raise Invalid(
                    f'The webhook "{there.name}" is disabled; enable it, or name another.',
                    f"/steps/{name}/webhook_id",
                )


def _segments(graph: Graph) -> Iterator[tuple[UUID, str]]:
    """The segments that a flow names, and where."""
    if isinstance(graph.trigger, SegmentTrigger):
        yield graph.trigger.segment_id, "/trigger/segment_id"
    for name, step in graph.steps.items():
        if isinstance(step, Branch):
            for named in references(step.condition, f"/steps/{name}/condition"):
                if named.kind == "segment":
                    yield named.its_id, named.pointer


async def outcomes(db: AsyncSession, flow_id: UUID) -> dict[str | None, int]:
    """How many journeys ended how; under None, how many are under way."""
    ended = select(Enrollment.outcome, func.count()).where(Enrollment.flow_id == flow_id)
    return {row[0]: row[1] for row in await db.execute(ended.group_by(Enrollment.outcome))}


_PASSED = text(
    """
    select note ->> 1 as step, note ->> 3 as why, count(*) as times
    from enrollments e, jsonb_array_elements(e.history) note
    where e.flow_id = :flow
    group by 1, 2 order by 1, 3 desc, 2
    """
)


async def passed(db: AsyncSession, flow_id: UUID) -> dict[str, dict[str, int]]:
    """How often each step was passed, by why."""
    found: dict[str, dict[str, int]] = {}
    for step, why, times in await db.execute(_PASSED, {"flow": flow_id}):
        found.setdefault(step, {})[why] = times
    return found


async def publish(db: AsyncSession, flow_id: UUID) -> tuple[Flow, FlowVersion, Graph]:
    """Make a version of the flow as it was last edited, with its templates' newest versions pinned.

    Its conditions have the rules of the segments that they name written in, as these are now.
    A draft goes live; a paused flow stays paused. Raises `Conflict` when it is archived and `Invalid`
    when a template is gone, or a webhook is gone or disabled.
    """
    if not await workspaces.is_open(db):
        raise Conflict("This workspace was closed.")
    flow = await rows.get(db, Flow, flow_id, lock=True)
    if flow.state == FlowState.ARCHIVED:
        raise Conflict("This flow is archived; make a new one from its definition.")
    graph = Graph.model_validate(flow.definition)
    check(graph)
    await check_webhooks(db, graph, enabled=True)
    pinned: dict[str, str] = {}
    steps: Json = {**flow.definition["steps"]}
    for name, step in graph.steps.items():
        if isinstance(step, Send):
            version_id = await db.scalar(
                select(TemplateVersion.id)
                .where(TemplateVersion.template_id == step.template_id)
                .order_by(TemplateVersion.number.desc())
                .limit(1)
            )
            if version_id is None:
                raise Invalid(f"There is no template {step.template_id}.", f"/steps/{name}/template_id")
            pinned[name] = str(version_id)
        elif isinstance(step, Branch) and segments_named(step.condition):
            whole = await segments_written.resolved(db, step.condition, f"/steps/{name}/condition")
            steps[name] = {**steps[name], "condition": as_json(whole)}
    newest = await db.scalar(select(func.max(FlowVersion.number)).where(FlowVersion.flow_id == flow_id))
    version = FlowVersion(
        workspace_id=flow.workspace_id,
        flow_id=flow_id,
        number=(newest or 0) + 1,
        definition={**flow.definition, "steps": steps},
        templates=pinned,
    )
    db.add(version)
    await db.flush()
    flow.version_id, flow.updated_at = version.id, func.now()
    if flow.state == FlowState.DRAFT:
        flow.state = FlowState.LIVE
    await db.flush()
    await db.refresh(flow)
    return flow, version, graph


async def is_open(db: AsyncSession, flow_id: UUID) -> bool:
    """Whether the flow is not archived, and will not be before the transaction ends."""
    there = select(Flow.id).where(Flow.id == flow_id, Flow.state != FlowState.ARCHIVED)
    return await db.scalar(there.with_for_update(read=True)) is not None


async def published(db: AsyncSession, flow_id: UUID) -> Sequence[FlowVersion]:
    """Every version of the flow: members go on in the one that they entered."""
    return (await db.scalars(select(FlowVersion).where(FlowVersion.flow_id == flow_id))).all()


async def move(db: AsyncSession, flow_id: UUID, origins: Collection[FlowState], to: FlowState) -> bool:
    """Move the flow from one of these states to another. False when it is in none of them."""
    moved = (
        update(Flow)
        .where(Flow.id == flow_id, Flow.state.in_(origins))
        .values(state=to, updated_at=func.now())
    )
    return bool(await changed(db, moved))

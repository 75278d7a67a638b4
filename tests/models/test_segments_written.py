"""Segments as rows: their versions, what they read, and who keeps them from being deleted."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Conflict, Invalid
from domain.segments import as_json, parse
from domain.workspaces import DEFAULT_WORKSPACE
from models.queries import campaigns, flows, rows, segment_reports, segments_written
from models.segments import Segment
from tests import people
from tests.people import HERE
from tests.sending import NOW, a_draft, a_flow, a_graph, a_template, send

PRO = {"kind": "attribute", "name": "plan", "op": "is", "value": "pro"}
FREE = {**PRO, "value": "free"}
BOUGHT = {"kind": "orders", "measure": "count", "op": ">=", "value": 1}


async def made(db: AsyncSession, rule: dict[str, Any], name: str = "Some") -> UUID:
    return (await segments_written.create(db, DEFAULT_WORKSPACE, name, rule)).id


def naming(segment_id: UUID) -> dict[str, Any]:
    return {"kind": "segment", "segment_id": str(segment_id)}


async def looked_at(db: AsyncSession) -> None:
    await db.execute(text("update segments set materialized_at = :now"), {"now": NOW})


async def unknown(db: AsyncSession) -> set[UUID]:
    """Those whose members nobody knows."""
    return {*await people.rows(db, "select id from segments where materialized_at is null")}


async def test_each_rule_makes_a_version_and_a_name_does_not(db: AsyncSession) -> None:
    segment = await made(db, PRO)
    await segments_written.change(db, segment, {"name": "Others"})
    await segments_written.change(db, segment, {"rule": PRO})
    await segments_written.change(db, segment, {"rule": FREE})

    kept = await people.rows(db, "select number, rule ->> 'value' from segment_versions order by number")
    assert kept == [(1, "pro"), (2, "free")]
    row = await rows.get(db, Segment, segment)
    assert (row.version, row.reads, row.name) == (2, ["attribute:plan"], "Others")


async def test_a_segment_reads_what_those_read_that_it_names(db: AsyncSession) -> None:
    inner = await made(db, PRO, "Inner")
    middle = await made(db, {"not": naming(inner)}, "Middle")
    outer = await made(db, {"all": [naming(middle), BOUGHT]}, "Outer")
    other = await made(db, FREE, "Other")
    await looked_at(db)

    await segments_written.change(db, inner, {"rule": {**PRO, "name": "level"}})

    assert await unknown(db) == {inner, middle, outer}
    row = await rows.get(db, Segment, outer)
    assert (row.reads, row.version) == (["attribute:level", "orders"], 1)
    assert (await rows.get(db, Segment, other)).reads == ["attribute:plan"]
    whole = await segments_written.resolved(db, parse(row.rule))
    assert as_json(whole) == {"all": [{"not": {**PRO, "name": "level"}}, BOUGHT]}


async def test_an_edit_that_is_announced_is_so_for_those_that_name_it(db: AsyncSession) -> None:
    inner = await made(db, PRO, "Inner")
    outer = await made(db, naming(inner), "Outer")
    await looked_at(db)

    await segments_written.change(db, inner, {"rule": FREE}, announce=True)

    assert (await rows.get(db, Segment, outer)).announce


async def test_segments_do_not_name_each_other_in_a_circle(db: AsyncSession) -> None:
    inner = await made(db, PRO, "Inner")
    outer = await made(db, naming(inner), "Outer")

    with pytest.raises(Invalid, match="circle"):
        await segments_written.change(db, inner, {"rule": naming(outer)})


async def test_a_segment_that_nobody_has_is_not_named(db: AsyncSession) -> None:
    with pytest.raises(Invalid, match="There is no segment"):
        await made(db, naming(uuid4()))


async def test_who_uses_a_segment_is_said_by_name_and_kind(db: AsyncSession) -> None:
    segment = await made(db, PRO)
    await a_draft(db, segment_id=segment, name="Winter letter")
    template, _ = await a_template(db)
    branch = {"kind": "branch", "condition": {"not": naming(segment)}, "then": "hi"}
    await a_flow(db, a_graph({"fork": branch, "hi": send(template)}, "fork"), "Welcome")
    await made(db, naming(segment), "The same")

    with pytest.raises(Conflict) as refused:
        await segments_written.delete(db, segment)
    assert refused.value.message == (
        'The campaign "Winter letter", the flow "Welcome" and the segment "The same" use this segment; '
        "change or delete them first."
    )


def crossing(op: str, value: Any, name: str = "segment_id") -> list[dict[str, Any]]:
    return [{"kind": "property", "name": "cause", "op": "exists"}, {"name": name, "op": op, "value": value}]


async def test_who_hears_of_those_who_enter_and_leave_uses_the_segment(db: AsyncSession) -> None:
    segment = await made(db, PRO, "Pros")
    template, _ = await a_template(db)
    begins = {"kind": "event", "event": "segment entered", "where": crossing("is", str(segment))}
    await a_flow(db, a_graph({"hi": send(template)}, "hi", trigger=begins), "Begins")
    left = {"event": "segment left", "where": crossing("in", [str(uuid4()), str(segment)])}
    waits = {"kind": "wait_for_event", **left, "at_most": 60, "then": "hi"}
    await a_flow(db, a_graph({"until": waits, "hi": send(template)}, "until"), "Waits")
    entered = {"name": "segment entered", "where": crossing("is", "Pros", "segment")}
    lately = {"window": {"after": "30 days ago"}}
    await made(db, {"kind": "event", **entered, **lately}, "Came in")
    steps = [{"name": "segment left"}, {**entered, "within": "3 days"}]
    await made(db, {"kind": "sequence", "steps": steps, **lately}, "Came back")

    with pytest.raises(Conflict) as refused:
        await segments_written.delete(db, segment)
    assert refused.value.message == (
        'The flow "Begins", the flow "Waits", the segment "Came back" and the segment "Came in" use this '
        "segment; change or delete them first."
    )
    assert await segment_reports.uses(db, [segment]) == {segment: 4}


async def test_who_hears_of_another_segment_or_event_does_not_use_it(db: AsyncSession) -> None:
    segment = await made(db, PRO, "Pros")
    lately = {"kind": "event", "window": {"after": "30 days ago"}}
    theirs = {**lately, "name": "course begun", "where": crossing("is", str(segment))}
    another = {**lately, "name": "segment entered", "where": crossing("is", str(uuid4()))}
    all_but = {**lately, "name": "segment entered", "where": crossing("is not", str(segment))}
    any_ = {"kind": "event", "name": "segment entered"}
    await made(db, {"any": [theirs, another, all_but, any_]}, "Others")
    await segments_written.change(db, segment, {"rule": {**another, "where": crossing("is", str(segment))}})

    assert await segment_reports.uses(db, [segment]) == {segment: 0}
    await segments_written.delete(db, segment)


async def test_of_many_who_use_a_segment_ten_are_named(db: AsyncSession) -> None:
    segment = await made(db, PRO)
    for n in range(13):
        await made(db, naming(segment), f"Same {n:02}")

    with pytest.raises(Conflict) as refused:
        await segments_written.delete(db, segment)
    assert refused.value.message.endswith(
        'the segment "Same 09" and 3 more use this segment; change or delete them first.'
    )


async def test_what_has_ended_keeps_its_segment(db: AsyncSession) -> None:
    segment = await made(db, PRO)
    await a_draft(db, segment_id=segment, name="Autumn", state="completed")
    await made(db, naming(segment), "The same")

    with pytest.raises(Conflict) as refused:
        await segments_written.delete(db, segment)
    assert refused.value.message == (
        'The campaign "Autumn" (completed) and the segment "The same" use this segment. What has ended keeps '
        "what it was made of, so the segment can't be deleted."
    )


async def test_with_a_segment_go_its_members_days_and_versions(db: AsyncSession) -> None:
    segment = await made(db, PRO)
    values = {**HERE, "segment": segment, "now": NOW}
    member = "insert into segment_members values (:workspace_id, :segment, uuidv7(), :now)"
    await db.execute(text(member), values)
    day = "insert into segment_days values (:workspace_id, :segment, :now, 0, 0, 1)"
    await db.execute(text(day), values)

    await segments_written.delete(db, segment)

    for table in ("segments", "segment_members", "segment_days", "segment_versions"):
        assert await people.rows(db, f"select 1 from {table}") == [], table


async def test_a_campaign_and_a_flow_keep_the_rules_that_they_began_with(db: AsyncSession) -> None:
    inner = await made(db, PRO, "Inner")
    outer = await made(db, naming(inner), "Outer")
    draft = await a_draft(db, segment_id=outer)
    template, _ = await a_template(db)
    branch = {"kind": "branch", "condition": naming(outer), "then": "hi"}
    flow = await a_flow(db, a_graph({"fork": branch, "hi": send(template)}, "fork"))

    begun = await campaigns.begin(db, draft.id, NOW)
    _, version, _ = await flows.publish(db, flow)
    await segments_written.change(db, inner, {"rule": FREE})

    assert begun is not None
    assert begun.rule == PRO
    assert version.definition["steps"]["fork"]["condition"] == PRO


async def test_a_flow_whose_condition_names_a_segment_that_nobody_has_is_refused(db: AsyncSession) -> None:
    template, _ = await a_template(db)
    branch = {"kind": "branch", "condition": naming(uuid4()), "then": "hi"}
    flow = await a_flow(db, a_graph({"fork": branch, "hi": send(template)}, "fork"))

    with pytest.raises(Invalid) as refused:
        await flows.publish(db, flow)
    assert refused.value.field == "/steps/fork/condition"

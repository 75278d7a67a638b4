"""Segments: rules that pick people."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, status
from pydantic import BeforeValidator, Field, TypeAdapter

from api.callers import WorkspaceId, needs
from api.deps import Db, Pages
from api.etags import Unchanged
from api.manners import Mannered
from api.shapes import In, Name, Out, Page, absent, example, page_of
from api.stack import Opened
from domain.errors import Invalid
from domain.roles import Permission
from domain.segments import Rule, parse
from models.queries import rows, segments, segments_written, workspaces
from models.segments import Segment

router = APIRouter(prefix="/segments", tags=["segments"], route_class=Mannered)

# The domain reads the rule: its refusals are sentences, with the pointer to what is wrong.
RuleIn = Annotated[Rule, BeforeValidator(parse)]
_RULE: TypeAdapter[Rule] = TypeAdapter(Rule)

_EXAMPLE = {
    "name": "Good customers who went quiet",
    "rule": {
        "all": [
            {"kind": "orders", "measure": "total", "op": ">=", "value": "100"},
            {"kind": "orders", "measure": "count", "op": ">=", "value": 2},
            {"not": {"kind": "orders", "measure": "last", "op": "on or after", "value": "1998-01-01"}},
        ]
    },
}


class SegmentIn(In):
    name: Name
    rule: RuleIn

    model_config = example(_EXAMPLE)


class SegmentChange(In):
    """What to change; the rest stays. Campaigns that have started keep the audience they started with."""

    name: Name = Field(default_factory=absent)
    rule: RuleIn = Field(default_factory=absent)

    model_config = example({"name": "Quiet since 1998"})


class SegmentOut(Out):
    id: UUID
    name: str
    rule: dict[str, Any]
    created_at: datetime
    updated_at: datetime

    model_config = example(
        _EXAMPLE
        | {
            "id": "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f",
            "created_at": "2026-11-21T09:00:00Z",
            "updated_at": "2026-11-21T09:00:00Z",
        }
    )


class EstimateIn(In):
    rule: RuleIn

    model_config = example({"rule": _EXAMPLE["rule"]})


class EstimateOut(Out):
    count: int
    exact: bool = Field(description="False: a sample was counted, because all would have taken too long.")

    model_config = example({"count": 213, "exact": True})


@router.post("", status_code=status.HTTP_201_CREATED, dependencies=[needs(Permission.SEGMENTS_WRITE)])
async def create_segment(body: SegmentIn, workspace_id: WorkspaceId, db: Db) -> SegmentOut:
    """Create a segment."""
    return shown(await segments_written.create(db, workspace_id, body.name, as_json(body.rule)))


@router.get("", dependencies=[needs(Permission.SEGMENTS_READ)])
async def list_segments(db: Db, pages: Pages) -> Page[SegmentOut]:
    """Segments, the newest first."""
    found = await rows.page(db, Segment, pages.after, pages.limit)
    return page_of([shown(row) for row in found], [row.id for row in found], pages.limit)


@router.post("/estimate", dependencies=[needs(Permission.SEGMENTS_READ)])
async def estimate_segment(
    body: EstimateIn, opened: Opened, workspace_id: WorkspaceId, db: Db
) -> EstimateOut:
    """How many people a rule picks now. Counted where that is quick, otherwise from a sample."""
    workspace = await workspaces.get(db, workspace_id)
    estimate = await segments.estimate(
        db,
        await segments_written.resolved(db, body.rule),
        now=opened.clock.now(),
        time_zone=workspace.time_zone,
        currency=workspace.currency,
    )
    return EstimateOut.model_validate(estimate)


@router.get("/{segment_id}", dependencies=[needs(Permission.SEGMENTS_READ)])
async def read_segment(segment_id: UUID, db: Db) -> SegmentOut:
    """One segment."""
    return shown(await rows.get(db, Segment, segment_id))


@router.patch("/{segment_id}", dependencies=[needs(Permission.SEGMENTS_WRITE)])
async def change_segment(segment_id: UUID, change: SegmentChange, db: Db, unchanged: Unchanged) -> SegmentOut:
    """Change a segment."""
    if not change.model_fields_set:
        raise Invalid("Name at least one field to change.")
    if unchanged.asked:
        unchanged.check(shown(await segments_written.hold(db, segment_id)))
    values: dict[str, Any] = {}
    if "name" in change.model_fields_set:
        values["name"] = change.name
    if "rule" in change.model_fields_set:
        values["rule"] = as_json(change.rule)
    return shown(await segments_written.change(db, segment_id, values))


@router.delete(
    "/{segment_id}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[needs(Permission.SEGMENTS_WRITE)]
)
async def delete_segment(segment_id: UUID, db: Db, unchanged: Unchanged) -> None:
    """Delete a segment that no campaign or flow uses."""
    if unchanged.asked:
        unchanged.check(shown(await segments_written.hold(db, segment_id)))
    await segments_written.delete(db, segment_id)


def as_json(rule: Rule) -> dict[str, Any]:
    written = _RULE.dump_python(rule, mode="json", by_alias=True, exclude_none=True)
    assert isinstance(written, dict)
    return written


def shown(row: Segment) -> SegmentOut:
    return SegmentOut.model_validate(row)

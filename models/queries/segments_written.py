"""Segments as rows: made, edited, and removed when nothing needs them."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Conflict
from models.base import Json
from models.campaigns import Campaign
from models.flows import Flow
from models.queries import rows
from models.segments import Segment


async def create(db: AsyncSession, workspace_id: UUID, name: str, rule: Json) -> Segment:
    segment = Segment(workspace_id=workspace_id, name=name, rule=rule)
    db.add(segment)
    await db.flush()
    await db.refresh(segment)
    return segment


async def change(db: AsyncSession, segment_id: UUID, values: Mapping[str, Any]) -> Segment:
    """Write these columns. Raises `NotFound`."""
    segment = await rows.get(db, Segment, segment_id, lock=True)
    if values.get("rule", segment.rule) != segment.rule:
        segment.materialized_at = None  # Its members are found anew.
    for column, value in {**values, "updated_at": func.now()}.items():
        setattr(segment, column, value)
    await db.flush()
    await db.refresh(segment)
    return segment


async def delete(db: AsyncSession, segment_id: UUID) -> None:
    """Remove a segment that nothing needs. Raises `NotFound`, or `Conflict` naming what does."""
    segment = await rows.get(db, Segment, segment_id, lock=True)
    picks = Campaign.segment_id == segment_id
    if used := await rows.use(db, "segment", "campaign", Campaign.name, Campaign.state, picks):
        raise Conflict(used)
    begins = Flow.definition["trigger"]["segment_id"].astext == str(segment_id)
    if used := await rows.use(db, "segment", "flow", Flow.name, Flow.state, begins):
        raise Conflict(used)
    await db.delete(segment)

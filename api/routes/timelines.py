"""A person's timeline: what they did, bought and allowed, and what they were sent, the newest first."""

import base64
import binascii
import struct
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from pydantic import Field

from api.callers import WorkspaceId, needs
from api.deps import Db
from api.manners import Feature
from api.shapes import Out, Page, example
from domain.errors import Invalid
from domain.roles import Permission
from models.queries import profiles, timelines
from models.queries.timelines import Kind

router = Feature(prefix="/profiles", tags=["profiles"])

_PLACE = struct.Struct(">q16s")  # Microseconds since 1970, and an id.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_END_OF_TIME = (datetime(9999, 12, 31, tzinfo=UTC), UUID(int=2**128 - 1))


class MomentOut(Out):
    kind: Kind
    id: UUID
    at: datetime
    details: dict[str, Any] = Field(description="What there is to say about it, by its kind.")

    model_config = example(
        {
            "kind": "event",
            "id": "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f",
            "at": "2026-11-21T09:00:00Z",
            "details": {"name": "page viewed", "properties": {"page": "/pricing"}, "historical": False},
        }
    )


@router.get("/{profile_id}/timeline", dependencies=[needs(Permission.PROFILES_READ)])
async def read_timeline(
    *,
    profile_id: UUID,
    workspace_id: WorkspaceId,
    db: Db,
    kind: Annotated[list[Kind] | None, Query(description="Only these; all when left out.")] = None,
    cursor: Annotated[str | None, Query(description="The `next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="The most items to answer.")] = 50,
) -> Page[MomentOut]:
    """What happened to a person, the newest first: events, messages and what became of them, orders,
    journeys through flows, consents, and notes; also under profiles that were merged into this one."""
    who = await profiles.survivor(db, profile_id)
    before = _END_OF_TIME if cursor is None else _read(cursor)
    kinds = kind or list(Kind)
    found = await timelines.page(db, workspace_id, who, kinds, before, limit)
    return Page(
        items=[MomentOut.model_validate(each) for each in found],
        next_cursor=_cursor(found[-1].at, found[-1].id) if len(found) == limit else None,
    )


def _cursor(at: datetime, id_: UUID) -> str:
    place = _PLACE.pack((at - _EPOCH) // timedelta(microseconds=1), id_.bytes)
    return base64.urlsafe_b64encode(place).rstrip(b"=").decode()


def _read(cursor: str) -> tuple[datetime, UUID]:
    try:
        micros, id_ = _PLACE.unpack(base64.b64decode(cursor.encode(), altchars=b"-_", validate=True))
        place = (_EPOCH + timedelta(microseconds=micros), UUID(bytes=id_))
    except (binascii.Error, struct.error, ValueError, OverflowError):
        raise Invalid(
            "This cursor is none of ours; pass a next_cursor as it was answered.", "?cursor"
        ) from None
    return place

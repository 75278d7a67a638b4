"""Exports: people, the members of a segment, or events, as a file that is written while it is read."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from fastapi.responses import StreamingResponse
from sqlalchemy import ColumnElement, Select

from api.callers import Asker, Caller, WorkspaceId, needs
from api.deps import Db
from api.errors import TooMany
from api.exporting import Columns, FileFormat, written
from api.manners import Feature
from api.moments import aware
from api.stack import Opened, Stack
from domain.errors import Invalid
from domain.imports import LONGEST_NAME, MOST_COLUMNS
from domain.roles import Permission
from domain.segments import parse
from models.queries import audit, exports, rows, segments, segments_written, workspaces
from models.segments import Segment

router = Feature(prefix="/exports", tags=["exports"])

WAIT = 30  # Seconds after which whoever finds all places taken may ask again.

Format = Annotated[
    FileFormat, Query(alias="format", description="csv; or parquet, with types, which is a tenth as large.")
]
Attributes = Annotated[
    list[str] | None,
    Query(
        alias="attribute",
        max_length=MOST_COLUMNS,
        description="Gets a column of its own. `attributes` has all of them as JSON.",
    ),
]
_TIMES = {"created_at", "updated_at", "received_at", "occurred_at"}
AS_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file. If the connection ends before it is whole, ask again.",
        "content": {
            "text/csv": {
                "schema": {"type": "string"},
                "example": "id,customer_id,email,…\r\n0199f1c2-…,c1,…\r\n",
            },
            "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
FILE: dict[str, Any] = {
    "response_class": StreamingResponse,
    "responses": AS_FILE,
    "dependencies": [needs(Permission.PROFILES_EXPORT)],
}


@router.get("/profiles", **FILE)
async def export_profiles(
    asker: Asker,
    workspace_id: WorkspaceId,
    opened: Opened,
    format_: Format = FileFormat.CSV,
    attributes: Attributes = None,
) -> StreamingResponse:
    """Everybody: names, consents, tags and attributes."""
    await noted(opened, asker, workspace_id, "workspace", workspace_id, "exported the profiles")
    return of_people(opened, workspace_id, None, attributes, format_, "profiles")


@router.get("/segments/{segment_id}", **FILE)
async def export_segment(
    segment_id: UUID,
    asker: Asker,
    workspace_id: WorkspaceId,
    opened: Opened,
    format_: Format = FileFormat.CSV,
    attributes: Attributes = None,
) -> StreamingResponse:
    """Whom a segment picks now, with the same columns."""
    async with opened.sessions(workspace_id) as db:
        segment = await rows.get(db, Segment, segment_id)
        workspace = await workspaces.get(db, workspace_id)
        rule = await segments_written.resolved(db, parse(segment.rule))
    which = segments.audience(rule, workspace, opened.clock.now())
    await noted(opened, asker, workspace_id, "segment", segment_id, "exported")
    return of_people(opened, workspace_id, which, attributes, format_, f"segment-{segment_id}")


@router.get("/events", **FILE)
async def export_events(
    asker: Asker,
    workspace_id: WorkspaceId,
    opened: Opened,
    db: Db,
    format_: Format = FileFormat.CSV,
    name: Annotated[str | None, Query(max_length=LONGEST_NAME)] = None,
    since: Annotated[datetime | None, Query(alias="from", description="Received then or later.")] = None,
    before: Annotated[datetime | None, Query(alias="to", description="Received before then.")] = None,
) -> StreamingResponse:
    """Events, the first received first."""
    since, before = await aware(db, workspace_id, since), await aware(db, workspace_id, before)
    await noted(opened, asker, workspace_id, "workspace", workspace_id, "exported the events")
    types: dict[str, type] = {"historical": bool}
    columns = {name: types.get(name, datetime if name in _TIMES else str) for name in exports.EVENT_COLUMNS}
    return as_file(opened, workspace_id, exports.events(name, since, before), columns, format_, "events")


def of_people(
    opened: Stack,
    workspace_id: UUID,
    which: ColumnElement[bool] | None,
    attributes: list[str] | None,
    format_: FileFormat,
    name: str,
) -> StreamingResponse:
    columns: dict[str, type] = {
        name: datetime if name in _TIMES else str for name in (*exports.PROFILE_COLUMNS, "attributes")
    }
    wanted = list(dict.fromkeys(attributes or ()))
    for each in wanted:
        if each in columns or "\0" in each or not 1 <= len(each) <= LONGEST_NAME:
            raise Invalid(f'An attribute named "{each[:40]}" can\'t be a column.', "?attribute")
    columns.pop("attributes")
    columns |= dict.fromkeys([*wanted, "attributes"], str)
    return as_file(opened, workspace_id, exports.people(which, wanted), columns, format_, name)


def as_file(
    opened: Stack, workspace_id: UUID, asked: Select[Any], columns: Columns, format_: FileFormat, name: str
) -> StreamingResponse:
    """Raises `TooMany` while this process writes as many files as it may: each holds a transaction."""
    if opened.exports.locked():
        raise TooMany("Other exports are under way: ask again when one has ended.", WAIT)

    async def pieces() -> AsyncIterator[bytes]:
        async with AsyncExitStack() as open_:
            await open_.enter_async_context(opened.exports)
            db = await open_.enter_async_context(opened.sessions.held(workspace_id))
            async for piece in written(format_, columns, exports.read(db, asked)):
                yield piece

    disposition = f'attachment; filename="{name}.{format_}"'
    return StreamingResponse(
        pieces(), media_type=format_.media_type, headers={"Content-Disposition": disposition}
    )


async def noted(
    opened: Stack, asker: Caller, workspace_id: UUID, kind: str, about: UUID, action: str
) -> None:
    """Who took people's data out is in the audit log."""
    async with opened.sessions(workspace_id, asker.actor) as db:
        await audit.note(db, workspace_id, action, kind, about)

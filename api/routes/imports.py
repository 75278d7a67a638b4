"""Imports: files of customers and orders, and a report of the rows that were refused.

An upload is kept and then read by a workflow, which starts when the file is safe. Should the API die in
between, or Temporal be away, the poker finds the file (`models.queries.imports.forgotten`) and starts it.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import structlog
from fastapi import File, Form, Header, Query, UploadFile, status
from fastapi.responses import StreamingResponse
from pydantic import Field, TypeAdapter, ValidationError
from temporalio.service import RPCError

from api.callers import Asker, WorkspaceId, needs
from api.deps import Db, Pages, Transactions
from api.errors import Unavailable
from api.manners import Feature
from api.routes.messages import line as csv_line
from api.routes.messages import wants_csv
from api.shapes import Out, Page, example, page_of
from api.stack import Opened
from domain.errors import Invalid
from domain.imports import ImportFormat, ImportKind, ImportState, check_meaning
from domain.roles import Permission
from models.base import Sessions
from models.imports import Import
from models.lists import List
from models.queries import imports, rows
from workflows import imports as runs

router = Feature(prefix="/imports", tags=["imports"])
log = structlog.get_logger(__name__)

_MEANING = TypeAdapter(dict[str, str | None])
ROWS = 5000  # Of a report, read at once.


class ImportOut(Out):
    id: UUID
    kind: ImportKind
    live: bool = Field(description="Whether new orders start flows.")
    file_name: str
    format: ImportFormat
    mapping: dict[str, str | None] | None
    dry_run: bool = Field(description="Only the report: nothing is stored.")
    list_id: UUID | None = Field(description="The list that its people are put on.")
    state: ImportState
    rows: int = Field(description="Rows read so far: imported, unchanged and rejected together.")
    imported: int = Field(description="Rows that were new or changed something.")
    unchanged: int = Field(description="Rows that said nothing new.")
    rejected: int = Field(description="Rows that were refused; /errors says why.")
    bytes_done: int
    bytes_total: int
    reason: str | None = Field(description="Why the whole file failed, in words.")
    created_at: datetime
    updated_at: datetime

    model_config = example(
        {
            "id": "0199f1c2-a4b6-7d44-8e7f-8a9b0c1d2e3f",
            "kind": "orders",
            "live": False,
            "file_name": "orders.csv",
            "format": "csv",
            "mapping": None,
            "dry_run": False,
            "list_id": None,
            "state": "completed",
            "rows": 6919,
            "imported": 6919,
            "unchanged": 0,
            "rejected": 0,
            "bytes_done": 176777,
            "bytes_total": 176777,
            "reason": None,
            "created_at": "2026-11-21T09:00:00Z",
            "updated_at": "2026-11-21T09:00:01Z",
        }
    )


class RejectedOut(Out):
    """A row that was refused."""

    line: int = Field(description="Where the row begins in the file; the header is line 1.")
    column: str
    reason: str = Field(description="A sentence that says what to do.")

    model_config = example({"line": 17, "column": "ordered_on", "reason": '"31.12.1997" is no date: …'})


_ORDERS = "customer_id,ordered_on,quantity,total\r\nr1,2026-01-15,2,120.00\r\n"
_UPLOAD = {"multipart/form-data": {"example": {"kind": "orders", "live": False, "file": _ORDERS}}}


@router.post(
    "",
    status_code=status.HTTP_202_ACCEPTED,
    openapi_extra={"requestBody": {"content": _UPLOAD}},
    dependencies=[needs(Permission.IMPORTS_WRITE)],
)
async def upload(
    asker: Asker,
    workspace_id: WorkspaceId,
    opened: Opened,
    file: Annotated[
        UploadFile,
        File(description="In UTF-8: CSV, whose first line names the columns, or one JSON object a line."),
    ],
    kind: Annotated[ImportKind, Form()],
    live: Annotated[bool, Form(description="Let new orders start flows. History never does.")] = False,
    format_: Annotated[
        ImportFormat | None, Form(alias="format", description="By default what the file's name says.")
    ] = None,
    mapping: Annotated[
        str | None,
        Form(
            description="JSON: what columns of the file are called here, as "
            '{"Kundennummer": "customer_id", "Notiz": null}; null leaves one out.'
        ),
    ] = None,
    dry_run: Annotated[bool, Form(description="Read all and report, and store nothing.")] = False,
    list_id: Annotated[UUID | None, Form(description="Put the file's people on this list.")] = None,
) -> ImportOut:
    """Upload a file. It is kept before we answer, and read by a workflow; `GET` tells how far that is.

    Should Temporal be away, the import starts by itself within two minutes of its return.
    """
    if live and kind is not ImportKind.ORDERS:
        raise Invalid("Only orders can be live: customers start no flow, so leave `live` out.", "/live")
    name = (file.filename or "").replace("\\", "/").rpartition("/")[2].replace("\0", "")[
        :200
    ] or f"{kind}.csv"
    meaning = meant(mapping, kind) if mapping else None
    wishes = imports.Wishes(format_ or ImportFormat.of(name), meaning, dry_run, list_id)
    async with opened.sessions(workspace_id, asker.actor) as db:
        if list_id is not None and not await rows.exists(db, List, list_id):
            raise Invalid(f"There is no list {list_id}: make it first.", "/list_id")
        row = await imports.upload(db, workspace_id, kind, name, chunks(file), live=live, wishes=wishes)
    try:
        await runs.start(await opened.temporal.client(), row)
    except (RPCError, Unavailable) as error:
        log.warning("An import waits for Temporal", import_id=str(row.id), error=str(error))
    return shown(row)


@router.get("", dependencies=[needs(Permission.IMPORTS_READ)])
async def list_imports(db: Db, pages: Pages) -> Page[ImportOut]:
    """All imports, the newest first."""
    found = await imports.page(db, pages.after, pages.limit)
    return page_of([shown(row) for row in found], [row.id for row in found], pages.limit)


@router.get("/{import_id}", dependencies=[needs(Permission.IMPORTS_READ)])
async def get_import(import_id: UUID, db: Db) -> ImportOut:
    """How far an import is and what became of its rows."""
    return shown(await imports.get(db, import_id))


@router.get(
    "/{import_id}/errors",
    response_model=Page[RejectedOut],
    responses={200: {"content": {"text/csv": {"example": "line,column,reason\r\n17,quantity,…\r\n"}}}},
    dependencies=[needs(Permission.IMPORTS_READ)],
)
async def list_errors(
    *,
    import_id: UUID,
    workspace_id: WorkspaceId,
    sessions: Transactions,
    cursor: Annotated[int, Query(ge=0, description="The `next_cursor` of the page before: a line.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    format: Annotated[  # noqa: A002 - the parameter's name on the wire.
        Literal["json", "csv"] | None, Query(description="csv is all of them, as `Accept: text/csv` is.")
    ] = None,
    accept: Annotated[str, Header()] = "application/json",
) -> Page[RejectedOut] | StreamingResponse:
    """The rows that were refused, in the file's order: line, column and reason."""
    async with sessions(workspace_id) as db:
        await imports.get(db, import_id)
        if format != "csv" and (format == "json" or not wants_csv(accept)):
            found = await imports.refusals(db, import_id, cursor, limit)
            items = [RejectedOut.model_validate(row) for row in found]
            return Page[RejectedOut](
                items=items, next_cursor=str(items[-1].line) if len(items) == limit else None
            )
    return StreamingResponse(
        report(sessions, workspace_id, import_id),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="import-{import_id}-errors.csv"'},
    )


async def report(sessions: Sessions, workspace_id: UUID, import_id: UUID) -> AsyncIterator[str]:
    """All refused rows as CSV (RFC 4180), written while they are read."""
    yield csv_line(RejectedOut.model_fields)
    after = 0
    while True:
        async with sessions(workspace_id) as db:
            found = await imports.refusals(db, import_id, after, ROWS)
        yield "".join(csv_line((row.line, row.column, row.reason)) for row in found)
        if len(found) < ROWS:
            return
        after = found[-1].line


def meant(mapping: str, kind: ImportKind) -> dict[str, str | None]:
    """What a form says of columns. Raises `Invalid`."""
    try:
        found = _MEANING.validate_json(mapping, strict=True)
    except ValidationError:
        raise Invalid(
            'Write a JSON object such as {"Kundennummer": "customer_id", "Notiz": null}.', "/mapping"
        ) from None
    try:
        check_meaning(kind, found)
    except Invalid as error:
        raise Invalid(error.message, "/mapping") from None
    return found


async def chunks(file: UploadFile) -> AsyncIterator[bytes]:
    while data := await file.read(imports.CHUNK):
        yield data


def shown(row: Import) -> ImportOut:
    return ImportOut.model_validate({**vars(row), "bytes_done": row.position, "bytes_total": row.size})

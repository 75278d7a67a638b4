"""The catalogue of attributes: which there are, of what type, and which are kept for fast search."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import structlog
from fastapi import Path, Query
from pydantic import Field
from temporalio.service import RPCError

from api.callers import Asker, WorkspaceId, needs
from api.deps import Db
from api.errors import Unavailable
from api.manners import Feature
from api.shapes import In, Out, Page, absent, example
from api.stack import Opened
from domain.attributes import LONGEST_NAME, SEARCHABLE, AttributeType
from domain.errors import Invalid
from domain.roles import Permission
from models.attributes import Attribute
from models.queries import attributes
from workflows import attributes as runs

router = Feature(prefix="/attributes", tags=["profiles"])

log = structlog.get_logger()

Attr = Annotated[str, Path(min_length=1, max_length=LONGEST_NAME, examples=["first_name"])]


class AttributeChange(In):
    """What to change; the rest stays."""

    type: AttributeType = Field(
        default_factory=absent, description="What its values should be; conflicts are counted anew."
    )
    server_only: bool = Field(default_factory=absent, description="Public keys may not set it.")
    hot: bool = Field(
        default_factory=absent,
        description="Keep its values ready for fast search. Lists and objects can't be.",
    )

    model_config = example({"type": "string", "hot": True})


class AttributeOut(Out):
    name: str
    type: AttributeType = Field(description="As the first value was, until somebody sets it.")
    values: int = Field(description="How many came in.")
    conflicts: int = Field(description="How many of them were of another type.")
    first_seen_at: datetime
    last_seen_at: datetime
    server_only: bool
    hot: bool
    ready: bool = Field(description="All values can be searched fast: it is hot, and everybody's is kept.")

    model_config = example(
        {
            "name": "first_name",
            "type": "string",
            "values": 4812,
            "conflicts": 3,
            "first_seen_at": "2026-11-21T09:00:00Z",
            "last_seen_at": "2026-11-26T07:30:00Z",
            "server_only": False,
            "hot": True,
            "ready": True,
        }
    )


@router.get("", dependencies=[needs(Permission.PROFILES_READ)])
async def list_attributes(
    db: Db,
    cursor: Annotated[
        str | None, Query(max_length=LONGEST_NAME, description="The `next_cursor` of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="The most items to answer.")] = 50,
) -> Page[AttributeOut]:
    """Attributes that were seen on somebody, by their names."""
    found = await attributes.page(db, cursor, limit)
    return Page(
        items=[AttributeOut.model_validate(row) for row in found],
        next_cursor=found[-1].name if len(found) == limit else None,
    )


@router.get("/{attribute}", dependencies=[needs(Permission.PROFILES_READ)])
async def read_attribute(attribute: Attr, db: Db) -> AttributeOut:
    """One attribute."""
    return AttributeOut.model_validate(await attributes.get(db, attribute))


@router.patch("/{attribute}", dependencies=[needs(Permission.PROFILES_WRITE)])
async def change_attribute(
    attribute: Attr, body: AttributeChange, opened: Opened, asker: Asker, workspace_id: WorkspaceId
) -> AttributeOut:
    """Change how an attribute is treated.

    Once it is hot, every write keeps its value ready. What was there before is read by a workflow, while
    everybody goes on; should Temporal be away, that starts by itself after its return.
    """
    if not body.model_fields_set:
        raise Invalid("Name at least one field to change.")
    async with opened.sessions(workspace_id, asker.actor) as db:
        before = await attributes.get(db, attribute, lock=True)
        _refuse_what_is_not_kept(body, before)
        turned = "hot" in body.model_fields_set and body.hot != before.hot
        row = await attributes.change(
            db,
            workspace_id,
            attribute,
            type_=body.type if "type" in body.model_fields_set else None,
            server_only=body.server_only if "server_only" in body.model_fields_set else None,
            hot=body.hot if turned else None,
        )
        shown = AttributeOut.model_validate(row)
    if turned:
        await _fill(opened, workspace_id, attribute)
    return shown


def _refuse_what_is_not_kept(body: AttributeChange, before: Attribute) -> None:
    """Raises `Invalid`."""
    type_ = body.type if "type" in body.model_fields_set else AttributeType(before.type)
    hot = body.hot if "hot" in body.model_fields_set else before.hot
    if hot and type_ not in SEARCHABLE:
        at = "/hot" if "hot" in body.model_fields_set else "/type"
        raise Invalid(f"Values of the type {type_} can't be kept for fast search: leave it cold.", at)


async def _fill(opened: Opened, workspace_id: UUID, name: str) -> None:
    try:
        await runs.start(await opened.temporal.client(), workspace_id, name)
    except (RPCError, Unavailable) as error:
        log.warning("An attribute waits for Temporal", attribute=name, error=str(error))

"""The audit log: who changed what, and how it was before."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from pydantic import Field

from api.callers import needs
from api.deps import Db, Pages
from api.manners import Feature
from api.shapes import Out, Page, example, page_of
from domain.roles import Permission
from models.queries import audit

router = Feature(prefix="/audit-log", tags=["audit"])


class Actor(Out):
    kind: str = Field(description="user or key")
    id: UUID
    name: str
    via: str | None = Field(
        description="`issuer`: the workspace's own issuer, which its admins set up, said who it is."
    )
    request_id: str | None


class AuditLineOut(Out):
    id: UUID
    at: datetime
    actor: Actor
    action: str = Field(description="create, change, delete, or what a workflow was asked for.")
    object_kind: str
    object_id: UUID | None
    before: dict[str, Any] | None = Field(description="Of a change, only the fields that it changed.")
    after: dict[str, Any] | None

    model_config = example(
        {
            "id": "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f",
            "at": "2026-11-21T09:00:00Z",
            "actor": {
                "kind": "user",
                "id": "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f",
                "name": "ada@example.com",
                "via": None,
                "request_id": "0199f1c2a4b07c1e8d2f3a4b5c6d7e8f",
            },
            "action": "change",
            "object_kind": "segment",
            "object_id": "0199f1c2-a4b1-7d00-9a3b-1c2d3e4f5a6b",
            "before": {"name": "Quiet"},
            "after": {"name": "Quiet since 1998"},
        }
    )


@router.get("", dependencies=[needs(Permission.AUDIT_READ)])
async def list_audit_log(
    db: Db,
    pages: Pages,
    object_id: Annotated[UUID | None, Query(description="Only what was done to this.")] = None,
) -> Page[AuditLineOut]:
    """Every change that a person or a key made, the newest first."""
    found = await audit.page(db, pages.after, pages.limit, object_id)
    return page_of(
        [AuditLineOut.model_validate(line) for line in found], [line.id for line in found], pages.limit
    )

"""The ledger to read: what became of each message of a campaign, a flow, or a person, and why."""

import csv
import io
from collections.abc import AsyncIterator, Collection, Iterable
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Header, Query
from fastapi.responses import StreamingResponse
from pydantic import Field
from sqlalchemy import ColumnElement

from api.callers import WorkspaceId, needs
from api.deps import Db, Pages, Transactions
from api.manners import Feature
from api.shapes import Out, Page, example, page_of
from domain.channels import Channel, readable
from domain.messages import Fate, MessageClass, MessageState, SourceKind
from domain.roles import Permission
from models.base import Sessions
from models.campaigns import Campaign
from models.flows import Flow
from models.messages import Message
from models.queries import messages, profiles_found, rows

router = Feature(tags=["messages"])

ROWS = 2_000  # Read at a time for CSV.
State = Annotated[MessageState | None, Query(description="Only messages in this state.")]
Class = Annotated[
    MessageClass | None, Query(alias="class", description="Only of this class; all but test by default.")
]
Accept = Annotated[str, Header(description="text/csv streams everything as CSV, without pages.")]
AS_CSV: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/csv": {"example": "id,profile_id,address,state,…\r\n0199f1c2-…,…\r\n"}},
        "description": "A page of messages; all of them as CSV with `Accept: text/csv`.",
    }
}


class MessageOut(Out):
    """One line of the ledger."""

    id: UUID
    profile_id: UUID | None = Field(description="Null for a bare address.")
    address: str | None = Field(
        description="Where it goes; of a person chosen when its turn comes. Of a push only the host."
    )
    state: MessageState
    reason: str | None = Field(description="Why it was skipped or failed.")
    detail: str | None = Field(description="More about the reason, or why it waits, in words.")
    message_class: MessageClass = Field(serialization_alias="class")
    source_kind: SourceKind
    source_id: UUID
    step: str
    attempts: int
    provider_id: str | None = Field(
        description="The provider's own name for the message. `provider` is the account."
    )
    fate: Fate | None = Field(description="What the provider reported later.")
    created_at: datetime
    due_at: datetime
    claimed_at: datetime | None
    sent_at: datetime | None = Field(description="From here on it may have been on the wire.")
    closed_at: datetime | None
    opened_at: datetime | None
    clicked_at: datetime | None
    channel: Channel
    provider: UUID | None = Field(description="The account by which it went, or was tried last.")

    model_config = example(
        {
            "id": "0199f1c2-a4b3-7a22-9d5e-6f7a8b9c0d1e",
            "profile_id": "0199f1c2-a4b2-7e11-8c4d-5e6f7a8b9c0d",
            "address": "ada@example.com",
            "state": "skipped",
            "reason": "no consent",
            "detail": None,
            "class": "marketing",
            "source_kind": "campaign",
            "source_id": "0199f1c2-a4b4-7b33-8e6f-7a8b9c0d1e2f",
            "step": "send",
            "attempts": 0,
            "provider_id": None,
            "fate": None,
            "created_at": "2026-11-21T09:00:00Z",
            "due_at": "2026-11-21T09:00:00Z",
            "claimed_at": None,
            "sent_at": None,
            "closed_at": "2026-11-21T09:00:01Z",
            "opened_at": None,
            "clicked_at": None,
            "channel": "email",
            "provider": None,
        }
    )


@router.get(
    "/campaigns/{campaign_id}/messages",
    response_model=Page[MessageOut],
    responses=AS_CSV,
    dependencies=[needs(Permission.CAMPAIGNS_READ)],
)
async def campaign_messages(
    *,
    campaign_id: UUID,
    workspace_id: WorkspaceId,
    sessions: Transactions,
    pages: Pages,
    state: State = None,
    message_class: Class = None,
    accept: Accept = "application/json",
) -> Page[MessageOut] | StreamingResponse:
    """A campaign's messages, the newest first: who, what became of it, why, and when."""
    async with sessions(workspace_id) as db:
        await rows.get(db, Campaign, campaign_id)
        which = messages.of_source(campaign_id, state, message_class)
        if not wants_csv(accept):
            return listed(await messages.page(db, which, pages.after, pages.limit), pages.limit)
    return as_csv(sessions, workspace_id, which, f"campaign-{campaign_id}")


@router.get(
    "/flows/{flow_id}/messages",
    response_model=Page[MessageOut],
    responses=AS_CSV,
    dependencies=[needs(Permission.FLOWS_READ)],
)
async def flow_messages(
    *,
    flow_id: UUID,
    workspace_id: WorkspaceId,
    sessions: Transactions,
    pages: Pages,
    state: State = None,
    accept: Accept = "application/json",
) -> Page[MessageOut] | StreamingResponse:
    """A flow's messages, the newest first."""
    async with sessions(workspace_id) as db:
        await rows.get(db, Flow, flow_id)
        which = messages.of_source(flow_id, state, None)
        if not wants_csv(accept):
            return listed(await messages.page(db, which, pages.after, pages.limit), pages.limit)
    return as_csv(sessions, workspace_id, which, f"flow-{flow_id}")


@router.get("/profiles/{profile_id}/messages", dependencies=[needs(Permission.PROFILES_READ)])
async def profile_messages(profile_id: UUID, db: Db, pages: Pages) -> Page[MessageOut]:
    """Everything that was decided to be sent to a person, the newest first, and what became of it."""
    person = await profiles_found.find(db, str(profile_id))
    which = messages.of_profile(person.profile.id)
    return listed(await messages.page(db, which, pages.after, pages.limit), pages.limit)


def listed(found: Collection[Message], limit: int) -> Page[MessageOut]:
    return page_of([shown(row) for row in found], [row.id for row in found], limit)


def shown(row: Message) -> MessageOut:
    address = readable(Channel(row.channel), row.address or row.bare)
    return MessageOut.model_validate({**vars(row), "address": address, "sent_at": row.marked_at})


def wants_csv(accept: str) -> bool:
    return any(kind.split(";")[0].strip().lower() == "text/csv" for kind in accept.split(","))


def as_csv(
    sessions: Sessions, workspace_id: UUID, which: Collection[ColumnElement[bool]], name: str
) -> StreamingResponse:
    """All of these messages as CSV (RFC 4180), written while they are read."""

    async def lines() -> AsyncIterator[str]:
        yield line(column(name) for name in MessageOut.model_fields)
        after = None
        while True:
            async with sessions(workspace_id) as db:
                found = await messages.page(db, which, after, ROWS)
            if found:
                yield "".join(line(shown(row).model_dump(mode="json").values()) for row in found)
            if len(found) < ROWS:
                return
            after = found[-1].id

    disposition = f'attachment; filename="{name}-messages.csv"'
    return StreamingResponse(
        lines(), media_type="text/csv; charset=utf-8", headers={"Content-Disposition": disposition}
    )


def column(field: str) -> str:
    return MessageOut.model_fields[field].serialization_alias or field


def line(cells: Iterable[Any]) -> str:
    """One line. A cell that a spreadsheet would take for a formula begins with an apostrophe (OWASP)."""
    out = io.StringIO()
    csv.writer(out).writerow(guarded(cell) for cell in cells)
    return out.getvalue()


def guarded(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell

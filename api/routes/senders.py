"""Senders: the addresses that mail may come from. Each is verified before, by its domain or by a link."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from fastapi import status
from pydantic import Field

from api.callers import WorkspaceId, needs
from api.deps import Db, Pages
from api.manners import Feature
from api.routes.workspace import Address, Line
from api.sender_links import ask
from api.shapes import In, Out, Page, absent, example, page_of
from api.stack import Opened
from domain.errors import Conflict, Invalid
from domain.roles import Permission
from models.domains import Sender
from models.queries import verified_senders, workspaces
from models.workspaces import Workspace

router = Feature(prefix="/senders", tags=["senders"])

_EXAMPLE = {"email": "news@records.example", "name": "Ada's Records", "reply_to": "ada@records.example"}


class SenderIn(In):
    email: Address
    name: Line | None = Field(None, description="Whom mail is from, in words; the workspace's if null.")
    reply_to: Address | None = Field(None, description="Where answers go, if elsewhere.")

    model_config = example(_EXAMPLE)


class SenderChange(In):
    """What to change; the rest stays. Another address is another sender."""

    name: Line | None = Field(default_factory=absent)
    reply_to: Address | None = Field(default_factory=absent)

    model_config = example({"name": "Ada"})


class SenderOut(Out):
    id: UUID
    email: str
    name: str | None
    reply_to: str | None
    state: Literal["verified", "waiting"] = Field(
        description="`waiting`: nobody followed the link that was mailed, and its domain is not verified."
    )
    verified_at: datetime | None
    domain_id: UUID | None = Field(description="The domain that vouches for it; null: a link does.")
    default: bool = Field(description="Whether mail comes from it: PATCH /workspace with sender_email.")
    created_at: datetime

    model_config = example(
        _EXAMPLE
        | {
            "id": "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f",
            "state": "verified",
            "verified_at": "2026-11-21T09:00:00Z",
            "domain_id": None,
            "default": False,
            "created_at": "2026-11-21T09:00:00Z",
        }
    )


@router.post("", status_code=status.HTTP_201_CREATED, dependencies=[needs(Permission.WORKSPACE_WRITE)])
async def create_sender(body: SenderIn, opened: Opened, workspace_id: WorkspaceId, db: Db) -> SenderOut:
    """Name an address to send from. Unless its domain is verified, a link is mailed there to confirm it."""
    workspace = await workspaces.get(db, workspace_id, lock=True)
    sender, made = await verified_senders.put(db, workspace_id, body.email, opened.clock.now())
    if not made:
        raise Conflict(f"{body.email} is there already: read it at /api/v1/senders/{sender.id}.")
    sender.name, sender.reply_to = body.name, body.reply_to
    if sender.verified_at is None:
        await ask(opened, db, sender)
    await db.flush()
    await db.refresh(sender)
    return shown(sender, workspace)


@router.get("", dependencies=[needs(Permission.WORKSPACE_READ)])
async def list_senders(workspace_id: WorkspaceId, db: Db, pages: Pages) -> Page[SenderOut]:
    """Senders, the newest first."""
    workspace = await workspaces.get(db, workspace_id)
    found = await verified_senders.page(db, pages.after, pages.limit)
    return page_of([shown(row, workspace) for row in found], [row.id for row in found], pages.limit)


@router.get("/{sender_id}", dependencies=[needs(Permission.WORKSPACE_READ)])
async def read_sender(sender_id: UUID, workspace_id: WorkspaceId, db: Db) -> SenderOut:
    """One sender."""
    return shown(await verified_senders.get(db, sender_id), await workspaces.get(db, workspace_id))


@router.patch("/{sender_id}", dependencies=[needs(Permission.WORKSPACE_WRITE)])
async def change_sender(
    sender_id: UUID, change: SenderChange, workspace_id: WorkspaceId, db: Db
) -> SenderOut:
    """Change how a sender is called and where answers go. It holds for whatever is sent from now on."""
    values: dict[str, Any] = change.model_dump(exclude_unset=True)
    if not values:
        raise Invalid("Name at least one field to change.")
    workspace = await workspaces.get(db, workspace_id, lock=True)
    sender = await verified_senders.get(db, sender_id, lock=True)
    for name, value in values.items():
        setattr(sender, name, value)
    await db.flush()
    await verified_senders.touch(db, workspace_id)
    return shown(sender, workspace)


@router.post(
    "/{sender_id}/verify",
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[needs(Permission.WORKSPACE_WRITE)],
)
async def verify_sender(sender_id: UUID, opened: Opened, workspace_id: WorkspaceId, db: Db) -> SenderOut:
    """Mail the link again. Those from before work no more."""
    workspace = await workspaces.get(db, workspace_id, lock=True)
    sender = await verified_senders.get(db, sender_id, lock=True)
    if sender.verified_at is not None:
        raise Conflict(f"{sender.email} is verified: there is nothing to confirm.")
    await ask(opened, db, sender)
    return shown(sender, workspace)


@router.delete(
    "/{sender_id}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[needs(Permission.WORKSPACE_WRITE)]
)
async def delete_sender(sender_id: UUID, workspace_id: WorkspaceId, db: Db) -> None:
    """Send from this address no more. Refused for the one that mail comes from."""
    workspace = await workspaces.get(db, workspace_id, lock=True)
    await verified_senders.delete(db, sender_id, (workspace.sender_email, workspace.sending_email))


def shown(row: Sender, workspace: Workspace) -> SenderOut:
    state = "verified" if row.verified_at else "waiting"
    default = row.email == workspace.sending_email
    return SenderOut.model_validate({**vars(row), "state": state, "default": default})

"""Workspaces: made by people, each seen by its members alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import UUID

from fastapi import Depends, status
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from api.callers import Asker, Caller, Person, at, permitted
from api.etags import Unchanged
from api.manners import Feature
from api.routes.workspace import EXAMPLE, WorkspaceChange, WorkspaceOut, columns, shown, written
from api.sender_links import choose
from api.shapes import Name, Page, example
from api.stack import Opened, Stack
from domain.errors import Invalid
from domain.roles import Permission, Role
from models.queries import members, workspaces

router = Feature(prefix="/workspaces", tags=["workspace"])


class WorkspaceIn(WorkspaceChange):
    """A new workspace. What is left out can be changed later."""

    name: Name

    model_config = example({"name": "Ada's Records", "time_zone": "Europe/Rome", "currency": "EUR"})


class WorkspaceOfMine(WorkspaceOut):
    role: Role | None = Field(description="What you are there; null for a key.")

    model_config = example(EXAMPLE | {"role": "owner"})


async def named(workspace_id: UUID, opened: Opened, asker: Asker) -> Caller:
    """Whoever asks, in the workspace that the path names. Raises `NotFound` where they are no member."""
    return await at(opened, asker, workspace_id)


Here = Annotated[Caller, Depends(named)]


@router.post("", status_code=status.HTTP_201_CREATED)
async def create_workspace(body: WorkspaceIn, opened: Opened, asker: Person) -> WorkspaceOfMine:
    """Make a workspace, and own it. Name it in the header X-Workspace-Id from then on."""
    workspace_id = uuid7()
    async with opened.sessions(workspace_id, asker.actor) as db:
        await workspaces.create(db, workspace_id, asker.id, columns(body))
        if body.sender_email is not None:
            await choose(opened, db, workspace_id, body.sender_email)
        made = shown(await workspaces.get(db, workspace_id))
    opened.visitors.forget()
    return WorkspaceOfMine(**vars(made), role=Role.OWNER)


@router.get("")
async def list_workspaces(opened: Opened, asker: Asker) -> Page[WorkspaceOfMine]:
    """Those you are a member of, the oldest first; a key sees its own."""
    if asker.kind == "key":
        workspace_id = permitted(asker, Permission.WORKSPACE_READ)
        async with opened.sessions(workspace_id) as db:
            own = shown(await workspaces.get(db, workspace_id))
        return Page(items=[WorkspaceOfMine(**vars(own), role=None)], next_cursor=None)
    async with opened.sessions.accounts() as db:
        found = await members.workspaces_of(db, asker.id, asker.limited_to)
    return Page(
        items=[WorkspaceOfMine(**vars(shown(workspace)), role=role) for workspace, role in found],
        next_cursor=None,
    )


@router.get("/{workspace_id}")
async def read_workspace_by_id(opened: Opened, here: Here) -> WorkspaceOfMine:
    """One workspace and its settings."""
    async with _open(opened, here, Permission.WORKSPACE_READ) as (db, workspace_id):
        return WorkspaceOfMine(**vars(shown(await workspaces.get(db, workspace_id))), role=here.role)


@router.patch("/{workspace_id}")
async def change_workspace_by_id(
    change: WorkspaceChange, opened: Opened, here: Here, unchanged: Unchanged
) -> WorkspaceOfMine:
    """Change the settings that are given. They hold for whatever is sent from now on."""
    values = columns(change)
    if not values:
        raise Invalid("Name at least one field to change.")
    async with _open(opened, here, Permission.WORKSPACE_WRITE) as (db, workspace_id):
        if unchanged.asked:
            before = shown(await workspaces.get(db, workspace_id, lock=True))
            unchanged.check(WorkspaceOfMine(**vars(before), role=here.role))
        changed = await written(opened, db, workspace_id, values)
        return WorkspaceOfMine(**vars(changed), role=here.role)


@router.delete("/{workspace_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_workspace(opened: Opened, here: Here, unchanged: Unchanged) -> None:
    """Close a workspace for good, as its owner. Its keys end, and nobody can enter it any more.

    Refused while a campaign is under way or a flow is live: stop them first.
    """
    async with _open(opened, here, Permission.WORKSPACE_DELETE) as (db, workspace_id):
        if unchanged.asked:
            before = shown(await workspaces.get(db, workspace_id, lock=True))
            unchanged.check(WorkspaceOfMine(**vars(before), role=here.role))
        await workspaces.delete(db, workspace_id, opened.clock.now())
    opened.visitors.forget()
    opened.keys.forget()


@asynccontextmanager
async def _open(
    opened: Stack, here: Caller, permission: Permission
) -> AsyncIterator[tuple[AsyncSession, UUID]]:
    """A transaction in the workspace that the path names, for who may."""
    workspace_id = permitted(here, permission)
    async with opened.sessions(workspace_id, here.actor) as db:
        yield db, workspace_id

"""Lists that people are put on, by hand, by a file, or by a form that they fill in."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, status
from pydantic import Field, StringConstraints

from api.callers import Asker, WorkspaceId, needs
from api.deps import Db, Pages
from api.etags import Unchanged
from api.manners import Feature
from api.shapes import In, Name, Out, Page, absent, example, page_of
from api.stack import Opened
from domain.errors import Invalid
from domain.lists import MemberState, OptIn
from domain.roles import Permission
from domain.tokens import About, Tokens
from models.lists import List
from models.queries import lists, people_lock, profiles_found, rows

router = Feature(prefix="/lists", tags=["lists"])

MOST = 1000  # People in one request.
_ID = "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f"

Description = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class ListIn(In):
    name: Name
    description: Description | None = Field(None, description="Who fills in the form reads it.")
    opt_in: OptIn = Field(
        OptIn.DOUBLE, description="double: who fills in the form is asked by mail whether it was them."
    )

    model_config = example({"name": "Newsletter", "description": "New records, every other week."})


class ListChange(In):
    """What to change; the rest stays."""

    name: Name = Field(default_factory=absent)
    description: Description | None = Field(default_factory=absent)
    opt_in: OptIn = Field(default_factory=absent)

    model_config = example({"description": "New records, once a month."})


class ListOut(Out):
    id: UUID
    name: str
    description: str | None
    opt_in: OptIn
    subscribe_url: str = Field(description="The form by which anybody can come on the list.")
    created_at: datetime
    updated_at: datetime

    model_config = example(
        {
            "id": _ID,
            "name": "Newsletter",
            "description": "New records, every other week.",
            "opt_in": "double",
            "subscribe_url": "https://mail.records.example/s/…",
            "created_at": "2026-11-21T09:00:00Z",
            "updated_at": "2026-11-21T09:00:00Z",
        }
    )


class MembersIn(In):
    profiles: list[Annotated[str, StringConstraints(min_length=3, max_length=320)]] = Field(
        min_length=1, max_length=MOST, description="Ids or emails of profiles."
    )

    model_config = example({"profiles": ["ada@example.com"]})


class MembersChanged(Out):
    changed: int = Field(description="How many were not on the list before, or were.")
    unknown: list[str] = Field(description="Whom nobody knows: POST /profiles/batch makes them.")

    model_config = example({"changed": 1, "unknown": []})


class ListMemberOut(Out):
    profile_id: UUID
    email: str | None
    state: MemberState
    source: str
    at: datetime

    model_config = example(
        {
            "profile_id": _ID,
            "email": "ada@example.com",
            "state": "member",
            "source": "person",
            "at": "2026-11-21T09:00:00Z",
        }
    )


@router.post("", status_code=status.HTTP_201_CREATED, dependencies=[needs(Permission.LISTS_WRITE)])
async def create_list(body: ListIn, opened: Opened, workspace_id: WorkspaceId, db: Db) -> ListOut:
    """Create a list."""
    return shown(await lists.create(db, workspace_id, body.model_dump()), opened)


@router.get("", dependencies=[needs(Permission.LISTS_READ)])
async def list_lists(opened: Opened, db: Db, pages: Pages) -> Page[ListOut]:
    """Lists, the newest first."""
    found = await rows.page(db, List, pages.after, pages.limit)
    return page_of([shown(row, opened) for row in found], [row.id for row in found], pages.limit)


@router.get("/{list_id}", dependencies=[needs(Permission.LISTS_READ)])
async def read_list(list_id: UUID, opened: Opened, db: Db) -> ListOut:
    """One list."""
    return shown(await rows.get(db, List, list_id), opened)


@router.patch("/{list_id}", dependencies=[needs(Permission.LISTS_WRITE)])
async def change_list(
    list_id: UUID, change: ListChange, opened: Opened, db: Db, unchanged: Unchanged
) -> ListOut:
    """Change a list."""
    if not change.model_fields_set:
        raise Invalid("Name at least one field to change.")
    if unchanged.asked:
        unchanged.check(shown(await rows.get(db, List, list_id, lock=True), opened))
    values: dict[str, Any] = change.model_dump(include=change.model_fields_set)
    values["updated_at"] = opened.clock.now()
    return shown(await lists.change(db, list_id, values), opened)


@router.delete(
    "/{list_id}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[needs(Permission.LISTS_WRITE)]
)
async def delete_list(list_id: UUID, opened: Opened, db: Db, unchanged: Unchanged) -> None:
    """Delete a list that no segment asks about. The people who are on it stay."""
    await people_lock.take_here(db)
    if unchanged.asked:
        unchanged.check(shown(await rows.get(db, List, list_id, lock=True), opened))
    await lists.remove(db, list_id, opened.clock.now())


@router.get("/{list_id}/members", dependencies=[needs(Permission.LISTS_READ)])
async def list_members(
    list_id: UUID,
    db: Db,
    pages: Pages,
    state: Annotated[
        MemberState, Query(description="pending: they were asked by mail, and have not answered.")
    ] = MemberState.MEMBER,
) -> Page[ListMemberOut]:
    """Who is on a list, the newest profiles first."""
    await rows.get(db, List, list_id)
    found = await lists.members(db, list_id, state, pages.after, pages.limit)
    return page_of(
        [ListMemberOut.model_validate(each) for each in found],
        [each.profile_id for each in found],
        pages.limit,
    )


@router.post("/{list_id}/members", dependencies=[needs(Permission.LISTS_WRITE)])
async def add_members(list_id: UUID, body: MembersIn, asker: Asker, opened: Opened, db: Db) -> MembersChanged:
    """Put people on a list, by their ids or emails. To be on one is no consent."""
    await rows.get(db, List, list_id)
    found = await profiles_found.ids(db, body.profiles)
    done = await lists.add(db, list_id, set(found.values()), asker.name, opened.clock.now())
    return MembersChanged(changed=done, unknown=[each for each in body.profiles if each not in found])


@router.post("/{list_id}/members/remove", dependencies=[needs(Permission.LISTS_WRITE)])
async def remove_members(
    list_id: UUID, body: MembersIn, asker: Asker, opened: Opened, db: Db
) -> MembersChanged:
    """Take people off a list, by their ids or emails."""
    await rows.get(db, List, list_id)
    found = await profiles_found.ids(db, body.profiles)
    done = await lists.take_off(db, list_id, set(found.values()), asker.name, opened.clock.now())
    return MembersChanged(changed=done, unknown=[each for each in body.profiles if each not in found])


@router.delete(
    "/{list_id}/members/{profile_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[needs(Permission.LISTS_WRITE)],
)
async def remove_member(list_id: UUID, profile_id: UUID, asker: Asker, opened: Opened, db: Db) -> None:
    """Take one person off a list. Who is not on it stays off."""
    await rows.get(db, List, list_id)
    await lists.take_off(db, list_id, [profile_id], asker.name, opened.clock.now())


def shown(row: List, opened: Opened) -> ListOut:
    tokens = Tokens(opened.settings.signing_key.encode())
    signed = tokens.sign(row.workspace_id, row.id, About.LIST)
    url = f"{opened.settings.public_url.rstrip('/')}/s/{signed}"
    return ListOut.model_validate({**vars(row), "subscribe_url": url})

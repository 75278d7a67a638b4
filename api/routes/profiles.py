"""Profiles to read: who they are, and what they allowed."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query

from api.callers import WorkspaceId, needs
from api.deps import Db, Pages, Transactions
from api.manners import Mannered
from api.shapes import JsonResponse, Out, Page, example, json_page
from domain.errors import NotFound
from domain.profiles import ConsentState, IdentityKind, Purpose
from domain.roles import Permission
from models.queries import profiles_found
from models.queries.profiles_found import Person

router = APIRouter(prefix="/profiles", tags=["profiles"], route_class=Mannered)


class IdentityOut(Out):
    kind: IdentityKind
    value: str
    is_primary: bool


class ProfileOut(Out):
    id: UUID
    email: str | None
    identities: list[IdentityOut]
    attributes: dict[str, Any]
    consents: dict[Purpose, ConsentState]
    time_zone: str | None
    created_at: datetime
    updated_at: datetime

    model_config = example(
        {
            "id": "0199f1c2-a4b2-7e11-8c4d-5e6f7a8b9c0d",
            "email": "ada@example.com",
            "identities": [{"kind": "email", "value": "ada@example.com", "is_primary": True}],
            "attributes": {"first_name": "Ada"},
            "consents": {"email": "granted", "tracking": "granted"},
            "time_zone": None,
            "created_at": "2026-11-21T09:00:00Z",
            "updated_at": "2026-11-21T09:00:00Z",
        }
    )


@router.get("", response_model=Page[ProfileOut], dependencies=[needs(Permission.PROFILES_READ)])
async def find_profiles(
    sessions: Transactions,
    workspace_id: WorkspaceId,
    pages: Pages,
    email: Annotated[
        str | None, Query(min_length=3, max_length=320, description="Only the profile with this email.")
    ] = None,
) -> Page[ProfileOut] | JsonResponse:
    """Profiles, the newest first; or the one with an email, if there is one."""
    if email is None:
        async with sessions.batch(workspace_id) as batch:
            found = await profiles_found.page(batch, workspace_id, pages.after, pages.limit)
        return json_page([each for _, each in found], [id_ for id_, _ in found], pages.limit)
    async with sessions(workspace_id) as db:
        try:
            return Page(items=[shown(await profiles_found.find(db, email))], next_cursor=None)
        except NotFound:
            return Page(items=[], next_cursor=None)


@router.get("/{profile_id}", dependencies=[needs(Permission.PROFILES_READ)])
async def read_profile(profile_id: UUID, db: Db) -> ProfileOut:
    """One profile. The id of a merged one leads to the profile that it was merged into."""
    return shown(await profiles_found.find(db, str(profile_id)))


def shown(person: Person) -> ProfileOut:
    return ProfileOut.model_validate(
        {
            **vars(person.profile),
            "email": person.email,
            "identities": [IdentityOut.model_validate(each) for each in person.identities],
            "consents": person.consents,
        }
    )

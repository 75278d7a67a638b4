"""Profiles to write: made, changed, merged by hand, and erased."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Response, status
from pydantic import Field, ValidationError, WithJsonSchema
from sqlalchemy.ext.asyncio import AsyncSession

from api.callers import Asker, WorkspaceId, needs
from api.deps import Db
from api.errors import at_fault
from api.etags import Unchanged
from api.manners import Feature
from api.people import ProfileChange, ProfileIn, ProfileOut, item_of, shown
from api.shapes import In, Out, example
from api.stack import Opened
from domain.errors import Conflict, Invalid
from domain.roles import Permission
from models.base import enter
from models.profiles import Profile
from models.queries import (
    attributes,
    audit,
    follow_ups,
    members,
    people_lock,
    profiles,
    profiles_erased,
    profiles_found,
    profiles_merged,
    profiles_written,
    rows,
)
from models.queries.profiles_written import Item, Written

router = Feature(prefix="/profiles", tags=["profiles"])

MOST = 1000  # Profiles in one request.
_NAMELESS = "Name the person: by email, phone, user_id or anonymous_id."
_STRANGER = "The owner must be a member: GET /api/v1/members lists them."


class MergeIn(In):
    into: UUID = Field(description="The profile that stays.")

    model_config = example({"into": "0199f1c2-a4b2-7e11-8c4d-5e6f7a8b9c0d"})


_Each = Annotated[
    dict[str, Any], WithJsonSchema({"type": "object", "description": "As `POST /profiles` takes one."})
]


class BatchIn(In):
    profiles: list[_Each] = Field(min_length=1, max_length=MOST)

    model_config = example(
        {
            "profiles": [
                {"email": "grace@example.com", "attributes": {"first_name": "Grace"}},
                {"anonymous_id": "b7e1", "attributes": {"visits": {"$inc": 1}}},
            ]
        }
    )


class ResultOut(Out):
    index: int = Field(description="Which of the profiles that were sent, from 0.")
    outcome: Literal["created", "updated", "unchanged", "refused"]
    profile_id: UUID | None
    pointer: str | None = Field(description="To what was refused, from the profile on.")
    reason: str | None

    model_config = example(
        {
            "index": 0,
            "outcome": "created",
            "profile_id": "0199f1c2-a4b2-7e11-8c4d-5e6f7a8b9c0d",
            "pointer": None,
            "reason": None,
        }
    )


class BatchOut(Out):
    results: list[ResultOut] = Field(description="One for each profile, in their order.")

    model_config = example(
        {
            "results": [
                {
                    "index": 0,
                    "outcome": "refused",
                    "profile_id": None,
                    "pointer": "/email",
                    "reason": "It is no email address: there is no @ in it.",
                }
            ]
        }
    )


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    dependencies=[needs(Permission.PROFILES_WRITE)],
    responses={200: {"model": ProfileOut, "description": "Somebody had the name, and was changed."}},
)
async def write_profile(
    body: ProfileIn, response: Response, opened: Opened, workspace_id: WorkspaceId, db: Db
) -> ProfileOut:
    """Create a profile, or change the one that has the names."""
    item = item_of(body)
    if not any(item.names.values()):
        raise Invalid(_NAMELESS)
    written = await _written(db, workspace_id, item, opened)
    if written.outcome != "created":
        response.status_code = status.HTTP_200_OK
    return shown(await profiles_found.find(db, str(written.profile_id)))


@router.post("/batch", dependencies=[needs(Permission.PROFILES_WRITE)])
async def write_profiles(body: BatchIn, opened: Opened, workspace_id: WorkspaceId, db: Db) -> BatchOut:
    """Create or change up to 1,000 profiles, one after the other. What is refused keeps nobody else up."""
    results: dict[int, ResultOut] = {}
    items: dict[int, Item] = {}
    for index, each in enumerate(body.profiles):
        try:
            items[index] = item_of(ProfileIn.model_validate(each))
            if not any(items[index].names.values()):
                raise Invalid(_NAMELESS, "")
        except ValidationError as error:
            [first, *_] = at_fault(error, each, ProfileIn)
            results[index] = _refused(index, first.pointer, first.detail)
        except Invalid as error:
            results[index] = _refused(index, error.field, error.message)
    strangers = await _strangers(db, list(items.values()))
    for index in [index for index, item in items.items() if item.known.get("owner_id") in strangers]:
        results[index] = _refused(index, "/owner_id", _STRANGER)
    kept = {index: item for index, item in items.items() if index not in results}
    written = await profiles_written.write(db, workspace_id, list(kept.values()), opened.clock.now())
    for index, answer in zip(kept, written, strict=True):
        results[index] = (
            _refused(index, answer.error.field, answer.error.message)
            if answer.error
            else ResultOut(
                index=index, outcome=answer.outcome, profile_id=answer.profile_id, pointer=None, reason=None
            )
        )
    return BatchOut(results=[results[index] for index in range(len(body.profiles))])


def _refused(index: int, pointer: str | None, reason: str) -> ResultOut:
    return ResultOut(index=index, outcome="refused", profile_id=None, pointer=pointer or "", reason=reason)


@router.patch("/{profile_id}", dependencies=[needs(Permission.PROFILES_WRITE)])
async def change_profile(
    *,
    profile_id: UUID,
    body: ProfileChange,
    opened: Opened,
    workspace_id: WorkspaceId,
    db: Db,
    unchanged: Unchanged,
) -> ProfileOut:
    """Change a profile: its names, what is known of it, its attributes, and who looks after it.

    A null takes away; for a name that is all names of its kind. The last name can't be taken.
    """
    if not body.model_fields_set:
        raise Invalid("Name at least one field to change.")
    await people_lock.take(db, workspace_id)
    who = await profiles.person(db, profile_id)
    if unchanged.asked:
        unchanged.check(shown(await profiles_found.find(db, str(who))))
    await _written(db, workspace_id, item_of(body, who), opened)
    return shown(await profiles_found.find(db, str(who)))


async def _written(db: AsyncSession, workspace_id: UUID, item: Item, opened: Opened) -> Written:
    """Raises what was wrong."""
    if await _strangers(db, [item]):
        raise Invalid(_STRANGER, "/owner_id")
    [written] = await profiles_written.write(db, workspace_id, [item], opened.clock.now())
    if written.error is not None:
        raise written.error
    return written


async def _strangers(db: AsyncSession, items: Sequence[Item]) -> set[UUID]:
    """Owners who are no members."""
    owners = {item.known["owner_id"] for item in items if item.known.get("owner_id") is not None}
    return owners - await members.among(db, owners) if owners else set()


@router.post("/{profile_id}/merge", dependencies=[needs(Permission.PROFILES_WRITE)])
async def merge_profile(
    profile_id: UUID, body: MergeIn, opened: Opened, workspace_id: WorkspaceId, db: Db
) -> ProfileOut:
    """Make this profile an alias of another, for good: names, orders and what they allowed go there.

    What the other knows wins, a denial wins over a grant, and its id stays; this one's leads to it.
    """
    await people_lock.take(db, workspace_id)
    who = await profiles.person(db, profile_id)
    if not await rows.exists(db, Profile, body.into):
        raise Invalid(f"There is no profile {body.into}.", "/into")
    into = await profiles.person(db, body.into)
    if who == into:
        raise Conflict("The two are one person already: name another one in `into`.", "/into")
    now = opened.clock.now()
    await profiles_merged.merge(db, who, into, now)
    await attributes.keep_values(db, workspace_id, list({who, into}))
    await follow_ups.note(db, [into], now)
    return shown(await profiles_found.find(db, str(into)))


@router.delete(
    "/{profile_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[needs(Permission.PROFILES_ERASE)],
)
async def erase_profile(profile_id: UUID, opened: Opened, asker: Asker, workspace_id: WorkspaceId) -> None:
    """Erase a person: all that says who they were and what they did, wherever it stands.

    What is left are counts, and the hash of their addresses, to which nothing is ever sent again.
    """
    async with opened.sessions.engine() as db:  # What waits in the inbox, the application can't reach.
        await enter(db, workspace_id, asker.actor)
        await profiles_erased.erase(db, profile_id, opened.clock.now())
        await audit.note(db, workspace_id, "erase", "profile", profile_id)

"""Profiles to read: who they are, and what they allowed."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request
from pydantic import StringConstraints

from api.callers import WorkspaceId, needs
from api.deps import PREFIX, Db, Pages, Transactions
from api.manners import Feature
from api.people import ProfileOut, shown
from api.shapes import JsonResponse, Page, json_page
from domain.changes import check_name
from domain.errors import Invalid
from domain.profiles import IdentityKind
from domain.roles import Permission
from models.queries import profiles_found, profiles_searched
from models.queries.profiles_searched import Search

router = Feature(prefix="/profiles", tags=["profiles"])

_ATTRIBUTE = "attribute."
_MOST_ATTRIBUTES = 5
_Asked = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=320)]


@router.get(
    "",
    response_model=Page[ProfileOut],
    dependencies=[needs(Permission.PROFILES_READ)],
    openapi_extra={PREFIX: _ATTRIBUTE},
)
async def find_profiles(
    *,
    request: Request,
    sessions: Transactions,
    workspace_id: WorkspaceId,
    pages: Pages,
    email: Annotated[_Asked | None, Query(description="Who has this email.")] = None,
    phone: Annotated[_Asked | None, Query(description="With its country's code, such as +49 …")] = None,
    user_id: Annotated[_Asked | None, Query()] = None,
    anonymous_id: Annotated[_Asked | None, Query()] = None,
    text: Annotated[_Asked | None, Query(description="A name of any kind begins so.")] = None,
    tag: Annotated[_Asked | None, Query()] = None,
    list_id: Annotated[UUID | None, Query(description="Who is a member of this list.")] = None,
    owner_id: Annotated[UUID | None, Query(description="Whom this member looks after.")] = None,
) -> JsonResponse:
    """Profiles, the newest first; all of what is asked for must hold.

    `attribute.<name>=<value>` finds who has this value, or has it among the items of a list: at once where
    the attribute is hot, else as far as reading all profiles takes no more than three seconds.
    """
    given = {"email": email, "phone": phone, "user_id": user_id, "anonymous_id": anonymous_id}
    search = Search(
        names={IdentityKind(kind): value for kind, value in given.items() if value is not None},
        attributes=_attributes(request),
        begins=text,
        tag=tag,
        list_id=list_id,
        owner_id=owner_id,
    )
    if search:
        async with sessions.pinned(workspace_id) as db:
            found = await profiles_searched.page(db, workspace_id, search, pages.after, pages.limit)
    else:
        async with sessions.batch(workspace_id) as batch:
            found = await profiles_found.page(batch, workspace_id, pages.after, pages.limit)
    return json_page([each for _, each in found], [id_ for id_, _ in found], pages.limit)


def _attributes(request: Request) -> dict[str, str]:
    """Raises `Invalid`."""
    asked: dict[str, str] = {}
    for parameter, value in request.query_params.multi_items():
        if not parameter.startswith(_ATTRIBUTE):
            continue
        name, where = parameter.removeprefix(_ATTRIBUTE), f"?{parameter}"
        try:
            check_name(name)
        except Invalid as error:
            raise Invalid(error.message, where) from error
        if name in asked:
            raise Invalid("Ask for one value of an attribute; a segment can ask for any of several.", where)
        asked[name] = value
    if len(asked) > _MOST_ATTRIBUTES:
        raise Invalid(f"Ask for at most {_MOST_ATTRIBUTES} attributes; a segment can ask for more.")
    return asked


@router.get("/{profile_id}", dependencies=[needs(Permission.PROFILES_READ)])
async def read_profile(profile_id: UUID, db: Db) -> ProfileOut:
    """One profile. The id of a merged one leads to the profile that it was merged into."""
    return shown(await profiles_found.find(db, str(profile_id)))

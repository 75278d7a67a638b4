"""All that we hold on one person, to hand it to them."""

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from fastapi.responses import StreamingResponse

from api.callers import Asker, WorkspaceId, needs
from api.manners import Feature
from api.stack import Opened
from domain.roles import Permission
from models.base import Sessions
from models.queries import audit, profiles, profiles_exported
from models.queries.profiles_exported import PAGE, SECTIONS

router = Feature(prefix="/profiles", tags=["profiles"])

_JSON = {"application/json": {"schema": {"type": "object"}, "example": {"profiles": [], "events": []}}}


@router.get(
    "/{profile_id}/export",
    response_class=StreamingResponse,
    responses={200: {"description": "A list for each kind of thing.", "content": _JSON}},
    dependencies=[needs(Permission.PROFILES_EXPORT)],
)
async def export_profile(
    profile_id: UUID, asker: Asker, workspace_id: WorkspaceId, opened: Opened
) -> StreamingResponse:
    """All that we hold on one person, as JSON, written while it is read: a list for each kind of thing."""
    async with opened.sessions(workspace_id, asker.actor) as db:
        who = await profiles.survivor(db, profile_id)
        people = await profiles_exported.people(db, who)
        await audit.note(db, workspace_id, "export", "profile", who)
    return StreamingResponse(
        _written(opened.sessions, workspace_id, people),
        media_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="profile-{who}.json"'},
    )


async def _written(sessions: Sessions, workspace_id: UUID, people: Sequence[UUID]) -> AsyncIterator[str]:
    """A short transaction for each page: the reader may be slow."""
    yield "{"
    for nth, section in enumerate(SECTIONS):
        yield f'{", " if nth else ""}"{section}": ['
        after, first = UUID(int=0), True
        while True:
            async with sessions(workspace_id) as db:
                found = await profiles_exported.rows(db, section, people, after)
            if found:
                yield ("" if first else ",") + ",".join(json for _, json in found)
                first = False
            last = found[-1][0] if found else None
            if len(found) < PAGE or last is None:
                break
            after = last
        yield "]"
    yield "}"

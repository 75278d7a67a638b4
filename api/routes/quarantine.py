"""What was accepted and could not be worked in: to look at, and to try again."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, status
from pydantic import Field

from api.callers import WorkspaceId, needs
from api.deps import Db, Pages
from api.manners import Feature
from api.moments import aware
from api.shapes import In, Out, Page, example, page_of
from api.stack import Opened
from domain.events import EventKind
from domain.roles import Permission
from models.events import Quarantined
from models.queries import quarantine

router = Feature(prefix="/events/quarantine", tags=["events"])

_ID = "0199f1c2-a4b8-7f66-909b-0c1d2e3f4051"


class QuarantinedOut(Out):
    """An arrival that was put aside, with the reason."""

    id: UUID
    at: datetime
    reason: str
    kind: str | None
    name: str | None = Field(description="Of the event; of an order, its key.")
    arrival: dict[str, Any] = Field(description="All that is known of it, as it would be worked in.")
    replayed_at: datetime | None

    model_config = example(
        {
            "id": _ID,
            "at": "2026-11-21T09:00:00Z",
            "reason": "Nobody knows this order.",
            "kind": "order change",
            "name": "2026-10017",
            "arrival": {"kind": "order change", "properties": {"key": "2026-10017", "refunded": "20"}},
            "replayed_at": None,
        }
    )


class ReplayIn(In):
    """Which of them to try again; what is left out does not matter."""

    kind: EventKind | None = None
    name: Annotated[str, Field(max_length=255)] | None = None
    since: datetime | None = Field(None, description="Put aside then or later.")

    model_config = example({"kind": "order change"})


class ReplayedOut(Out):
    replayed: int
    more: bool = Field(description=f"There were more than {quarantine.MOST:,}: ask again.")

    model_config = example({"replayed": 12, "more": False})


class AnewOut(Out):
    id: UUID = Field(description="What it is known by from here on: the event's id, once it is worked in.")

    model_config = example({"id": "0199f1c2-a4b9-7a77-81ac-1d2e3f405162"})


@router.get("", dependencies=[needs(Permission.EVENTS_READ)])
async def list_quarantined(
    db: Db,
    workspace_id: WorkspaceId,
    pages: Pages,
    kind: EventKind | None = None,
    name: Annotated[str | None, Query(max_length=255)] = None,
    since: Annotated[datetime | None, Query(description="Put aside then or later.")] = None,
    replayed: Annotated[bool, Query(description="Those that were tried again.")] = False,
) -> Page[QuarantinedOut]:
    """What was put aside and not tried again yet, the last to arrive first."""
    asked = quarantine.Asked(kind, name, await aware(db, workspace_id, since), replayed)
    found = await quarantine.page(db, asked, pages.after, pages.limit)
    return page_of([shown(row) for row in found], [row.id for row in found], pages.limit)


@router.post("/replay", status_code=status.HTTP_202_ACCEPTED, dependencies=[needs(Permission.PROFILES_WRITE)])
async def replay_all(body: ReplayIn, workspace_id: WorkspaceId, opened: Opened) -> ReplayedOut:
    """Try all of them again that match, the oldest first, once what was wrong is mended."""
    async with opened.sessions(workspace_id) as db:
        since = await aware(db, workspace_id, body.since)
        ids = await quarantine.which(db, quarantine.Asked(body.kind, body.name, since))
    async with opened.sessions.engine() as db:
        replayed = await quarantine.replay(db, workspace_id, ids, opened.clock.now())
    return ReplayedOut(replayed=len(replayed), more=len(ids) == quarantine.MOST)


@router.post(
    "/{quarantined_id}/replay",
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[needs(Permission.PROFILES_WRITE)],
)
async def replay_one(quarantined_id: UUID, workspace_id: WorkspaceId, opened: Opened) -> AnewOut:
    """Try one again. If it fails again, it is put aside again."""
    async with opened.sessions(workspace_id) as db:
        row = await quarantine.waiting(db, quarantined_id)
    async with opened.sessions.engine() as db:
        anew = await quarantine.replay(db, workspace_id, [row.id], opened.clock.now())
    if not anew:  # Somebody else did, a moment ago.
        async with opened.sessions(workspace_id) as db:
            await quarantine.waiting(db, quarantined_id)
    [id_] = anew
    return AnewOut(id=id_)


def shown(row: Quarantined) -> QuarantinedOut:
    said = row.arrival
    name = said.get("name") or (said.get("properties") or {}).get("key")
    return QuarantinedOut.model_validate({**vars(row), "kind": said.get("kind"), "name": name})

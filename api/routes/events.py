"""Events to read: a live debugger for whoever connects a site, and the catalogue of what was seen."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Path, Query
from pydantic import Field

from api.callers import WorkspaceId, needs
from api.deps import Db, Pages
from api.etags import Unchanged
from api.manners import Feature
from api.moments import aware
from api.shapes import In, Out, Page, example, page_of
from api.stack import Opened
from domain.events import EventKind, RefusalStage
from domain.roles import Permission
from models.events import EventName
from models.queries import arrivals, events, profiles_found

router = Feature(prefix="/events", tags=["events"])

Since = Annotated[datetime | None, Query(description="Received then or later.")]
OfName = Annotated[str | None, Query(max_length=255, description="Only of this name.")]
ThatName = Annotated[str, Path(max_length=255, description="The event's name.")]
_ID = "0199f1c2-a4b8-7f66-909b-0c1d2e3f4051"


class EventOut(Out):
    id: UUID
    name: str
    kind: EventKind
    profile_id: UUID = Field(description="As it was then; a merged profile leads to the other.")
    occurred_at: datetime = Field(description="By the sender's clock, corrected.")
    received_at: datetime
    historical: bool
    message_id: str | None
    properties: dict[str, Any]
    context: dict[str, Any] | None
    hops: int = Field(description="How many events caused one another before this one.")
    cause: UUID | None = Field(description="The event or message that led to it.")

    model_config = example(
        {
            "id": _ID,
            "name": "Product Viewed",
            "kind": "track",
            "profile_id": "0199f1c2-a4b2-7e11-8c4d-5e6f7a8b9c0d",
            "occurred_at": "2026-11-21T09:00:00Z",
            "received_at": "2026-11-21T09:00:00.120Z",
            "historical": False,
            "message_id": "m-1",
            "properties": {"sku": "LP-1017"},
            "context": None,
            "hops": 0,
            "cause": None,
        }
    )


class EventNameOut(Out):
    """What the catalogue knows of an event."""

    name: str
    kind: EventKind
    volume: int = Field(description="How many came in.")
    first_seen_at: datetime
    last_seen_at: datetime
    properties: dict[str, dict[str, int]] = Field(description="Each property's types, and how often.")
    server_only: bool = Field(description="Public keys may not send it.")

    model_config = example(
        {
            "name": "Product Viewed",
            "kind": "track",
            "volume": 17042,
            "first_seen_at": "2026-10-01T08:00:00Z",
            "last_seen_at": "2026-11-21T09:00:00Z",
            "properties": {"sku": {"string": 17042}, "price": {"number": 16990, "string": 52}},
            "server_only": False,
        }
    )


class EventNameChange(In):
    server_only: bool = Field(description="Whether only secret keys may send it from here on.")

    model_config = example({"server_only": True})


class RefusalOut(Out):
    """Something that was not taken, or not all of it."""

    id: UUID
    at: datetime
    stage: RefusalStage = Field(
        description="`request`: the sender was told, nothing was kept. `name`, `field`: the event was kept, "
        "and a name of the person, an attribute or a consent that it gave was not."
    )
    kind: str | None
    name: str | None = Field(description="Of the event, or the order's id.")
    message_id: str | None
    pointer: str = Field(description="JSON pointer into what was sent.")
    reason: str
    body: str | None = Field(description="The beginning of what was sent.")

    model_config = example(
        {
            "id": _ID,
            "at": "2026-11-21T09:00:00Z",
            "stage": "name",
            "kind": "identify",
            "name": None,
            "message_id": "m-1",
            "pointer": "/email",
            "reason": "A public key can't give a known person another email.",
            "body": None,
        }
    )


class LagOut(Out):
    """How far behind the events that can be read are."""

    waiting: int = Field(description="Arrivals that are kept and not worked in yet.")
    exact: bool = Field(description="False: at least so many; no more were counted.")
    oldest_at: datetime | None = Field(description="When the first in line came in.")
    seconds_behind: float

    model_config = example(
        {"waiting": 12, "exact": True, "oldest_at": "2026-11-21T09:00:00Z", "seconds_behind": 0.12}
    )


@router.get("", dependencies=[needs(Permission.EVENTS_READ)])
async def list_events(
    db: Db,
    workspace_id: WorkspaceId,
    pages: Pages,
    name: OfName = None,
    since: Since = None,
    profile_id: Annotated[UUID | None, Query(description="Only this profile's.")] = None,
) -> Page[EventOut]:
    """Events, the last received first; of one name or person, the last to happen first.

    What was sent a moment ago may still wait: see `/events/lag`.
    """
    if profile_id:
        profile_id = (await profiles_found.find(db, str(profile_id))).profile.id
    since = await aware(db, workspace_id, since)
    found = await events.page(db, events.Asked(name, since, profile_id), pages.after, pages.limit)
    return page_of([EventOut.model_validate(row) for row in found], [row.id for row in found], pages.limit)


@router.get("/catalogue", dependencies=[needs(Permission.EVENTS_READ)])
async def list_names(
    db: Db,
    cursor: Annotated[
        str | None, Query(max_length=255, description="The `next_cursor` of the page before: a name.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Page[EventNameOut]:
    """The events that were seen, by name: how often, when, and the types of their properties."""
    found = await events.catalogue(db, cursor, limit)
    return Page[EventNameOut](
        items=[shown(row) for row in found], next_cursor=found[-1].name if len(found) == limit else None
    )


@router.get("/catalogue/{event_name:path}", dependencies=[needs(Permission.EVENTS_READ)])
async def read_name(event_name: ThatName, db: Db) -> EventNameOut:
    """One of them."""
    return shown(await events.named(db, event_name))


@router.patch("/catalogue/{event_name:path}", dependencies=[needs(Permission.PROFILES_WRITE)])
async def change_name(
    event_name: ThatName, change: EventNameChange, db: Db, unchanged: Unchanged
) -> EventNameOut:
    """Keep an event to servers: public keys, which anybody can read, may not send it then; or allow it."""
    if unchanged.asked:
        unchanged.check(shown(await events.named(db, event_name, lock=True)))
    return shown(await events.mark(db, event_name, server_only=change.server_only))


@router.get("/refused", dependencies=[needs(Permission.EVENTS_READ)])
async def list_refused(
    db: Db, workspace_id: WorkspaceId, pages: Pages, name: OfName = None, since: Since = None
) -> Page[RefusalOut]:
    """What was refused and why, the newest first. It is kept for a while, for whoever debugs a site."""
    since = await aware(db, workspace_id, since)
    found = await events.refused(db, name, since, pages.after, pages.limit)
    return page_of([RefusalOut.model_validate(row) for row in found], [row.id for row in found], pages.limit)


@router.get("/lag", dependencies=[needs(Permission.EVENTS_READ)])
async def read_lag(workspace_id: WorkspaceId, opened: Opened) -> LagOut:
    """How much waits to be worked in, and since when. Nothing waits: whatever was answered can be read."""
    async with opened.sessions.engine() as db:
        lag = await arrivals.lag(db, workspace_id)
    behind = (opened.clock.now() - lag.oldest_at).total_seconds() if lag.oldest_at else 0.0
    return LagOut(
        waiting=lag.waiting, exact=lag.exact, oldest_at=lag.oldest_at, seconds_behind=max(behind, 0.0)
    )


def shown(row: EventName) -> EventNameOut:
    return EventNameOut.model_validate(row)

"""Routes: which providers a workspace's messages go by, in which order and with which share."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query, status
from pydantic import Field

from api.callers import WorkspaceId, needs
from api.deps import Db, Pages
from api.etags import Unchanged
from api.manners import Feature
from api.shapes import In, Out, Page, absent, example, page_of
from api.stack import Opened
from domain import road_plans
from domain.channels import Channel
from domain.errors import Invalid
from domain.messages import MessageClass
from domain.roles import Permission
from models.queries import roads, routes
from models.queries.routes import Named

router = Feature(prefix="/routes", tags=["routes"])

_ID = "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f"

Routed = Literal[MessageClass.MARKETING, MessageClass.TRANSACTIONAL]
Priority = Annotated[int, Field(ge=1, le=100, description="1 is tried first, 2 when that fails, and so on.")]
Weight = Annotated[int, Field(ge=1, le=1000, description="Its share among those of the same priority.")]

_EXAMPLE = {
    "channel": "email",
    "class": "marketing",
    "provider_id": _ID,
    "priority": 1,
    "weight": 1,
}


class RouteIn(In):
    channel: Channel
    message_class: Routed = Field(alias="class")
    provider_id: UUID
    priority: Priority = 1
    weight: Weight = 1

    model_config = example(_EXAMPLE)


class RouteChange(In):
    """What to change; the rest stays."""

    priority: Priority = Field(default_factory=absent)
    weight: Weight = Field(default_factory=absent)

    model_config = example({"priority": 2, "weight": 3})


class RouteOut(Out):
    id: UUID
    channel: Channel
    message_class: MessageClass = Field(serialization_alias="class")
    provider_id: UUID
    provider: str = Field(description="The provider's name.")
    priority: int
    weight: int
    created_at: datetime
    updated_at: datetime

    model_config = example(
        _EXAMPLE
        | {
            "id": _ID,
            "provider": "Trial",
            "created_at": "2026-11-21T09:00:00Z",
            "updated_at": "2026-11-21T09:00:00Z",
        }
    )


class Turn(Out):
    """A route in the order in which messages try them now."""

    route_id: UUID
    provider_id: UUID
    provider: str
    priority: int
    weight: int
    share: float | None = Field(
        description="Of the messages that come to its priority, up to 1; null when nothing goes by it now. "
        "To a second priority come only those that the first can't take."
    )
    left_today: int | None = Field(description="What its warm-up allows today; null for no limit.")
    why_not: str | None = Field(description="Why nothing goes by it now, in a sentence.")


class Plan(Out):
    channel: Channel
    message_class: MessageClass = Field(serialization_alias="class")
    summary: str
    turns: list[Turn]

    model_config = example(
        {
            "channel": "email",
            "class": "marketing",
            "summary": "Messages go by SendGrid.",
            "turns": [
                {
                    "route_id": _ID,
                    "provider_id": _ID,
                    "provider": "Amazon SES",
                    "priority": 1,
                    "weight": 1,
                    "share": None,
                    "left_today": None,
                    "why_not": "It is left alone until 09:00:25 UTC: the server answered 503.",
                },
                {
                    "route_id": _ID,
                    "provider_id": _ID,
                    "provider": "SendGrid",
                    "priority": 2,
                    "weight": 1,
                    "share": 1.0,
                    "left_today": 200,
                    "why_not": None,
                },
            ],
        }
    )


@router.post("", status_code=status.HTTP_201_CREATED, dependencies=[needs(Permission.PROVIDERS_WRITE)])
async def create_route(body: RouteIn, workspace_id: WorkspaceId, db: Db) -> RouteOut:
    """Let messages of a channel and a class go by a provider."""
    values = body.model_dump(exclude={"channel", "message_class"})
    said = {"channel": body.channel.value, "message_class": body.message_class.value}
    return shown(await routes.create(db, workspace_id, values | said))


@router.get("", dependencies=[needs(Permission.PROVIDERS_READ)])
async def list_routes(
    db: Db,
    pages: Pages,
    channel: Annotated[Channel | None, Query(description="Only of this channel.")] = None,
    message_class: Annotated[Routed | None, Query(alias="class", description="Only of this class.")] = None,
) -> Page[RouteOut]:
    """Routes, the newest first."""
    found = await routes.page(db, channel, message_class, pages.after, pages.limit)
    return page_of([shown(each) for each in found], [each.route.id for each in found], pages.limit)


@router.get("/plan", dependencies=[needs(Permission.PROVIDERS_READ)])
async def plan_routes(
    opened: Opened,
    workspace_id: WorkspaceId,
    db: Db,
    channel: Annotated[Channel, Query(examples=["email"])],
    message_class: Annotated[Routed, Query(alias="class", examples=["marketing"])],
) -> Plan:
    """Which way messages would go now, in which order, and why a provider is left out."""
    found = await roads.find(db, workspace_id, channel, message_class, opened.clock.now())
    return Plan(
        channel=channel,
        message_class=message_class,
        summary=road_plans.in_words(found.turns, channel, found.held),
        turns=[
            Turn(
                route_id=turn.way.route_id,
                provider_id=turn.way.provider_id,
                provider=turn.way.provider,
                priority=turn.way.priority,
                weight=turn.way.weight,
                share=turn.share,
                left_today=turn.way.left,
                why_not=turn.why_not,
            )
            for turn in found.turns
            if turn.way.route_id is not None
        ],
    )


@router.get("/{route_id}", dependencies=[needs(Permission.PROVIDERS_READ)])
async def read_route(route_id: UUID, db: Db) -> RouteOut:
    """One route."""
    return shown(await routes.get(db, route_id))


@router.patch("/{route_id}", dependencies=[needs(Permission.PROVIDERS_WRITE)])
async def change_route(route_id: UUID, change: RouteChange, db: Db, unchanged: Unchanged) -> RouteOut:
    """Change a route's priority or weight. What is on the wire stays where it is."""
    if not change.model_fields_set:
        raise Invalid("Name at least one field to change.")
    unchanged.check(shown(await routes.get(db, route_id, lock=True)))
    return shown(await routes.change(db, route_id, change.model_dump(include=change.model_fields_set)))


@router.delete(
    "/{route_id}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[needs(Permission.PROVIDERS_WRITE)]
)
async def delete_route(route_id: UUID, db: Db, unchanged: Unchanged) -> None:
    """Delete a route. Mail of a class without any goes by the installation's own server."""
    if unchanged.asked:
        unchanged.check(shown(await routes.get(db, route_id, lock=True)))
    await routes.remove(db, route_id)


def shown(named: Named) -> RouteOut:
    return RouteOut.model_validate({**vars(named.route), "provider": named.provider})

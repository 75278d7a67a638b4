"""Which way messages would go now, and what stands in it: routes, breakers, warm-ups and holds together."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from domain import road_plans
from domain.channels import Channel
from domain.messages import PROVIDER_TEST, MessageClass
from domain.road_plans import Turn
from domain.routing import BUILT_IN, WarmUp
from domain.stories import BUILT_IN_TITLE
from models.messages import Message
from models.queries import breakers, holds, provider_accounts, routes, workspaces

_OURS = f"{BUILT_IN_TITLE[:1].upper()}{BUILT_IN_TITLE[1:]}"


@dataclass(frozen=True)
class Roads:
    """The ways of a channel and a class, in the order in which they are tried."""

    turns: list[Turn]
    held: str | None  # Why the workspace's marketing on this channel is held, where it is.


async def find(
    db: AsyncSession, workspace_id: UUID, channel: Channel, message_class: MessageClass, now: datetime
) -> Roads:
    """The ways as they stand now."""
    workspace = await workspaces.get(db, workspace_id)
    today = now.astimezone(ZoneInfo(workspace.time_zone)).date()
    standings = await breakers.standings(db, workspace_id)
    held = None
    if message_class is MessageClass.MARKETING:
        held = (await holds.why(db, workspace_id)).get(channel)
    ways = [
        road_plans.Way(
            way.route.id,
            way.route.provider_id,
            way.provider,
            way.route.priority,
            way.route.weight,
            standings.get(way.route.provider_id),
            WarmUp.model_validate(way.warm_up).left(today, way.leased) if way.warm_up else None,
        )
        for way in await routes.ways(db, channel, message_class, today)
    ]
    return Roads(road_plans.plan(ways, now), held)


async def in_the_way(db: AsyncSession, message: Message, now: datetime) -> str | None:
    """Why a message that is due does not go, as far as roads tell; None when a way is open."""
    channel, message_class = Channel(message.channel), MessageClass(message.message_class)
    if message.step == PROVIDER_TEST and message.provider is not None:
        return await _in_its_only_way(db, message, message.provider, now)
    if message_class is MessageClass.TEST:  # Tests go as the marketing that they try, and are never held.
        tried = await find(db, message.workspace_id, channel, MessageClass.MARKETING, now)
        roads = Roads(tried.turns, None)
    else:
        roads = await find(db, message.workspace_id, channel, message_class, now)
    if not roads.turns and channel is Channel.EMAIL and roads.held is None:
        return await _in_its_only_way(db, message, BUILT_IN, now)
    return road_plans.shut(roads.turns, channel, roads.held)


async def _in_its_only_way(
    db: AsyncSession, message: Message, provider_id: UUID, now: datetime
) -> str | None:
    standing = (await breakers.standings(db, message.workspace_id)).get(provider_id)
    name = _OURS if provider_id == BUILT_IN else await provider_accounts.name(db, provider_id)
    way = road_plans.Way(None, provider_id, name or "Its provider", 1, 1, standing, None)
    return road_plans.shut(road_plans.plan([way], now), Channel(message.channel))

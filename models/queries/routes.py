"""Which messages go by which provider: a workspace's routes, for those who draw them."""

from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from domain.channels import Channel
from domain.errors import Conflict, Invalid, NotFound
from domain.messages import MessageClass
from models.providers import Provider, ProviderDay, Route
from models.queries import workspaces

MOST = 200  # Routes in a workspace.


class Named(NamedTuple):
    """A route, and what its provider is called."""

    route: Route
    provider: str


class Way(NamedTuple):
    """A route with what its account may send today."""

    route: Route
    provider: str
    warm_up: dict[str, Any] | None
    leased: int  # Of what the warm-up allows today.


_TO = and_(Provider.workspace_id == Route.workspace_id, Provider.id == Route.provider_id)


async def create(db: AsyncSession, workspace_id: UUID, values: dict[str, Any]) -> Named:
    """`values` are columns of `models.providers.Route`.

    Raises `Invalid` when there is no such provider, or it is of another channel; `Conflict` when there is the
    same route already, or there are too many.
    """
    await workspaces.get(db, workspace_id, lock=True)  # Two at once would both count the same.
    if (await db.scalar(select(func.count()).select_from(Route)) or 0) >= MOST:
        raise Conflict(f"A workspace has at most {MOST} routes: delete one that nothing goes by.")
    there = select(Provider.name, Provider.channel).where(
        Provider.id == values["provider_id"], Provider.deleted_at.is_(None)
    )
    # It is not deleted before this is committed.
    provider = (await db.execute(there.with_for_update(read=True, key_share=True))).one_or_none()
    if provider is None:
        raise Invalid(
            f"There is no provider {values['provider_id']}: GET /api/v1/providers lists yours.",
            "/provider_id",
        )
    if provider.channel != values["channel"]:
        raise Invalid(f"{provider.name} sends {provider.channel}, not {values['channel']}.", "/channel")
    route = Route(workspace_id=workspace_id, **values)
    try:
        async with db.begin_nested():
            db.add(route)
    except IntegrityError as error:
        raise Conflict(
            f"There is a route for {values['message_class']} {values['channel']} by {provider.name} already: "
            "change its priority or weight.",
            "/provider_id",
        ) from error
    await db.refresh(route)
    return Named(route, provider.name)


async def page(
    db: AsyncSession,
    channel: Channel | None,
    message_class: MessageClass | None,
    after: UUID | None,
    limit: int,
) -> Sequence[Named]:
    """Of one channel or class, where they are given; the newest first."""
    asked = select(Route, Provider.name).join(Provider, _TO).order_by(Route.id.desc()).limit(limit)
    asked = asked.where(*_of(channel, message_class))
    if after is not None:
        asked = asked.where(Route.id < after)
    return [Named(*row) for row in await db.execute(asked)]


def _of(channel: Channel | None, message_class: MessageClass | None) -> list[ColumnElement[bool]]:
    which = []
    if channel is not None:
        which.append(Route.channel == channel)
    if message_class is not None:
        which.append(Route.message_class == message_class)
    return which


async def get(db: AsyncSession, route_id: UUID, *, lock: bool = False) -> Named:
    """Locked when it is about to change. Raises `NotFound`."""
    asked = select(Route, Provider.name).join(Provider, _TO).where(Route.id == route_id)
    found = (await db.execute(asked.with_for_update(of=Route) if lock else asked)).one_or_none()
    if found is None:
        raise NotFound(f"There is no route {route_id}.")
    return Named(*found)


async def change(db: AsyncSession, route_id: UUID, values: dict[str, Any]) -> Named:
    """Write these columns: its priority, its weight. Raises `NotFound`."""
    written = update(Route).where(Route.id == route_id)
    written = written.values(**values, updated_at=func.clock_timestamp())
    await db.execute(written.execution_options(synchronize_session=False))
    named = await get(db, route_id)
    await db.refresh(named.route)
    return named


async def remove(db: AsyncSession, route_id: UUID) -> None:
    """Raises `NotFound`."""
    gone = delete(Route).where(Route.id == route_id).returning(Route.id)
    if await db.scalar(gone) is None:
        raise NotFound(f"There is no route {route_id}.")


async def ways(db: AsyncSession, channel: Channel, message_class: MessageClass, today: date) -> Sequence[Way]:
    """All routes of a channel and a class; `today` is a day of the workspace's calendar."""
    its_day = and_(
        ProviderDay.workspace_id == Route.workspace_id,
        ProviderDay.provider_id == Route.provider_id,
        ProviderDay.day == today,
    )
    leased = func.coalesce(ProviderDay.leased, 0)
    asked = select(Route, Provider.name, Provider.warm_up, leased).join(Provider, _TO)
    asked = asked.outerjoin(ProviderDay, its_day).where(*_of(channel, message_class)).order_by(Route.id)
    return [Way(*row) for row in await db.execute(asked)]

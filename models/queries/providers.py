"""A workspace's accounts and routes, as those who send read them."""

from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text

from models.base import Db


class AccountRow(NamedTuple):
    """An account as its row has it, in the order of the statement's columns."""

    id: UUID
    name: str
    kind: str
    channel: str
    settings: dict[str, Any]
    credentials: str | None  # Sealed.
    rate: float | None
    domain_rates: dict[str, float]
    warm_up: dict[str, Any] | None
    version: str  # When it was changed last: an account that is open is opened anew when this differs.


class RouteRow(NamedTuple):
    channel: str
    message_class: str
    provider_id: UUID
    priority: int
    weight: int


_ACCOUNTS = text(
    """
    select id, name, kind, channel, settings, credentials, rate, domain_rates, warm_up, updated_at::text
    from providers where workspace_id = :workspace and deleted_at is null
    """
)
_ROUTES = text(
    """
    select channel, class, provider_id, priority, weight from routes where workspace_id = :workspace
    """
)


async def accounts(db: Db, workspace_id: UUID) -> list[AccountRow]:
    return [AccountRow(*row) for row in await db.execute(_ACCOUNTS, {"workspace": workspace_id})]


async def routes(db: Db, workspace_id: UUID) -> list[RouteRow]:
    return [RouteRow(*row) for row in await db.execute(_ROUTES, {"workspace": workspace_id})]

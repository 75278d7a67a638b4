"""Webhooks on their way in: whose they are, and the table in which they wait. As the engine."""

from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import text

from models.base import Db
from models.queries.providers import AccountRow

_COLUMNS = """
    id, name, kind, channel, settings, credentials, rate, domain_rates, warm_up, updated_at::text
"""
_ANYWHERE = text(
    f"""
    select workspace_id, deleted_at is not null, {_COLUMNS} from providers
    where id = any(cast(:providers as uuid[]))
    """
)
_ACCOUNTS = text(
    f"""
    select {_COLUMNS} from providers
    where workspace_id = :workspace and id = any(cast(:providers as uuid[]))
    """
)


class Known(NamedTuple):
    """An account, whosever it is."""

    workspace_id: UUID
    deleted: bool
    row: AccountRow


async def anywhere(db: Db, provider_ids: Collection[UUID]) -> list[Known]:
    """Each of these accounts, also those that were deleted."""
    rows = await db.execute(_ANYWHERE, {"providers": [*provider_ids]})
    return [Known(row[0], row[1], AccountRow(*row[2:])) for row in rows]


async def accounts(db: Db, workspace_id: UUID, provider_ids: Collection[UUID]) -> list[AccountRow]:
    """These accounts of one workspace."""
    values = {"workspace": workspace_id, "providers": [*provider_ids]}
    return [AccountRow(*row) for row in await db.execute(_ACCOUNTS, values)]


class Coming(NamedTuple):
    """A webhook that is genuine."""

    id: UUID  # UUIDv7, made when it came in.
    workspace_id: UUID
    provider_id: UUID
    received_at: datetime
    method: str
    url: str
    headers: dict[str, str]
    body: bytes


_PUT = text(
    """
    insert into hooks (id, workspace_id, provider_id, received_at, method, url, headers, body)
    select id, workspace_id, provider_id, received_at, method, url, headers::jsonb, body
    from unnest(cast(:ids as uuid[]), cast(:workspaces as uuid[]), cast(:providers as uuid[]),
        cast(:received as timestamptz[]), cast(:methods as text[]), cast(:urls as text[]),
        cast(:headers as text[]), cast(:bodies as bytea[]))
        as came(id, workspace_id, provider_id, received_at, method, url, headers, body)
    on conflict (workspace_id, id) do nothing
    """
)


async def put(db: Db, hooks: Sequence[Coming]) -> None:
    """Have them wait. They are safe when the transaction has committed; doing it again adds none twice."""
    values = {
        "ids": [each.id for each in hooks],
        "workspaces": [each.workspace_id for each in hooks],
        "providers": [each.provider_id for each in hooks],
        "received": [each.received_at for each in hooks],
        "methods": [each.method for each in hooks],
        "urls": [each.url for each in hooks],
        "headers": [orjson.dumps(each.headers).decode() for each in hooks],
        "bodies": [each.body for each in hooks],
    }
    await db.execute(_PUT, values)


# From one workspace to the next by the primary key, however many wait in each.
_WAITING = text(
    """
    with recursive waiting as (
        (select workspace_id from hooks order by workspace_id limit 1)
        union all
        select next.workspace_id from waiting w
        cross join lateral (
            select h.workspace_id from hooks h where h.workspace_id > w.workspace_id
            order by h.workspace_id limit 1
        ) next
    )
    select workspace_id from waiting
    union
    select workspace_id from early_reports where due_at <= :now
    """
)


async def waiting(db: Db, now: datetime) -> list[UUID]:
    """The workspaces for which something waits to be settled."""
    return list((await db.execute(_WAITING, {"now": now})).scalars())


# Up to so many bytes, but one at least.
_TAKE = text(
    """
    with gone as (
        delete from hooks where ctid = any(array(
            select place from (
                select h.ctid as place, h.id, row_number() over (order by h.id) as nth,
                    sum(octet_length(h.body)) over (order by h.id) as bytes
                from (
                    select ctid, id, body from hooks where workspace_id = :workspace order by id limit :most
                ) h
            ) counted
            where nth = 1 or bytes <= :bytes
        ))
        returning *
    )
    select id, workspace_id, provider_id, received_at, method, url, headers, body from gone order by id
    """
)


async def take(db: Db, workspace_id: UUID, most: int, most_bytes: int) -> list[Coming]:
    """Take the oldest of a workspace out of the table."""
    values = {"workspace": workspace_id, "most": most, "bytes": most_bytes}
    return [Coming(*row) for row in await db.execute(_TAKE, values)]


_COUNT = text(
    """
    insert into hook_days as d (workspace_id, provider_id, day, reports, repeated, stray, unread, refused)
    select c.workspace_id, c.provider_id, :day, c.reports, c.repeated, c.stray, c.unread, c.refused
    from jsonb_to_recordset(cast(:counts as jsonb)) as c(workspace_id uuid, provider_id uuid, reports int,
        repeated int, stray int, unread int, refused int)
    order by c.workspace_id, c.provider_id
    on conflict (workspace_id, provider_id, day) do update set reports = d.reports + excluded.reports,
        repeated = d.repeated + excluded.repeated, stray = d.stray + excluded.stray,
        unread = d.unread + excluded.unread, refused = d.refused + excluded.refused
    """
)
_NAMES = ("reports", "repeated", "stray", "unread", "refused")


async def count(db: Db, counted: Iterable[tuple[UUID, UUID, dict[str, int]]], day: date) -> None:
    """Add to a day's counts, of each (workspace, account)."""
    rows: list[dict[str, Any]] = [
        {"workspace_id": workspace, "provider_id": provider, **dict.fromkeys(_NAMES, 0), **counts}
        for workspace, provider, counts in counted
    ]
    if rows:
        await db.execute(_COUNT, {"day": day, "counts": orjson.dumps(rows).decode()})


class Owner(NamedTuple):
    """Whose a message is, and where it went."""

    workspace_id: UUID
    channel: str
    address: str | None


# A look at each workspace, by the primary key: no index knows a message by its id alone.
_OF_MESSAGES = text(
    """
    select m.id, m.workspace_id, m.channel, m.address
    from unnest(cast(:ids as uuid[])) asked(id)
    cross join workspaces w
    cross join lateral (
        select m.id, m.workspace_id, m.channel, m.address from messages m
        where m.workspace_id = w.id and m.id = asked.id limit 1
    ) m
    """
)


async def owners(db: Db, message_ids: Collection[UUID]) -> dict[UUID, Owner]:
    """Whose these messages are, by their ids. Ids of messages that are gone are left out."""
    rows = await db.execute(_OF_MESSAGES, {"ids": [*message_ids]})
    return {row[0]: Owner(*row[1:]) for row in rows}

"""Orders: how the pump turns what a shop told us into orders and sums, and how they are found again.

The pump hands over a batch in `taken`, a temporary table of its transaction with the columns of the inbox and
`profile_id`, which says whose each row is.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import NotFound
from domain.events import EventKind, RefusalStage
from domain.orders import OrderStatus
from models.base import Db
from models.orders import Order


async def place(db: Db, workspace_id: UUID, now: datetime) -> list[UUID]:
    """Store the orders of the batch and add up their buyers anew.

    Returns the ids of the orders that are new and not historical. An order that is there stays as it is; one
    that says otherwise is noted among the refusals, also where both came in this batch. A profile's sums come
    from its orders and not from the sums before, so that they are right in whatever order things come in.
    Whoever calls this holds the lock on the workspace's people.
    """
    values = {"workspace": workspace_id, "now": now}
    new = [row[0] for row in await db.execute(_PLACE, values)]
    await db.execute(_NOTE_CONTRADICTIONS, values)
    await db.execute(_ADD_UP, values)
    return new


async def change(db: Db, workspace_id: UUID, now: datetime) -> list[UUID]:
    """Let the batch's changes of orders take effect, and add up their buyers anew.

    Returns the ids of the arrivals whose order nobody knows. The order of the inbox counts, and a change that
    is older by the shop's clock than one before it is passed over: however a batch is cut, the same comes
    out. A cancelled order stays so: a later change that says otherwise is noted among the refusals.
    What a change does not name stays. Afterwards `taken.profile_id` says whose order each change was about.
    """
    values = {"workspace": workspace_id, "now": now}
    unknown = [row[0] for row in await db.execute(_CHANGE, values)]
    await db.execute(_SAY_WHOSE, values)
    await db.execute(_ADD_UP, values)
    return unknown


# What comes out of JSON is computed before it is compared: `->>` is not leakproof, so behind the wall an
# expression would be no index condition, and each order would be looked for in all of them.
_GIVEN = f"""
    given as materialized (
        select distinct on (key) *
        from (
            select id, profile_id, historical, occurred_at, properties ->> 'key' as key,
                (properties ->> 'quantity')::int as quantity,
                (properties ->> 'total')::numeric(20, 4) as total, properties ->> 'currency' as currency,
                coalesce(properties ->> 'status', '{OrderStatus.PLACED}') as status,
                coalesce((properties ->> 'refunded')::numeric(20, 4), 0) as refunded,
                nullif(properties -> 'lines', 'null') as lines,
                coalesce(properties ->> 'source', 'api') as source, message_id
            from taken where kind = '{EventKind.ORDER}' and profile_id is not null
        ) told
        order by key, id
    )
    """
_PLACE = text(
    f"""
    with {_GIVEN}, made as (
        insert into orders (workspace_id, id, key, profile_id, ordered_at, quantity, total, currency, source,
            status, refunded, lines, created_at)
        select :workspace, id, key, profile_id, occurred_at, quantity, total, currency, source,
            status, refunded, lines, :now
        from given order by id
        on conflict (workspace_id, key) do nothing
        returning id
    )
    select g.id from given g join made m on m.id = g.id where not g.historical order by g.id
    """
)
_NOTE_CONTRADICTIONS = text(
    f"""
    with told as materialized (
        select id, properties ->> 'key' as key, message_id, (properties ->> 'quantity')::int as quantity,
            (properties ->> 'total')::numeric(20, 4) as total, properties ->> 'currency' as currency,
            profile_id
        from taken where kind = '{EventKind.ORDER}'
    )
    insert into refusals (workspace_id, id, at, stage, kind, name, message_id, pointer, reason)
    select :workspace, uuidv7(), :now, '{RefusalStage.FIELD}', '{EventKind.ORDER}', t.key, t.message_id,
        case when t.total <> o.total then '/total' when t.currency <> o.currency then '/currency'
            when t.quantity <> o.quantity then '/quantity' else '' end,
        case when (t.total, t.currency, t.quantity) is distinct from (o.total, o.currency, o.quantity)
            then 'An order with this id is already there and says otherwise: it stays as it is. Change it by'
                || ' PATCH /api/v1/orders/{{order}}, or give this one an id of its own.'
            else 'An order with this id is already there and is somebody else''s: it stays as it is. Give'
                || ' this one an id of its own.' end
    from told t cross join lateral (
        select * from orders where workspace_id = :workspace and key = t.key limit 1
    ) o
    where (t.total, t.currency, t.quantity) is distinct from (o.total, o.currency, o.quantity)
        or t.profile_id <> o.profile_id
    """
)

# A change counts when nothing before it was newer and nothing before it cancelled the order. Each field is
# then the last that one of these names.
_CHANGE = text(
    f"""
    with told as materialized (
        select id, occurred_at, message_id, properties ->> 'key' as key, properties ->> 'status' as status,
            (properties ->> 'refunded')::numeric(20, 4) as refunded,
            (properties ->> 'total')::numeric(20, 4) as total
        from taken where kind = '{EventKind.ORDER_CHANGE}'
    ), known as materialized (
        select t.*, o.id as order_id, o.status as stood, greatest(o.changed_at, max(t.occurred_at) over (
            partition by t.key order by t.id rows between unbounded preceding and 1 preceding
        )) as newest
        from told t left join lateral (
            select id, changed_at, status from orders where workspace_id = :workspace and key = t.key limit 1
        ) o on true
    ), timely as materialized (
        select *, stood = '{OrderStatus.CANCELLED}' or count(*) filter (
            where status = '{OrderStatus.CANCELLED}'
        ) over (partition by order_id order by id rows between unbounded preceding and 1 preceding) > 0
            as too_late
        from known
        where order_id is not null and (newest is null or occurred_at >= newest)
    ), folded as materialized (
        select order_id, max(occurred_at) as at,
            (array_agg(status order by id desc) filter (where status is not null))[1] as status,
            (array_agg(refunded order by id desc) filter (where refunded is not null))[1] as refunded,
            (array_agg(total order by id desc) filter (where total is not null))[1] as total
        from timely where not too_late group by order_id
    ), changed as (
        update orders o set
            total = coalesce(f.total, o.total),
            refunded = least(
                case when f.status = '{OrderStatus.REFUNDED}' and coalesce(f.refunded, o.refunded) = 0
                    then coalesce(f.total, o.total) else coalesce(f.refunded, o.refunded) end,
                coalesce(f.total, o.total)
            ),
            status = coalesce(
                f.status,
                case when o.status = '{OrderStatus.PLACED}' and f.refunded > 0
                    then '{OrderStatus.REFUNDED}' end,
                o.status
            ),
            changed_at = f.at
        from folded f
        where o.workspace_id = :workspace and o.id = f.order_id
    ), noted as (
        insert into refusals (workspace_id, id, at, stage, kind, name, message_id, pointer, reason)
        select :workspace, uuidv7(), :now, '{RefusalStage.FIELD}', '{EventKind.ORDER_CHANGE}', key,
            message_id, '/status', 'The order is cancelled and stays so: send a new one with its own id.'
        from timely where too_late and status is distinct from '{OrderStatus.CANCELLED}' order by id
    )
    select id from known where order_id is null order by id
    """
)
_SAY_WHOSE = text(
    f"""
    with told as materialized (
        select id, properties ->> 'key' as key from taken where kind = '{EventKind.ORDER_CHANGE}'
    )
    update taken set profile_id = o.profile_id
    from told t cross join lateral (
        select profile_id from orders where workspace_id = :workspace and key = t.key limit 1
    ) o
    where taken.id = t.id
    """
)

# A look-up is a lateral join with a limit, as in `models.queries.taken`.
_TOUCHED = f"""
    keys as materialized (
        select distinct properties ->> 'key' as key from taken
        where kind in ('{EventKind.ORDER}', '{EventKind.ORDER_CHANGE}')
    ), touched as materialized (
        select distinct o.profile_id, o.currency
        from keys k cross join lateral (
            select profile_id, currency from orders where workspace_id = :workspace and key = k.key limit 1
        ) o
    ), sums as materialized (
        select t.profile_id, t.currency, s.*
        from touched t cross join lateral (
            select sum(o.total - o.refunded) as total, count(*) as count, min(o.ordered_at) as first_at,
                max(o.ordered_at) as last_at, max(o.total - o.refunded) as largest
            from orders o
            where o.workspace_id = :workspace and o.profile_id = t.profile_id and o.currency = t.currency
                and o.status <> '{OrderStatus.CANCELLED}'
        ) s
    )
    """
_ADD_UP = text(
    f"""
    with {_TOUCHED}, forgotten as (
        delete from order_rollups where ctid = any(array(
            select r.ctid from sums s cross join lateral (
                select ctid from order_rollups where workspace_id = :workspace
                    and profile_id = s.profile_id and currency = s.currency limit 1
            ) r
            where s.count = 0
        ))
    )
    insert into order_rollups (workspace_id, profile_id, currency, total, count, first_at, last_at, largest)
    select :workspace, profile_id, currency, total, count, first_at, last_at, largest
    from sums where count > 0 order by profile_id, currency
    on conflict (workspace_id, profile_id, currency) do update set
        total = excluded.total, count = excluded.count,
        first_at = excluded.first_at, last_at = excluded.last_at, largest = excluded.largest
    """
)


@dataclass(frozen=True)
class Asked:
    """Which orders; None asks for all."""

    profile_id: UUID | None = None
    since: datetime | None = None  # Ordered then or later.
    before: datetime | None = None  # Ordered earlier.
    status: OrderStatus | None = None
    currency: str | None = None


async def page(db: AsyncSession, asked: Asked, after: UUID | None, limit: int) -> list[Order]:
    """Up to `limit` orders, the last stored first, beyond the order `after`."""
    which = [
        Order.profile_id == asked.profile_id if asked.profile_id else None,
        Order.ordered_at >= asked.since if asked.since else None,
        Order.ordered_at < asked.before if asked.before else None,
        Order.status == asked.status if asked.status else None,
        Order.currency == asked.currency if asked.currency else None,
        Order.id < after if after else None,
    ]
    found = select(Order).where(*(each for each in which if each is not None))
    return list(await db.scalars(found.order_by(Order.id.desc()).limit(limit)))


async def find(db: AsyncSession, which: str) -> Order:
    """The order with this id or key. Raises `NotFound`."""
    by_key = select(Order).where(Order.key == which)
    order = await db.scalar(by_key)
    if order is None and (id_ := _id(which)):
        order = await db.scalar(select(Order).where(Order.id == id_))
    if order is None:
        raise NotFound(f"There is no order {which}. One that was sent a moment ago may still be on its way.")
    return order


async def known(db: AsyncSession, keys: Collection[str]) -> Sequence[Order]:
    """The orders with these keys, as far as they are stored."""
    return list(await db.scalars(select(Order).where(Order.key.in_(keys))))


def _id(which: str) -> UUID | None:
    try:
        return UUID(which)
    except ValueError:
        return None
